"""What a person sees while a study runs: one live table, or plain lines without a terminal."""

from __future__ import annotations

import bisect
import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from results.records.epochs import Epoch, best_of, epochs_in
from results.records.pace import Paces, Stint, node_of, seconds_left
from results.records.status import waiting_share
from search.config.schema import StudyConfig
from search.storage.files import trial_folder
from search.study.attributes import BASELINE, BEST_VALUE, EPOCHS, REASON
from search.study.throughput import Throughput
from search.terminal.table import (
    FINISHED_ROWS,
    TableContent,
    TrialRow,
    describe_dice,
    describe_input,
    describe_params,
    dice_parts,
    draw,
    duration,
    titled,
)

NOTES = 3
# The last ones tell what trials take; a draw at 10,000 trials must not sum them all.
_PACE_TRIALS = 64
LINE_EVERY_SECONDS = 20.0


class Board:
    """The state that both displays draw: what runs, the best that has ended, and how much."""

    def __init__(self, config: StudyConfig) -> None:
        self.config = config
        self.running: dict[int, TrialRow] = {}
        self.states: Counter[str] = Counter()
        self.notes: deque[str] = deque(maxlen=NOTES)
        # Kept in order as trials end: a draw at 10,000 trials must not sort them.
        self._leaders: list[tuple[tuple[str, float, int], TrialRow]] = []
        self._throughput = Throughput()
        self._paces = Paces()
        self._ended: deque[Stint] = deque(maxlen=_PACE_TRIALS)
        self._finished_before = 0
        self._started = time.monotonic()

    def open(self, trials: Iterable[FrozenTrial]) -> None:
        """Take what earlier runs left: the number of finished trials and the best of them."""
        for trial in trials:
            if trial.state.is_finished():
                self._take(_ended_row(trial))
        self._finished_before = self.finished
        for _, row in self._leaders:
            row.dice = self._dice_of(row)

    def _dice_of(self, row: TrialRow) -> Mapping[str, float | None]:
        """Return Dice per class of a trial of an earlier run, from its records."""
        best = best_of(epochs_in(trial_folder(self.config.directory, row.number)))
        return {} if best is None else best.dice

    def start(self, number: int, params: Mapping[str, Any], baseline: str | None) -> TrialRow:
        """Add a trial, or begin an adopted one again."""
        epochs = params.get("train.epochs", self.config.train.epochs)
        row = TrialRow(
            number,
            params,
            baseline,
            epochs=epochs if isinstance(epochs, int) else None,
            started=time.monotonic(),
        )
        self.running[number] = row
        return row

    def epoch(self, number: int, epoch: Epoch) -> TrialRow:
        """Take an epoch; a trial shows its best one."""
        row = self.running[number]
        row.epoch = epoch.epoch
        row.node = node_of(epoch.worker)
        self._paces.count(number, epoch)
        row.images_per_second = epoch.images_per_second
        row.waits = waiting_share(epoch)
        self._throughput.count(number, epoch, time.monotonic())
        value = epoch.objective
        if value is not None and (row.value is None or value > row.value):
            row.value, row.dice = value, epoch.dice
        return row

    def end(self, trial: FrozenTrial) -> TrialRow:
        row = _ended_row(trial)
        seen = self.running.pop(trial.number, None)
        self._throughput.end(trial.number)
        if seen is not None:
            row.epoch, row.dice, row.epochs = max(row.epoch, seen.epoch), seen.dice, seen.epochs
            row.value = seen.value if row.value is None else row.value
            self._ended.append(_stint(seen))
        self._take(row)
        if row.state == "FAIL":
            self.notes.append(f"trial {row.number} FAIL: {row.reason}")
        return row

    def _take(self, row: TrialRow) -> None:
        self.states[row.state] += 1
        if row.value is None or row.state == "FAIL":
            return
        bisect.insort(self._leaders, ((row.state, -row.value, row.number), row))
        del self._leaders[FINISHED_ROWS:]

    @property
    def finished(self) -> int:
        """Trials finished in this run and before it."""
        return self.states.total()

    @property
    def leaders(self) -> list[TrialRow]:
        """The best trials that have ended: COMPLETE ones before PRUNED ones, then by value."""
        return [row for _, row in self._leaders]

    @property
    def incumbent(self) -> TrialRow | None:
        """The best COMPLETE trial; a value may still fall to no use while its trial runs."""
        row = next(iter(self.leaders), None)
        return row if row is not None and row.state == "COMPLETE" else None

    @property
    def ahead(self) -> TrialRow | None:
        """The best trial that is not COMPLETE, where it is better than the incumbent.

        Beside an incumbent only a running one can still take its place.
        """
        incumbent = self.incumbent
        rows = [*self.running.values(), *(self.leaders if incumbent is None else ())]
        scored = [row for row in rows if row.value is not None]
        best = max(scored, key=lambda row: (row.value or 0.0, -row.number), default=None)
        if best is None or incumbent is None or incumbent.value is None:
            return best
        return best if (best.value or 0.0) > incumbent.value else None

    def headline(self) -> str:
        """Return trials finished, best so far, time taken and about how long it will go on."""
        counted, *rest = self._counts()
        return " · ".join([counted, *self.best_parts(), *rest])

    def best_parts(self) -> list[str]:
        """Return the incumbent and what is ahead of it, in words."""
        incumbent, ahead = self.incumbent, self.ahead
        parts = []
        if incumbent is not None:
            parts.append(f"best {incumbent.value:.4f} (trial {incumbent.number})")
        if ahead is not None:
            label = "best so far" if incumbent is None else "ahead of it"
            parts.append(f"{label} {ahead.value:.4f} (trial {ahead.number}, {ahead.state})")
        return parts

    def _counts(self) -> list[str]:
        limit = self.config.search.num_trials
        elapsed = time.monotonic() - self._started
        parts = [f"{self.finished}{f'/{limit}' if limit else ''} trials finished"]
        parts.append(f"{duration(elapsed)} elapsed")
        remaining = self._remaining(elapsed)
        if remaining is not None:
            parts.append(f"about {duration(remaining)} left")
        return parts

    def _remaining(self, elapsed: float) -> float | None:
        """Estimate by this run's pace, node by node where they differ; the budget bounds it."""
        estimates = []
        if self.config.search.time_budget_minutes:
            estimates.append(max(0.0, 60 * self.config.search.time_budget_minutes - elapsed))
        done = self.finished - self._finished_before
        if self.config.search.num_trials and done:
            todo = max(0, self.config.search.num_trials - self.finished)
            running = [_stint(row) for row in self.running.values()]
            by_node = seconds_left(self._paces, todo, self._ended, running)
            estimates.append(elapsed / done * todo if by_node is None else by_node)
        return min(estimates, default=None)

    def picture(self) -> TableContent:
        """Return what the live table shows now."""
        running = [self.running[number] for number in sorted(self.running)]
        states = {"RUNNING": len(running), **dict(sorted(self.states.items()))}
        best = self.incumbent or self.ahead
        objective = self.config.search.objective.replace("_", " ")
        header = [
            [*self._counts(), ", ".join(f"{count} {state}" for state, count in states.items())],
            titled(objective, self.best_parts()),
            titled("Dice", dice_parts(best.dice) if best else []),
            titled("input", describe_input(self._throughput.summary(time.monotonic()))),
        ]
        leaders = self.leaders
        return TableContent(
            header,
            running,
            leaders,
            self.states["COMPLETE"] + self.states["PRUNED"] - len(leaders),
            list(self.notes),
            best.number if best else None,
        )


def _stint(row: TrialRow) -> Stint:
    now = time.monotonic()
    return Stint(row.node, now - (row.started or now))


def _ended_row(trial: FrozenTrial) -> TrialRow:
    attributes = trial.user_attrs
    return TrialRow(
        trial.number,
        trial.params,
        attributes.get(BASELINE),
        state=trial.state.name,
        epoch=attributes.get(EPOCHS, 0),
        value=attributes.get(BEST_VALUE),
        reason=attributes.get(REASON),
    )


def describe_best(study: Any) -> tuple[str, ...]:
    """Return lines on the best trial of a recorded study (``results.records.study.load_study``)."""
    best = study.incumbent
    if best is None:
        return ("no completed trial yet",)
    dice = dict(zip(study.classes, best.curve.dice[best.best_row], strict=True))
    return (
        f"best: trial {best.number}, {study.objective} {best.value:.4f} at epoch "
        f"{best.best_epoch} (validation; the best of {len(study.trials)} trials, so optimistic)",
        f"  Dice: {describe_dice(dice)}",
        f"  {describe_params(best.params)}",
    )


class LiveTable:
    """The table in a terminal: running trials, then the best of the finished.

    It is drawn by rich's own thread, some times a second: a draw at every epoch of 200 trials would
    keep the driver from its work.
    """

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        # Begun when the study is open: before that, a bar may show how far the images are.
        self.live = Live(_Drawn(board), console=console, refresh_per_second=2)

    def study_opened(self, trials: Sequence[FrozenTrial]) -> None:
        self._board.open(trials)
        self.live.start()

    def trial_started(self, number: int, params: Mapping[str, Any], baseline: str | None) -> None:
        self._board.start(number, params, baseline)

    def epoch_ended(self, number: int, epoch: Epoch) -> None:
        self._board.epoch(number, epoch)

    def trial_ended(self, trial: FrozenTrial) -> None:
        self._board.end(trial)

    def note(self, message: str) -> None:
        """Print above the table."""
        self.live.console.print(Text(message), soft_wrap=True)

    def warn(self, message: str) -> None:
        """Print above the table, in full, and keep among the last few below it."""
        self._board.notes.append(message)
        self.live.console.print(Text(message, style="bold red"), soft_wrap=True)


@dataclass(frozen=True)
class _Drawn:
    """The board as rich draws it, as large as the terminal is at that moment."""

    board: Board

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # A line is left for the cursor.
        yield draw(self.board.picture(), options.max_width, console.height - 1)


class PlainLines:
    """A line for each start and end, and one now and then for the epochs of a trial."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._console = console
        self._last_line: dict[int, float] = {}

    def study_opened(self, trials: Sequence[FrozenTrial]) -> None:
        """Print where a continued study stands."""
        self._board.open(trials)
        if trials:
            self._print(f"continuing: {self._board.headline()}")

    def trial_started(self, number: int, params: Mapping[str, Any], baseline: str | None) -> None:
        """Print the trial's parameters."""
        self._board.start(number, params, baseline)
        self._last_line[number] = time.monotonic()
        self._print(f"{_title(number, baseline)} started: {describe_params(params)}")

    def epoch_ended(self, number: int, epoch: Epoch) -> None:
        """Print an epoch, at most one in twenty seconds a trial."""
        row = self._board.epoch(number, epoch)
        if time.monotonic() - self._last_line[number] >= LINE_EVERY_SECONDS:
            self._last_line[number] = time.monotonic()
            self._print(f"{_title(number, row.baseline)} epoch {row.epoch}: {_score(row)}")

    def trial_ended(self, trial: FrozenTrial) -> None:
        """Print the final state and where the study stands."""
        row = self._board.end(trial)
        end = row.reason if row.state == "FAIL" else _score(row)
        title = _title(row.number, row.baseline)
        self._print(f"{title} {row.state} after {row.epoch} epochs: {end}")
        self._print(f"  {self._board.headline()}")

    def note(self, message: str) -> None:
        """Print a line."""
        self._print(message)

    def warn(self, message: str) -> None:
        """Print a warning."""
        self._console.print(Text(message, style="bold red"), soft_wrap=True)

    def _print(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)


def _title(number: int, baseline: str | None) -> str:
    return f"trial {number}{f' ({baseline})' if baseline else ''}"


def _score(row: TrialRow) -> str:
    return "–" if row.value is None else f"{row.value:.4f} ({describe_dice(row.dice)})"


@contextlib.contextmanager
def display(board: Board, console: Console) -> Iterator[LiveTable | PlainLines]:
    """Yield the display that suits the console."""
    if not console.is_terminal:
        yield PlainLines(board, console)
        return

    table = LiveTable(board, console)
    try:
        yield table
    finally:
        table.live.stop()


@contextlib.contextmanager
def image_progress(console: Console, title: str) -> Iterator[Callable[[float, int], None]]:
    """Yield a function of (done, total) that draws a bar; nothing but a line without a terminal.

    The bar begins with the first call and goes when all is done, or at the end of the block.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task(title, total=None)

    def show(done: float, total: int) -> None:
        bar.update(task, completed=done, total=total)
        if done < total:
            bar.start()
        else:
            end()

    def end() -> None:
        if bar.live.is_started:
            bar.stop()

    try:
        yield show
    finally:
        end()


@contextlib.contextmanager
def preparation(console: Console) -> Iterator[Callable[[int, int], None]]:
    """Yield what shows how far the images are: a bar, or a line each tenth without a terminal."""
    if console.is_terminal:
        with image_progress(console, "preparing images") as show:
            yield show
        return
    said = -1

    def say(done: int, total: int) -> None:
        nonlocal said
        tenth = 10 * done // max(total, 1)
        if tenth != said:
            said = tenth
            console.print(f"preparing images: {done}/{total}", highlight=False)

    yield say
