"""What a person sees while a study is confirmed: a live table; plain lines without a terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd
from rich.console import Console

from results.analysis.confirmation import Confirmation, Run
from results.records.epochs import Epoch
from search.terminal.display import LINE_EVERY_SECONDS, Display
from search.terminal.table import TableContent, TrialRow, describe_dice, duration, score


class ConfirmationBoard:
    """How far the trainings are; counted by epochs, of which a training may need fewer."""

    def __init__(self) -> None:
        self.running: dict[Run, TrialRow] = {}
        self.failed = 0
        self._epochs: dict[Run, int] = {}
        self._ended: set[Run] = set()
        self._trained = 0
        self._started = time.monotonic()

    def open(self, epochs: Mapping[Run, int], ended: Sequence[Run]) -> None:
        """Take all trainings with their epochs, and those that have ended before."""
        self._epochs = dict(epochs)
        self._ended = set(ended)
        self._started = time.monotonic()

    def start(self, run: Run) -> TrialRow:
        row = TrialRow(run.trial, {}, None, epochs=self._epochs.get(run, 0), label=run.name)
        return self.running.setdefault(run, row)

    def epoch(self, run: Run, epoch: Epoch) -> TrialRow:
        """Take an epoch; a training shows its best one."""
        row = self.start(run)
        row.epoch = epoch.epoch
        self._trained += 1
        row.show_if_best(epoch)
        return row

    def end(self, run: Run, failed: str | None) -> TrialRow:
        row = self.start(run)
        del self.running[run]
        self._ended.add(run)
        self.failed += failed is not None
        return row

    def picture(self) -> TableContent:
        """Return what the live table shows now."""
        return TableContent([[self.headline()]], list(self.running.values()), [])

    def headline(self) -> str:
        """Return trainings ended, time taken and about how long it will go on."""
        elapsed = time.monotonic() - self._started
        parts = [
            f"{len(self._ended)}/{len(self._epochs)} trainings ended",
            f"{duration(elapsed)} elapsed",
        ]
        if self._trained:
            parts.append(f"about {duration(elapsed / self._trained * self._epochs_left())} left")
        if self.failed:
            parts.append(f"{self.failed} failed")
        return " · ".join(parts)

    def _epochs_left(self) -> int:
        trained = {run: row.epoch for run, row in self.running.items()}
        return sum(
            max(0, epochs - trained.get(run, 0))
            for run, epochs in self._epochs.items()
            if run not in self._ended
        )


class ConfirmationObserver:
    """Shows a confirmation: of each training its start, some of its epochs and its end."""

    def __init__(self, board: ConfirmationBoard, display: Display) -> None:
        self._board = board
        self._display = display
        self._last: dict[Run, float] = {}

    def opened(self, epochs: Mapping[Run, int], ended: Sequence[Run]) -> None:
        self._board.open(epochs, ended)
        self._display.begin()
        before = f", {len(ended)} ended before" if ended else ""
        self._display.line(f"{len(epochs)} trainings{before}")

    def started(self, run: Run) -> None:
        self._board.start(run)
        self._last[run] = time.monotonic()
        self._display.line(f"{run.name} started")

    def epoch_ended(self, run: Run, epoch: Epoch) -> None:
        """Show an epoch; as a line, at most one in twenty seconds a training."""
        row = self._board.epoch(run, epoch)
        if time.monotonic() - self._last.get(run, 0.0) >= LINE_EVERY_SECONDS:
            self._last[run] = time.monotonic()
            of = f"epoch {row.epoch}/{row.epochs}"
            self._display.line(f"{run.name} {of}: best {score(row.value)}")

    def ended(self, run: Run, failed: str | None) -> None:
        row = self._board.end(run, failed)
        if failed is None:
            self._display.line(f"{run.name} best {score(row.value)} on validation, scored")
        else:
            self._display.note(f"{run.name} failed: {failed}")
        self._display.line(f"  {self._board.headline()}")

    def warn(self, message: str) -> None:
        self._display.warn(message)


@contextlib.contextmanager
def confirmation_display(console: Console) -> Iterator[ConfirmationObserver]:
    """Yield what shows a confirmation: a live table, or plain lines; see :class:`Display`."""
    board = ConfirmationBoard()
    with Display(console, board.picture) as display:
        yield ConfirmationObserver(board, display)


def ranking_lines(found: Confirmation) -> list[str]:
    """Return the ranking as lines of text, a config each, and below them what came of it."""
    lines = [_line(row) for _, row in found.ranking.iterrows()]
    return [*lines, *found.problems, *found.verdict()]


def _line(row: pd.Series) -> str:
    name = f"trial {int(row['trial'])}" + (f" ({row['baseline']})" if row["baseline"] else "")
    seeds = f"{int(row['seeds'])} seed{'s' if row['seeds'] != 1 else ''}"
    if row["mean"] != row["mean"]:
        return f"{name}: no score, {seeds}"
    ends = f" (95 %: {row['low']:.4f} to {row['high']:.4f})" if row["low"] == row["low"] else ""
    dice = {
        str(column).removeprefix("dice "): None if value != value else float(value)
        for column, value in row.items()
        if str(column).startswith("dice ")
    }
    tied = ", not distinguishable from the best" if row["tied"] else ""
    return f"{name}: {row['mean']:.4f}{ends}, {seeds}{tied}; {describe_dice(dice)}"
