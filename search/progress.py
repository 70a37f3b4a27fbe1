"""What a person sees while a study runs: one live table, or plain lines without a terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from results.pareto import MEASURES
from search.config import StudyConfig
from search.study import BASELINE, BEST_VALUE, REASON

if TYPE_CHECKING:
    import pandas as pd

STATE_STYLES = {"RUNNING": "cyan", "COMPLETE": "green", "PRUNED": "yellow", "FAIL": "red"}
FINISHED_ROWS = 12
LINE_EVERY_SECONDS = 20.0


@dataclass
class Row:
    """What is known of one trial."""

    number: int
    params: Mapping[str, Any]
    baseline: str | None
    state: str = "RUNNING"
    epoch: int = 0
    value: float | None = None
    dice: Mapping[str, float | None] = field(default_factory=dict)
    reason: str | None = None


class Board:
    """The state that both displays draw: trials heard of in this run, and the best so far."""

    def __init__(self, config: StudyConfig) -> None:
        self.config = config
        self.rows: dict[int, Row] = {}
        self.best: tuple[int, float] | None = None
        self._finished_before = 0
        self._started = time.monotonic()

    def open(self, trials: Iterable[FrozenTrial]) -> None:
        """Take what earlier runs left: the number of finished trials and the best of them."""
        finished = [trial for trial in trials if trial.state.is_finished()]
        self._finished_before = len(finished)
        values = [
            (t.user_attrs[BEST_VALUE], t.number) for t in finished if BEST_VALUE in t.user_attrs
        ]
        if values:
            value, number = max(values)
            self.best = (number, value)

    def start(self, number: int, params: Mapping[str, Any], baseline: str | None) -> Row:
        """Add a trial, or begin an adopted one again."""
        self.rows[number] = Row(number, params, baseline)
        return self.rows[number]

    def epoch(self, number: int, record: Mapping[str, Any]) -> Row:
        """Take an epoch's record; a trial shows its best epoch."""
        row = self.rows[number]
        row.epoch = record["epoch"]
        value = record["objective"]
        if value is not None and (row.value is None or value > row.value):
            row.value, row.dice = value, record["dice"]
        if row.value is not None and (self.best is None or row.value > self.best[1]):
            self.best = (number, row.value)
        return row

    def end(self, trial: FrozenTrial) -> Row:
        """Take a trial's final state."""
        row = self.rows[trial.number]
        row.state = trial.state.name
        row.reason = trial.user_attrs.get(REASON)
        row.value = trial.user_attrs.get(BEST_VALUE, row.value)
        row.baseline = trial.user_attrs.get(BASELINE)
        return row

    @property
    def finished(self) -> int:
        """Trials finished in this run and before it."""
        return self._finished_before + sum(r.state != "RUNNING" for r in self.rows.values())

    def headline(self) -> str:
        """Return trials finished, best so far, time taken and about how long it will go on."""
        limit = self.config.search.num_trials
        elapsed = time.monotonic() - self._started
        parts = [f"{self.finished}{f'/{limit}' if limit else ''} trials finished"]
        if self.best:
            parts.append(f"best {self.best[1]:.4f} (trial {self.best[0]})")
        parts.append(f"{duration(elapsed)} elapsed")
        remaining = self._remaining(elapsed)
        if remaining is not None:
            parts.append(f"about {duration(remaining)} left")
        return " · ".join(parts)

    def _remaining(self, elapsed: float) -> float | None:
        """Estimate by the pace of this run; the time budget bounds it."""
        estimates = []
        if self.config.search.time_budget_minutes:
            estimates.append(max(0.0, 60 * self.config.search.time_budget_minutes - elapsed))
        done = self.finished - self._finished_before
        if self.config.search.num_trials and done:
            todo = max(0, self.config.search.num_trials - self.finished)
            estimates.append(elapsed / done * todo)
        return min(estimates, default=None)


def duration(seconds: float) -> str:
    """Return seconds as '45 s', '12 min' or '3 h 05 min'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def describe_params(params: Mapping[str, Any]) -> str:
    """Return the searched values, each by its field's own name."""
    return ", ".join(
        f"{name.rpartition('.')[2]} {value:.3g}"
        if isinstance(value, float)
        else f"{name.rpartition('.')[2]} {value}"
        for name, value in params.items()
    )


def describe_dice(dice: Mapping[str, float | None]) -> str:
    """Return Dice per class, the background left out; '–' where undefined."""
    return ", ".join(
        f"{name} {'–' if value is None or value != value else f'{value:.2f}'}"
        for name, value in list(dice.items())[1:]
    )


def describe_best(study: Any) -> tuple[str, ...]:
    """Return lines on the best trial of a recorded study (``results.records.load_study``)."""
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
    """The table in a terminal: running trials, then the best of the finished."""

    def __init__(self, board: Board, live: Live) -> None:
        self._board = board
        self._live = live

    def study_opened(self, trials: Sequence[FrozenTrial]) -> None:
        """Show where the study stands."""
        self._board.open(trials)
        self._draw()

    def trial_started(self, number: int, params: Mapping[str, Any], baseline: str | None) -> None:
        """Show a trial."""
        self._board.start(number, params, baseline)
        self._draw()

    def epoch_ended(self, number: int, record: Mapping[str, Any]) -> None:
        """Show an epoch."""
        self._board.epoch(number, record)
        self._draw()

    def trial_ended(self, trial: FrozenTrial) -> None:
        """Show a final state."""
        self._board.end(trial)
        self._draw()

    def warn(self, message: str) -> None:
        """Print above the table."""
        self._live.console.print(Text(message, style="bold red"))

    def _draw(self) -> None:
        self._live.refresh()


def table_of(board: Board) -> Table:
    """Return the table of running trials and the best finished ones."""
    best = None if board.best is None else board.best[0]
    return rows_table(board.rows.values(), best, board.config.search.objective, FINISHED_ROWS)


def rows_table(
    rows: Iterable[Row], best: int | None, objective: str, most: int | None = None
) -> Table:
    """Return a table of trials: the running ones, then the finished from the best down.

    Args:
        rows: The trials.
        best: Number of the trial to emphasise.
        objective: Title of the value's column.
        most: Finished trials to show; None: all.
    """
    rows = list(rows)
    running = [row for row in rows if row.state == "RUNNING"]
    finished = [row for row in rows if row.state != "RUNNING"]
    finished.sort(key=lambda row: -1.0 if row.value is None else row.value, reverse=True)
    shown = finished[:most]
    hidden = len(finished) - len(shown)
    table = Table(caption=f"and {hidden} more finished trials" if hidden else None)
    table.add_column("Trial")
    table.add_column("State", no_wrap=True)
    table.add_column("Epoch", justify="right")
    table.add_column(objective.replace("_", " "), justify="right")
    table.add_column("Dice per class", overflow="fold")
    table.add_column("Parameters", overflow="fold")
    for row in running + shown:
        table.add_row(*_cells(row, emphasised=row.number == best))
    return table


def front_table(front: pd.DataFrame, objective: str) -> Table:
    """Return the Pareto front of ``results.pareto.pareto_table`` as a table.

    Args:
        front: Its rows, those off the front included, which are not shown.
        objective: Title of the value's column.
    """
    names = [name for name in front.columns if name in MEASURES]
    table = Table(title="Pareto front", caption="no trial beats one of these in every objective")
    for title in ("Trial", objective.replace("_", " "), *(MEASURES[name][0] for name in names)):
        table.add_column(title, justify="left" if title == "Trial" else "right")
    for row in front[front["front"]].to_dict("records"):
        baseline = row["baseline"]
        name = f"{row['number']}{f' {baseline}' if isinstance(baseline, str) else ''}"
        costs = (f"{row[measure]:,.4g}" for measure in names)
        table.add_row(Text(name), f"{row['value']:.4f}", *costs)
    return table


def _cells(row: Row, emphasised: bool) -> tuple[Text | str, ...]:
    value = "" if row.value is None else f"{row.value:.4f}"
    name = f"{row.number}{f' {row.baseline}' if row.baseline else ''}"
    return (
        Text(name, style="bold" if emphasised else ""),
        Text(row.state, style=STATE_STYLES[row.state]),
        str(row.epoch),
        Text(value, style="bold green" if emphasised else ""),
        Text(row.reason or describe_dice(row.dice)),
        Text(describe_params(row.params)),
    )


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

    def epoch_ended(self, number: int, record: Mapping[str, Any]) -> None:
        """Print an epoch, at most one in twenty seconds a trial."""
        row = self._board.epoch(number, record)
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

    def warn(self, message: str) -> None:
        """Print a warning."""
        self._console.print(Text(message, style="bold red"), soft_wrap=True)

    def _print(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)


def _title(number: int, baseline: str | None) -> str:
    return f"trial {number}{f' ({baseline})' if baseline else ''}"


def _score(row: Row) -> str:
    return "–" if row.value is None else f"{row.value:.4f} ({describe_dice(row.dice)})"


@contextlib.contextmanager
def display(board: Board, console: Console) -> Iterator[LiveTable | PlainLines]:
    """Yield the display that suits the console."""
    if not console.is_terminal:
        yield PlainLines(board, console)
        return

    def draw() -> Group:
        return Group(Text(board.headline()), table_of(board))

    # Drawn anew by itself, so that the clock runs between the epochs.
    with Live(get_renderable=draw, console=console, refresh_per_second=2) as live:
        yield LiveTable(board, live)


@contextlib.contextmanager
def image_progress(console: Console, title: str) -> Iterator[Any]:
    """Yield a function of (done, total) that draws a bar; a line at the end without a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
