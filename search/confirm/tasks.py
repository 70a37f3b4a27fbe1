"""The trainings of a confirmation as Ray tasks: started, followed, tried again or given up.

Each is a task with a trial's bundle, as many at once as fit. A lost worker costs the epoch in
flight: the training goes on elsewhere from its last checkpoint.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ray

from foundation.files import modified, read_json, write_json
from results.analysis.confirmation import FAILED, Run
from results.records.epochs import Epoch, epochs_in
from results.records.schemas import Flips
from search.cluster.capacity import Capacity
from search.cluster.liveness import Liveness
from search.cluster.placement import Bundle
from search.cluster.retry_policy import LARGER_SHARE, MOST_FAILURES_WITHOUT_EPOCH, RetryPolicy
from search.cluster.worker_errors import why_lost
from search.config.schema import StudyConfig
from search.config.trial import TrialConfig
from search.confirm.plan import folder_of
from search.confirm.worker import BEGUN, SCORING, ConfirmationJob, Ended
from search.process.memory import OUT_OF_MEMORY, is_out_of_memory, out_of_memory_line
from search.process.resources import WorkerResources
from search.process.stop import Stop

POLL_SECONDS = 0.5
# A process grows with each training; Ray ends it after so many, on a GPU after one.
MOST_CALLS = 8

Work = Callable[[ConfirmationJob], Ended]


class ConfirmObserver(Protocol):
    """Receives the events of a confirmation."""

    def opened(self, epochs: Mapping[Run, int], ended: Sequence[Run]) -> None:
        """All trainings, the epochs each is to have, and those that have ended before."""

    def started(self, run: Run) -> None:
        """A training has been handed to Ray (for the first time or again)."""

    def epoch_ended(self, run: Run, epoch: Epoch) -> None:
        """A training has written an epoch: its line of metrics.jsonl."""

    def ended(self, run: Run, failed: str | None) -> None:
        """A training is scored, or has failed for good."""

    def warn(self, message: str) -> None:
        """Something that the user must know."""


@dataclass(frozen=True)
class Place:
    """Where trainings are, and how they are scored: study, config, split, flips, stores by fold."""

    study: Path
    config: StudyConfig
    split: str
    flips: Flips
    stores: Mapping[int | None, Path]


@dataclass
class _Live:
    """A training that Ray holds.

    Attributes:
        owner: Name under which its process claims its folder.
        epoch: The last one that it is known to have written.
        scored: When its scoring last gave a sign of life, by the clock of its files.
        lost: Why it was cancelled.
    """

    run: Run
    owner: str
    epoch: int
    scored: float | None = None
    lost: str | None = None


@dataclass
class _Past:
    """What has happened to a training before.

    Attributes:
        epoch, losses: Workers lost in a row after an epoch.
        factor: The share that is asked for.
        scored: Whether its scoring has failed.
    """

    epoch: int = 0
    losses: int = 0
    factor: float = 1.0
    scored: bool = False


class TrainingQueue:
    """Hands trainings to Ray, receives their reports and decides which failures to retry.

    Args:
        place: Where they are.
        configs: The constants of each.
        capacity: What the cluster has room for.
        observer: Told of every start, epoch and end.
        stop: The early end.
        work: What trains and scores, in a process of Ray.
        any_epoch: Whether any training has come to its end before.

    Attributes:
        trouble: Why nothing can be written; then the run ends.
        no_progress: Why going on is no use: nothing trains at all.
    """

    def __init__(
        self,
        place: Place,
        configs: Mapping[Run, TrialConfig],
        capacity: Capacity,
        observer: ConfirmObserver,
        stop: Stop,
        work: Work,
        any_epoch: bool = False,
    ) -> None:
        self.trouble: str | None = None
        self.no_progress: str | None = None
        self._place = place
        self._configs = configs
        self._capacity = capacity
        minutes = place.config.resources.trial_timeout_minutes
        self._liveness = Liveness(minutes, capacity.processors)
        self._policy = RetryPolicy(place.config.resources.max_failures)
        self._observer = observer
        self._stop = stop
        self._work = work
        self._any_epoch = any_epoch
        self._waiting: deque[Run] = deque()
        self._live: dict[Any, _Live] = {}
        self._past: dict[Run, _Past] = {}
        # Failures before anything has trained are not written down: the cause may be the cluster.
        self._failed_without_epoch: dict[Run, str] = {}
        self._tasks: dict[tuple[tuple[str, float], ...], Any] = {}
        self._epochs_when_asked: dict[str, int] | None = None

    def run(self, runs: Sequence[Run]) -> None:
        """Train and score these, in order, or until the end is asked for."""
        self._waiting.extend(runs)
        try:
            while (self._waiting or self._live) and not self.no_progress:
                if self._stop.asked and self._stop.now(self._in_flight()):
                    break
                self._hand_out()
                ended: list[Any] = []
                if self._live:
                    ended, _ = ray.wait(list(self._live), timeout=POLL_SECONDS)
                else:
                    time.sleep(POLL_SECONDS)
                for reference, live in self._live.items():
                    self._look(live)
                    if reference not in ended:
                        self._end_if_it_hangs(reference, live)
                for reference in ended:
                    self._end(reference, self._live.pop(reference))
            if not self._stop.asked:
                self._give_up_without_progress()
        finally:
            for reference in self._live:
                ray.cancel(reference, force=True)

    def _in_flight(self) -> int:
        """Count the trainings whose epoch in flight has not ended since the end was asked for."""
        if self._epochs_when_asked is None:
            self._epochs_when_asked = {live.owner: live.epoch for live in self._live.values()}
        asked = self._epochs_when_asked
        return sum(
            self._liveness.has_begun(live.owner) and live.epoch <= asked.get(live.owner, live.epoch)
            for live in self._live.values()
        )

    def _hand_out(self) -> None:
        while self._waiting and not self._stop.asked and self._capacity() > len(self._live):
            run = self._waiting.popleft()
            folder = folder_of(self._place.study, run)
            live = _Live(run, f"{self._stop.run_id}-{uuid.uuid4().hex[:8]}", _epoch_of(folder))
            self._live[self._submit(run, folder, live.owner)] = live
            self._observer.started(run)

    def _submit(self, run: Run, folder: Path, owner: str) -> Any:
        config = self._configs[run]
        bundle = self._capacity.place(run.name, config, self._of(run).factor)
        job = ConfirmationJob(
            name=run.name,
            trial=run.trial,
            seed=run.seed,
            fold=run.fold,
            config=config,
            store=self._place.stores[run.fold],
            split=self._place.split,
            flips=self._place.flips,
            study=self._place.study.absolute(),
            folder=folder.absolute(),
            owner=owner,
            resources=WorkerResources.of(self._place.config.resources, bundle.get("GPU", 0)),
        )
        return self._task(bundle).options(name=run.name).remote(job)

    def _task(self, bundle: Bundle) -> Any:
        """Return the task of a bundle; one for all, since Ray counts the calls of each."""
        key = tuple(sorted(bundle.items()))
        if key not in self._tasks:
            gpus = bundle.get("GPU", 0)
            self._tasks[key] = ray.remote(
                num_cpus=bundle["CPU"],
                num_gpus=gpus,
                memory=bundle.get("memory"),
                max_retries=0,  # tried again here, under another owner's name
                max_calls=1 if gpus else MOST_CALLS,
            )(self._work)
        return self._tasks[key]

    def _look(self, live: _Live) -> None:
        """Hear of the epochs that a training has written, and of its scoring after the last."""
        folder = folder_of(self._place.study, live.run)
        begun = self._liveness.has_begun(live.owner)
        if not begun and _owner_of(folder) == live.owner:
            self._liveness.seen(live.owner)
        epochs = epochs_in(folder)
        if epochs and epochs[-1].epoch > live.epoch:
            for epoch in epochs[live.epoch :]:
                self._observer.epoch_ended(live.run, epoch)
                self._capacity.learn(self._configs[live.run], epoch)
                self._liveness.count(live.owner, epoch)
            live.epoch = epochs[-1].epoch
            self._trains()
        scored = modified(folder / SCORING)
        if self._liveness.has_begun(live.owner) and scored != live.scored:
            live.scored = scored
            self._liveness.seen(live.owner)

    def _end_if_it_hangs(self, reference: Any, live: _Live) -> None:
        if live.lost:
            return
        live.lost = self._liveness.problem(live.owner, folder_of(self._place.study, live.run))
        if live.lost:
            ray.cancel(reference, force=True)

    def _end(self, reference: Any, live: _Live) -> None:
        self._capacity.free(live.run.name)
        ended = _result(reference)
        if ended.trouble:
            self.trouble = ended.trouble
            self._stop.ask(ended.trouble)
        elif ended == Ended():  # it may have ended as it was given up
            self._trains()
            self._observer.ended(live.run, None)
        elif live.lost or ended.lost:
            self._retry(live, live.lost or ended.lost or "")
        elif ended.failed and not self._again(live.run, ended.failed, ended.scoring):
            self._fail(live.run, ended.failed)

    def _again(self, run: Run, reason: str, scoring: bool) -> bool:
        return self._grows(run, reason) or (scoring and self._scores_again(run, reason))

    def _of(self, run: Run) -> _Past:
        return self._past.setdefault(run, _Past())

    def _retry(self, live: _Live, reason: str) -> None:
        """Let a training that lost its worker go on from its last epoch, or give it up."""
        past = self._of(live.run)
        past.losses = past.losses + 1 if past.epoch == live.epoch else 1
        past.epoch = live.epoch
        goes_on, said = self._policy.after_loss(reason, live.epoch, past.losses)
        if not goes_on:
            self._fail(live.run, said)
            return
        self._observer.warn(f"{live.run.name}: {said}")
        self._waiting.appendleft(live.run)

    def _grows(self, run: Run, reason: str) -> bool:
        """Let a training that ran out of memory try once more with a larger share."""
        past = self._of(run)
        may_grow = self._policy.may_grow(reason, past.factor > 1)
        if not may_grow or not self._capacity.can_grow(self._configs[run]):
            return False
        past.factor = LARGER_SHARE
        self._observer.warn(f"{run.name}: {reason}; once more with a larger share")
        self._waiting.appendleft(run)
        return True

    def _scores_again(self, run: Run, reason: str) -> bool:
        """Let a training whose scoring failed be scored once more: its epochs stay."""
        past = self._of(run)
        if past.scored:
            return False
        past.scored = True
        self._observer.warn(f"{run.name}: its scoring failed: {reason}; once more")
        self._waiting.appendleft(run)
        return True

    def _fail(self, run: Run, reason: str) -> None:
        if self._any_epoch or _epoch_of(folder_of(self._place.study, run)):
            write_json(folder_of(self._place.study, run) / FAILED, {"reason": reason})
        else:
            self._failed_without_epoch[run] = reason
        self._observer.ended(run, reason)
        if not self._stop.asked and self._makes_no_progress():
            self._give_up_without_progress()

    def _makes_no_progress(self) -> bool:
        """Return whether several configs have failed; one bad one fails by folds and seeds, too."""
        if len(self._failed_without_epoch) < MOST_FAILURES_WITHOUT_EPOCH:
            return False
        failed = {run.trial for run in self._failed_without_epoch}
        if any(live.run.trial not in failed for live in self._live.values()):
            return False
        return len(failed) >= min(
            MOST_FAILURES_WITHOUT_EPOCH, len({run.trial for run in self._configs})
        )

    def _trains(self) -> None:
        """Note that trainings do train here: those that failed, failed by themselves."""
        self._any_epoch = True
        for run, reason in self._failed_without_epoch.items():
            write_json(folder_of(self._place.study, run) / FAILED, {"reason": reason})
        self._failed_without_epoch = {}

    def _give_up_without_progress(self) -> None:
        if self._failed_without_epoch:
            run, reason = list(self._failed_without_epoch.items())[-1]
            self.no_progress = (
                f"stopped: every training fails before its first epoch, {run.name} with: {reason}; "
                f"see error.txt and worker.log in {folder_of(self._place.study, run)}"
            )


def _result(reference: Any) -> Ended:
    """Return what a task returned; what Ray says of one that did not."""
    try:
        ended: Ended = ray.get(reference)
    except ray.exceptions.RayError as error:
        if is_out_of_memory(error):
            return Ended(failed=f"{OUT_OF_MEMORY}: {out_of_memory_line(error)}")
        if isinstance(error, ray.exceptions.WorkerCrashedError):
            return Ended(lost="its worker process died")
        return Ended(lost=why_lost(str(error)))
    return ended


def _epoch_of(folder: Path) -> int:
    epochs = epochs_in(folder)
    return epochs[-1].epoch if epochs else 0


def _owner_of(folder: Path) -> str | None:
    owner = read_json(folder / BEGUN).get("owner")
    return None if owner is None else str(owner)
