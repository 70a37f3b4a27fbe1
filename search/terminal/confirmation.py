"""What a person sees while a study is confirmed: a live table; plain lines without a terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from results.analysis.confirmation import Confirmation, Run
from results.records.epochs import Epoch
from search.terminal.table import describe_dice, duration, score

LINE_EVERY_SECONDS = 20.0


@dataclass
class _RunRow:
    """A training that runs: its last epoch and the best so far."""

    epoch: int = 0
    value: float | None = None
    dice: Mapping[str, float | None] | None = None


class ConfirmationBoard:
    """How far the trainings are; counted by epochs, of which a training may need fewer."""

    def __init__(self) -> None:
        self.running: dict[Run, _RunRow] = {}
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

    def start(self, run: Run) -> None:
        self.running.setdefault(run, _RunRow())

    def epoch(self, run: Run, epoch: Epoch) -> _RunRow:
        """Take an epoch; a training shows its best one."""
        row = self.running.setdefault(run, _RunRow())
        row.epoch = epoch.epoch
        self._trained += 1
        value = epoch.objective
        if value is not None and (row.value is None or value > row.value):
            row.value, row.dice = value, epoch.dice
        return row

    def end(self, run: Run, failed: str | None) -> None:
        self.running.pop(run, None)
        self._ended.add(run)
        self.failed += failed is not None

    def progress_of(self, run: Run) -> str:
        row = self.running.get(run, _RunRow())
        return f"epoch {row.epoch}/{self._epochs.get(run, 0)}"

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


class PlainLines:
    """A line for each start and end, and one now and then for the epochs of a training."""

    def __init__(self, console: Console) -> None:
        self._board = ConfirmationBoard()
        self._console = console
        self._last: dict[Run, float] = {}

    def opened(self, epochs: Mapping[Run, int], ended: Sequence[Run]) -> None:
        """Print how much there is to do."""
        self._board.open(epochs, ended)
        self._print(f"{len(epochs)} trainings" + (f", {len(ended)} ended before" if ended else ""))

    def started(self, run: Run) -> None:
        """Print a start."""
        self._board.start(run)
        self._last[run] = time.monotonic()
        self._print(f"{run.name} started")

    def epoch_ended(self, run: Run, epoch: Epoch) -> None:
        """Print an epoch, at most one in twenty seconds a training."""
        row = self._board.epoch(run, epoch)
        if time.monotonic() - self._last.get(run, 0.0) >= LINE_EVERY_SECONDS:
            self._last[run] = time.monotonic()
            self._print(f"{run.name} {self._board.progress_of(run)}: best {score(row.value)}")

    def ended(self, run: Run, failed: str | None) -> None:
        """Print an end and how far everything is."""
        row = self._board.running.get(run, _RunRow())
        best = f"best {score(row.value)} on validation, scored"
        self._board.end(run, failed)
        self._print(f"{run.name} {best if failed is None else f'failed: {failed}'}")
        self._print(f"  {self._board.headline()}")

    def warn(self, message: str) -> None:
        """Print a warning."""
        self._console.print(Text(message, style="bold red"), soft_wrap=True)

    def _print(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)


class LiveTable:
    """The trainings that run, redrawn twice a second; warnings are printed above."""

    def __init__(self, console: Console) -> None:
        self.board = ConfirmationBoard()
        self.live = Live(_Drawn(self.board), console=console, refresh_per_second=2)

    def opened(self, epochs: Mapping[Run, int], ended: Sequence[Run]) -> None:
        self.board.open(epochs, ended)
        self.live.start()

    def started(self, run: Run) -> None:
        self.board.start(run)

    def epoch_ended(self, run: Run, epoch: Epoch) -> None:
        self.board.epoch(run, epoch)

    def ended(self, run: Run, failed: str | None) -> None:
        """Show it no more; print why it failed."""
        self.board.end(run, failed)
        if failed is not None:
            self.warn(f"{run.name} failed: {failed}")

    def warn(self, message: str) -> None:
        """Print above the table."""
        self.live.console.print(Text(message, style="bold red"), soft_wrap=True)


@dataclass(frozen=True)
class _Drawn:
    """The board as rich draws it, no more rows than the terminal has."""

    board: ConfirmationBoard

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.board.headline())
        table = Table("training", "", "best", "Dice per class", box=None, pad_edge=False)
        for run, row in list(self.board.running.items())[: max(1, console.height - 4)]:
            dice = describe_dice(row.dice or {})
            table.add_row(run.name, self.board.progress_of(run), score(row.value), Text(dice))
        yield table


@contextlib.contextmanager
def display(console: Console) -> Iterator[LiveTable | PlainLines]:
    """Yield the display that suits the console."""
    if not console.is_terminal:
        yield PlainLines(console)
        return
    table = LiveTable(console)
    try:
        yield table
    finally:
        table.live.stop()


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
