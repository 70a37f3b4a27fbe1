"""The state of a study: its trials by state, its best, what its workers do, its pace and its
failures.

Computed from what :mod:`results.records.status_reader` has read; nothing here touches a file.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from results.records.epochs import Epoch, Worker, best_of
from results.records.pace import Paces, Stint, TrainingNode, node_of, seconds_left
from results.records.repeats import TrainedConfig, leader, trained_configs
from results.records.schemas import StudyFile, TrialFile

# What the pace is taken from: long enough for trials of minutes, short enough to follow changes.
RECENT_SECONDS = 3600.0
# The driver's heartbeat comes every two seconds; a loaded machine or share may delay it.
SILENT_SECONDS = 15.0


@dataclass(frozen=True)
class Epochs:
    """What a trial's epochs say.

    Attributes:
        times: when each epoch ended, seconds since 1970.
        last: the last of them; None before the first.
        best: the one of the highest objective, the earliest of equals.
    """

    times: tuple[float, ...] = ()
    last: Epoch | None = None
    best: Epoch | None = None

    @classmethod
    def of(cls, epochs: Sequence[Epoch]) -> Epochs:
        times = tuple(each.time.timestamp() for each in epochs if each.time is not None)
        return cls(times, epochs[-1] if epochs else None, best_of(epochs))


@dataclass(frozen=True)
class Holder:
    """Who holds the study's lease.

    Attributes:
        host, pid: the process; None where run.lock does not say.
        since: when it began, seconds since 1970.
        beat: its last heartbeat.
        gone: whether it is known not to be there any more.
    """

    host: str | None
    pid: int | None
    since: float | None
    beat: float
    gone: bool = False


@dataclass(frozen=True)
class TrialFacts:
    """One trial as its files tell it.

    Attributes:
        file: its trial.json.
        folder: where it lies.
        finished: when it ended, seconds since 1970.
        started: when it began.
        epochs: read where they matter, else empty.
        seen: when its files were last written.
        worker: what its worker.json says, of a trial that runs.
    """

    file: TrialFile
    folder: Path
    finished: float | None = None
    epochs: Epochs = Epochs()
    seen: float | None = None
    started: float | None = None
    worker: Worker | None = None

    @property
    def node(self) -> TrainingNode | None:
        """Where it was trained last, or is about to be."""
        return node_of(self.worker) or node_of(self.epochs.last and self.epochs.last.worker)


@dataclass(frozen=True)
class Driver:
    """The process that runs the study.

    Attributes:
        state: "running", "silent" (it holds the study and gives no sign of life) or "none".
        since: when it began, seconds since 1970.
        silent_seconds: since its last heartbeat.
    """

    state: str
    host: str | None = None
    pid: int | None = None
    since: float | None = None
    silent_seconds: float | None = None


@dataclass(frozen=True)
class TrialStatus:
    """A trial as it is shown: of one that runs, what its worker does.

    Attributes:
        epoch: epochs trained.
        epochs: epochs asked for; None where unknown.
        value: the objective at the best epoch.
        best_epoch: that epoch.
        dice: Dice per class at that epoch, background first; empty before one.
        images_per_second: training images, in the last epoch.
        waits: share of the last epoch's training in which it waited for images.
        silent_seconds: since its files were last written; None of one that has ended.
    """

    number: int
    state: str
    epoch: int
    epochs: int | None
    value: float | None
    best_epoch: int | None
    dice: Mapping[str, float | None]
    params: Mapping[str, Any]
    baseline: str | None
    images_per_second: float | None = None
    waits: float | None = None
    silent_seconds: float | None = None
    host: str | None = None
    pid: int | None = None


@dataclass(frozen=True)
class Pace:
    """How much was done lately; None where nothing was, or over no time.

    Attributes:
        seconds: what it is taken from.
    """

    epochs_per_hour: float | None
    trials_per_hour: float | None
    seconds: float


@dataclass(frozen=True)
class Status:
    """The state of a study.

    Attributes:
        states: number of trials by state.
        num_trials: how many trials it is to have; None: no limit.
        best: the incumbent; before any trial is COMPLETE, the best of the others.
        trainings: what several trainings of its config have reached, in words; else "".
        running: the trials in the state RUNNING, by number.
        leaders: the best trials that have ended, COMPLETE before PRUNED.
        eta_seconds: about how long it will go on; None where unknown.
        failures: (trial, reason) of each FAIL trial, by number.
        lost_workers: how often each reason has cost a trial its worker.
        minimize: what is minimised beside the objective.
        input: what pipeline.json says of the training images: whether and why trials share a
            pipeline, how many images a second they read and how many were made for it, the share
            that came from the cache (``hit_rate``), seconds trained and waited for images.
    """

    name: str
    directory: str
    objective: str
    classes: tuple[str, ...]
    driver: Driver
    states: Mapping[str, int]
    num_trials: int | None
    best: TrialStatus | None
    running: tuple[TrialStatus, ...]
    leaders: tuple[TrialStatus, ...]
    pace: Pace
    eta_seconds: float | None
    failures: tuple[tuple[int, str], ...]
    lost_workers: Mapping[str, int]
    minimize: tuple[str, ...] = ()
    input: Mapping[str, Any] = field(default_factory=dict)
    trainings: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        record = asdict(self)
        record["failures"] = [{"number": n, "reason": reason} for n, reason in self.failures]
        return record


def status_of(
    header: StudyFile,
    directory: Path,
    trials: Sequence[TrialFacts],
    holder: Holder | None,
    now: float,
    leaders: Sequence[TrialFacts] = (),
    pipeline: Mapping[str, Any] | None = None,
) -> Status:
    """Return the state of a study.

    Args:
        header: Its study.yaml.
        directory: Its directory.
        trials: By number.
        holder: Who holds it.
        now: Seconds since 1970.
        leaders: What :func:`leaders_of` returns, with their epochs.
        pipeline: What pipeline.json says.
    """
    driver = _driver(holder, now)
    search = _section(header, "search")
    states: Counter[str] = Counter(trial.file.state for trial in trials)
    limit = search.get("num_trials")
    pace = _pace(trials, driver, now)
    by_node = _left_by_node(trials, limit, driver, now)
    epochs, folds = _section(header, "train").get("epochs"), search.get("folds") or 1
    shown = [_shown(trial, epochs, folds, now) for trial in trials if trial.file.state == "RUNNING"]
    ended = [_shown(trial, epochs, folds, now) for trial in leaders]
    failed = [t.file for t in trials if t.file.state == "FAIL"]
    best = _best(shown, ended)
    leading = _leading(header, trials)
    return Status(
        name=header.name,
        directory=str(directory),
        objective=header.objective,
        classes=tuple(header.classes),
        driver=driver,
        states=dict(sorted(states.items())),
        num_trials=limit,
        minimize=tuple(search.get("minimize") or ()),
        best=best,
        trainings=leading.words() if leading and best and leading.number == best.number else "",
        running=tuple(shown),
        leaders=tuple(ended),
        pace=pace,
        eta_seconds=_eta(
            driver, pace, by_node, limit, states, search.get("time_budget_minutes"), now
        ),
        failures=tuple((t.number, t.reason or "no reason recorded") for t in failed),
        input=dict(pipeline or {}),
        lost_workers=dict(Counter(f.reason for t in trials for f in t.file.failures).most_common()),
    )


def _section(header: StudyFile, name: str) -> Mapping[str, Any]:
    section = header.config.get(name)
    return section if isinstance(section, dict) else {}


def _leading(header: StudyFile, trials: Sequence[TrialFacts]) -> TrainedConfig | None:
    """Return the config that leads, where the leading ones are trained again."""
    repeats = _section(header, "search").get("repeats_of_best")
    if not isinstance(repeats, int) or not repeats:
        return None
    files = [trial.file for trial in trials]
    return leader(
        trained_configs((f.number, f.repeat_of, f.state, f.value) for f in files), repeats
    )


def leaders_of(header: StudyFile, trials: Sequence[TrialFacts], most: int) -> list[TrialFacts]:
    """Return the best trials that have ended: COMPLETE ones before PRUNED ones, then by value.

    Where the leading configs are trained again, the one that leads by its mean is the first.
    """
    leading = _leading(header, trials)
    first = None if leading is None else leading.number
    ended = [t for t in trials if t.file.state in ("COMPLETE", "PRUNED") and _finite(t.file.value)]
    ended.sort(
        key=lambda t: (t.file.number != first, t.file.state, -(t.file.value or 0.0), t.file.number)
    )
    return ended[:most]


def _driver(holder: Holder | None, now: float) -> Driver:
    if holder is None:
        return Driver("none")
    silent = max(0.0, now - holder.beat)
    alive = silent <= SILENT_SECONDS and not holder.gone
    state = "running" if alive else "silent"
    return Driver(state, holder.host, holder.pid, holder.since, round(silent, 1))


def _pace(trials: Sequence[TrialFacts], driver: Driver, now: float) -> Pace:
    """Count the epochs and trials that ended in the last hour of this run, or of the last one."""
    epochs = [time for trial in trials for time in trial.epochs.times]
    ended = [trial.finished for trial in trials if trial.finished is not None]
    events = [*epochs, *ended]
    if not events:
        return Pace(None, None, 0.0)
    end = now if driver.state == "running" else max(events)
    begun = driver.since if driver.state == "running" and driver.since else min(events)
    start = max(end - RECENT_SECONDS, begun)
    seconds = end - start

    def an_hour(times: Sequence[float]) -> float | None:
        count = sum(1 for time in times if start < time <= end)
        return 3600 * count / seconds if count and seconds > 0 else None

    return Pace(an_hour(epochs), an_hour(ended), seconds)


def _left_by_node(
    trials: Sequence[TrialFacts], limit: int | None, driver: Driver, now: float
) -> float | None:
    """Estimate by the pace of each node; None where that needs no telling apart."""
    if limit is None:
        return None
    paces, ended, running = Paces(), [], []
    for trial in trials:
        if trial.epochs.last is not None:
            paces.count(trial.file.number, trial.epochs.last)
        if trial.started is None:
            continue
        # A trial that an earlier run began stood still in between.
        began = max(trial.started, driver.since or trial.started)
        if trial.finished is None:
            running.append(Stint(trial.node, max(0.0, now - began)))
        elif trial.finished >= began:
            ended.append(Stint(trial.node, trial.finished - began))
    todo = max(0, limit - sum(trial.file.state != "RUNNING" for trial in trials))
    return seconds_left(paces, todo, ended, running)


def _eta(
    driver: Driver,
    pace: Pace,
    by_node: float | None,
    limit: int | None,
    states: Mapping[str, int],
    budget: float | None,
    now: float,
) -> float | None:
    """Estimate by node where nodes differ, else by the recent pace; the time budget bounds it."""
    if driver.state != "running":
        return None
    estimates = []
    if by_node is not None:
        estimates.append(by_node)
    elif limit is not None and pace.trials_per_hour:
        finished = sum(count for state, count in states.items() if state != "RUNNING")
        estimates.append(3600 * max(0, limit - finished) / pace.trials_per_hour)
    if budget is not None and driver.since is not None:
        estimates.append(max(0.0, driver.since + 60 * budget - now))
    return min(estimates, default=None)


def _best(running: Sequence[TrialStatus], ended: Sequence[TrialStatus]) -> TrialStatus | None:
    """Return the best COMPLETE trial, else the best of the others; FAIL trials have no worth."""
    if ended and ended[0].state == "COMPLETE":
        return ended[0]
    scored = [trial for trial in (*ended, *running) if trial.value is not None]
    return max(scored, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)


def _shown(trial: TrialFacts, epochs: Any, folds: int, now: float) -> TrialStatus:
    file, last, best = trial.file, trial.epochs.last, trial.epochs.best
    runs = file.state == "RUNNING"
    asked = file.params.get("train.epochs", epochs)
    # A running trial's trial.json lags behind its epochs.
    value = file.value if not runs else best and best.objective
    return TrialStatus(
        number=file.number,
        state=file.state,
        epoch=file.epochs if not runs else last.epoch if last else 0,
        epochs=asked * folds if isinstance(asked, int) else None,
        value=value if _finite(value) else None,
        best_epoch=file.best_epoch if not runs else best and best.epoch,
        dice=best.dice if best else {},
        params=file.params,
        baseline=file.baseline,
        images_per_second=last and last.images_per_second,
        waits=waiting_share(last) if runs and last else None,
        silent_seconds=round(max(0.0, now - trial.seen), 1) if runs and trial.seen else None,
        host=trial.worker and trial.worker.host,
        pid=trial.worker and trial.worker.pid,
    )


def waiting_share(epoch: Epoch) -> float | None:
    """Return the share of an epoch's training that was spent waiting for images.

    None of an epoch of an older version, which did not measure it.
    """
    waited, trained = epoch.seconds.input, epoch.seconds.train
    return min(1.0, waited / trained) if waited is not None and trained else None


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
