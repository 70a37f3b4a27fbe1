"""What a person sees while a study runs: one live table, or plain lines without a terminal."""

from __future__ import annotations

import bisect
import contextlib
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial
from rich.console import Console

from results.records.epochs import Epoch, best_of, epochs_in
from results.records.pace import Paces, Stint, node_of, seconds_left
from results.records.repeats import TrainedConfig, leader, trained_configs
from results.records.status import waiting_share
from search.config.schema import StudyConfig
from search.storage.files import trial_folder
from search.study import attributes
from search.study.throughput import Throughput
from search.terminal.display import LINE_EVERY_SECONDS, Display
from search.terminal.table import (
    FINISHED_ROWS,
    TableContent,
    TrialRow,
    describe_dice,
    describe_input,
    describe_params,
    dice_parts,
    duration,
    titled,
)

NOTES = 3
# The last ones tell what trials take; a draw at 10,000 trials must not sum them all.
_PACE_TRIALS = 64


class Board:
    """The state that both displays draw: what runs, the best that has ended, and how much."""

    def __init__(self, config: StudyConfig) -> None:
        self.config = config
        self.running: dict[int, TrialRow] = {}
        self.states: Counter[str] = Counter()
        self.notes: deque[str] = deque(maxlen=NOTES)
        # Kept in order as trials end: a draw at 10,000 trials must not sort them.
        self._leaders: list[tuple[tuple[str, float, int], TrialRow]] = []
        # Where leading configs are trained again: what each trial has reached, and its row.
        self._trained: dict[int, tuple[int, int | None, str, float | None]] = {}
        self._rows: dict[int, TrialRow] = {}
        self._leading: TrainedConfig | None = None
        self._throughput = Throughput()
        self._paces = Paces()
        self._ended: deque[Stint] = deque(maxlen=_PACE_TRIALS)
        self._finished_before = 0
        self._started = time.monotonic()

    def open(self, trials: Iterable[FrozenTrial]) -> None:
        """Take what earlier runs left: the number of finished trials and the best of them."""
        for trial in trials:
            if trial.state.is_finished():
                row = _ended_row(trial)
                self._take(row)
                self._compare(trial, row)
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
            epochs=epochs * (self.config.search.folds or 1) if isinstance(epochs, int) else None,
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
        row.show_if_best(epoch)
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
        self._compare(trial, row)
        if row.state == "FAIL":
            self.notes.append(f"trial {row.number} FAIL: {row.reason}")
        return row

    def _take(self, row: TrialRow) -> None:
        self.states[row.state] += 1
        if row.value is None or row.state == "FAIL":
            return
        bisect.insort(self._leaders, ((row.state, -row.value, row.number), row))
        del self._leaders[FINISHED_ROWS:]

    def _compare(self, trial: FrozenTrial, row: TrialRow) -> None:
        """Find the config that leads by its mean, where leading ones are trained again."""
        if self.config.search.repeats_of_best:
            original = trial.user_attrs.get(attributes.REPEAT_OF)
            self._rows[row.number] = row
            self._trained[row.number] = row.number, original, row.state, row.value
            configs = trained_configs(self._trained.values())
            self._leading = leader(configs, self.config.search.repeats_of_best)

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
        """The best COMPLETE trial; a value may still fall to no use while its trial runs.

        Where leading configs are trained again, the first trial of the one that leads.
        """
        if self._leading is not None:
            return self._rows[self._leading.number]
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
            trainings = self._leading.words() if self._leading else ""
            more = f", {trainings}" if trainings else ""
            parts.append(f"best {incumbent.value:.4f} (trial {incumbent.number}{more})")
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
    known = trial.user_attrs
    return TrialRow(
        trial.number,
        trial.params,
        known.get(attributes.BASELINE),
        state=trial.state.name,
        epoch=known.get(attributes.EPOCHS, 0),
        value=known.get(attributes.BEST_VALUE),
        reason=known.get(attributes.REASON),
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
        *(f"  {words}" for words in (study.trainings(best).words(), best.fold_words()) if words),
        f"  Dice: {describe_dice(dice)}",
        f"  {describe_params(best.params)}",
    )


class RunObserver:
    """Shows a run: of each trial its start, some of its epochs and its end."""

    def __init__(self, board: Board, display: Display) -> None:
        self._board = board
        self._display = display
        self._last_line: dict[int, float] = {}

    def study_opened(self, trials: Sequence[FrozenTrial]) -> None:
        self._board.open(trials)
        self._display.begin()
        if trials:
            self._display.line(f"continuing: {self._board.headline()}")

    def trial_started(self, number: int, params: Mapping[str, Any], baseline: str | None) -> None:
        self._board.start(number, params, baseline)
        self._last_line[number] = time.monotonic()
        self._display.line(f"{_title(number, baseline)} started: {describe_params(params)}")

    def epoch_ended(self, number: int, epoch: Epoch) -> None:
        """Show an epoch; as a line, at most one in twenty seconds a trial."""
        row = self._board.epoch(number, epoch)
        if time.monotonic() - self._last_line[number] >= LINE_EVERY_SECONDS:
            self._last_line[number] = time.monotonic()
            title = _title(number, row.baseline)
            self._display.line(f"{title} epoch {row.epoch}: {_score(row)}")

    def trial_ended(self, trial: FrozenTrial) -> None:
        row = self._board.end(trial)
        end = row.reason if row.state == "FAIL" else _score(row)
        title = _title(row.number, row.baseline)
        self._display.line(f"{title} {row.state} after {row.epoch} epochs: {end}")
        self._display.line(f"  {self._board.headline()}")

    def note(self, message: str) -> None:
        self._display.note(message)

    def warn(self, message: str) -> None:
        """Print a warning in full, and keep it among the last few below the table."""
        self._board.notes.append(message)
        self._display.warn(message)


def _title(number: int, baseline: str | None) -> str:
    return f"trial {number}{f' ({baseline})' if baseline else ''}"


def _score(row: TrialRow) -> str:
    return "–" if row.value is None else f"{row.value:.4f} ({describe_dice(row.dice)})"


@contextlib.contextmanager
def run_display(
    config: StudyConfig, console: Console, table: bool | None = None
) -> Iterator[RunObserver]:
    """Yield what shows a run: a live table, or plain lines; see :class:`Display`."""
    board = Board(config)
    with Display(console, board.picture, table) as display:
        yield RunObserver(board, display)
