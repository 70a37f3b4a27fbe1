"""The study's side of every trial that is running: proposed, reported, pruned, told.

Proposing, finishing and resuming act on the Optuna study alone, which survives the driver; what
is kept here is what can be lost with it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from search.config import StudyConfig, TrialConfig
from search.placement import NOTHING, Bundle, trial_bundle
from search.study import (
    BASELINE,
    BEST_EPOCH,
    BEST_VALUE,
    COST,
    EPOCHS,
    REASON,
    SEED,
    SHARE,
    STOPPED,
    derive_seed,
    mirror_trial,
    started_trials,
    trial_folder,
)

OUT_OF_MEMORY = "out of memory"
HOPELESS_FAILURES = 3


class Observer(Protocol):
    """Who is told of what happens: the live table, or plain lines."""

    def study_opened(self, trials: Sequence[FrozenTrial]) -> None:
        """The study is open, with the trials of earlier runs."""

    def trial_started(self, number: int, params: Mapping[str, Any], baseline: str | None) -> None:
        """A trial has been handed to Ray (for the first time or again)."""

    def epoch_ended(self, number: int, record: Mapping[str, Any]) -> None:
        """A trial has reported an epoch; ``record`` is its line of metrics.jsonl."""

    def trial_ended(self, trial: FrozenTrial) -> None:
        """A trial has been told to the study."""

    def warn(self, message: str) -> None:
        """Something that the user must know, such as a leak between splits."""


class Placer(Protocol):
    """Who decides what a trial reserves, and counts what runs."""

    def place(self, name: str, config: TrialConfig, factor: float = 1.0) -> Bundle:
        """Return a trial's bundle in Ray's terms and count it as running."""

    def free(self, name: str) -> None:
        """Count it no more."""


@dataclass
class LiveTrial:
    """A trial that Ray holds: what has been heard of it since the driver started."""

    trial: Trial
    pruned: bool = False
    reason: str | None = None
    best_value: float | None = None
    best_epoch: int | None = None
    epochs: int = 0
    reported: set[int] = field(default_factory=set)


class TrialBook:
    """The study's side of every trial that Ray runs.

    Args:
        study: The opened study.
        config: The study's config.
        store_path: The prepared data, handed to the workers.
        capacity: Returns how many trials the cluster has room for now.
        observer: Told of starts, epochs and ends.
        deadline: Time (``time.time()``) after which no new trial is proposed; None: no limit.
        placer: Decides what each trial reserves. None: as the config's numbers say.
    """

    def __init__(
        self,
        study: optuna.Study,
        config: StudyConfig,
        store_path: Path,
        capacity: Callable[[], int],
        observer: Observer,
        deadline: float | None = None,
        placer: Placer | None = None,
    ) -> None:
        self.study = study
        self.config = config
        self.store_path = store_path
        self.observer = observer
        self.deadline = deadline
        self._capacity = capacity
        self._placer = placer
        self._live: dict[str, LiveTrial] = {}
        self._distributions = {name: d.to_optuna() for name, d in config.space.items()}
        # The study's lock is ours, so a trial found RUNNING has lost its worker with its driver.
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        self._adoptable = [frozen for frozen in running if not self._settle(frozen)]
        self._started = len(started_trials(study))
        self._barren = 0
        self._fertile = False
        # Whether the first trials of this run all failed without a single epoch: then it is not
        # their parameters, and the budget is better kept.
        self.hopeless = False

    @property
    def exhausted(self) -> bool:
        """Whether no further trial will be proposed."""
        if self.hopeless:
            return True
        if self._adoptable:
            return False
        limit = self.config.search.num_trials
        out_of_time = self.deadline is not None and time.time() >= self.deadline
        return out_of_time or (limit is not None and self._started >= limit)

    def propose(self, ray_id: str) -> dict[str, Any] | None:
        """Adopt an interrupted trial or ask the study for a new one; None while there is no room.

        Returns:
            All that a worker needs to train it, as plain values.
        """
        if len(self._live) >= self._capacity():
            return None
        if self._adoptable:
            trial = Trial(self.study, self._adoptable.pop(0)._trial_id)
            # A driver killed while it asked has left some of the parameters to be drawn.
            for name, distribution in self._distributions.items():
                trial._suggest(name, distribution)
        else:
            trial = self.study.ask(self._distributions)
            self._started += 1
        seed = derive_seed(self.config.study.seed, trial.number)
        trial.set_user_attr(SEED, seed)
        self._live[ray_id] = LiveTrial(trial)
        self._mirror(trial)
        self.observer.trial_started(trial.number, trial.params, trial.user_attrs.get(BASELINE))
        constants = self.config.at(trial.params, seed)
        bundle = self._place(ray_id, constants, trial.user_attrs.get(SHARE, 1.0))
        resources = self.config.resources.model_dump(mode="json")
        return {
            "number": trial.number,
            "folder": str(trial_folder(self.config.directory, trial.number)),
            "store": str(self.store_path),
            "config": constants.model_dump(mode="json"),
            "resources": resources | {"gpus_per_trial": bundle.get("GPU", 0)},
            "bundle": bundle,
        }

    def _place(self, ray_id: str, constants: TrialConfig, factor: float) -> Bundle:
        if self._placer is None:
            return trial_bundle(self.config.resources, NOTHING, (), factor)
        return self._placer.place(ray_id, constants, factor)

    def report(self, ray_id: str, result: Mapping[str, Any]) -> bool:
        """Report an epoch to the study.

        Args:
            ray_id: Ray's name of the trial.
            result: What the worker returned, see ``search/worker.py``.

        Returns:
            Whether the pruner stops the trial here.
        """
        live = self._live.get(ray_id)
        if live is None or "record" not in result:
            return False
        if live.epochs == 0 and COST in result:
            live.trial.set_user_attr(COST, dict(result[COST]))
        known = self._reported(live)
        for epoch, value in result["history"]:
            # Steps from before an interruption are in the study already, or were lost on the way.
            if epoch not in known and value is not None and not math.isnan(value):
                live.trial.report(value, epoch)
                known.add(epoch)
        self._fertile = True
        live.epochs = result["record"]["epoch"]
        live.best_value, live.best_epoch = result[BEST_VALUE], result[BEST_EPOCH]
        self.observer.epoch_ended(live.trial.number, result["record"])
        return bool(live.trial.should_prune()) if known else False

    def _reported(self, live: LiveTrial) -> set[int]:
        if not live.reported:
            frozen = self.study._storage.get_trial(live.trial._trial_id)
            live.reported = set(frozen.intermediate_values)
        return live.reported

    def prune(self, ray_id: str) -> None:
        """Note that the pruner stopped this trial; it is told when Ray has stopped it."""
        live = self._live[ray_id]
        live.pruned = True
        # The pruner counts the rung as passed from now on: a driver killed before the end is
        # told must not let the trial train on to the next one.
        _note_end(live)
        live.trial.set_user_attr(STOPPED, True)

    def note_failure(self, ray_id: str, reason: str) -> None:
        """Note why a trial failed; it is told when Ray gives it up."""
        if ray_id in self._live:
            self._live[ray_id].reason = reason

    def finish(self, ray_id: str, result: Mapping[str, Any] | None, error: bool) -> None:
        """Tell the study how a trial ended; one merely stopped stays RUNNING, to be resumed."""
        live = self._live.get(ray_id)
        if live is None:
            return
        result = result or {}
        if result.get("done") and not live.pruned and not error:
            self.report(ray_id, result)  # Tune keeps a trial's last result from the scheduler.
        state = self._final_state(live, result, error)
        del self._live[ray_id]
        if self._placer is not None:
            self._placer.free(ray_id)
        if state is None:
            return
        self._barren += state is TrialState.FAIL and not live.epochs
        enough = max(HOPELESS_FAILURES, self._capacity())
        self.hopeless = not self._fertile and self._barren >= enough
        _note_end(live)
        if live.reason and live.reason.startswith(OUT_OF_MEMORY):
            live.trial.set_constraint("memory", 1.0)
        self._tell(live.trial, live.best_value, state)

    def _tell(self, trial: Trial, best_value: float | None, state: TrialState) -> None:
        value = best_value if state is TrialState.COMPLETE else None
        frozen = self.study.tell(trial, value, state=state)
        mirror_trial(self.config.directory, frozen)
        self.observer.trial_ended(frozen)

    def _settle(self, frozen: FrozenTrial) -> bool:
        """Tell the end of a trial that its driver had decided and was killed before telling."""
        if REASON in frozen.user_attrs:
            state = TrialState.FAIL
        elif STOPPED in frozen.user_attrs:
            state = TrialState.PRUNED
        else:
            return False
        self._tell(Trial(self.study, frozen._trial_id), None, state)
        return True

    def _final_state(
        self, live: LiveTrial, result: Mapping[str, Any], error: bool
    ) -> TrialState | None:
        live.reason = result.get("failed") or live.reason
        if error or live.reason:
            live.reason = live.reason or "the worker process ended; see its worker.log"
            return TrialState.FAIL
        if live.pruned:
            return TrialState.PRUNED
        if not result.get("done"):
            return None
        if live.best_value is None:
            live.reason = f"{self.config.search.objective} was undefined in every epoch"
            return TrialState.FAIL
        return TrialState.COMPLETE

    def _mirror(self, trial: Trial) -> None:
        mirror_trial(self.config.directory, self.study._storage.get_trial(trial._trial_id))


def _note_end(live: LiveTrial) -> None:
    """Write what is known of a trial to the study, before it is told."""
    for key, value in (
        (EPOCHS, live.epochs or None),
        (BEST_VALUE, live.best_value),
        (BEST_EPOCH, live.best_epoch),
        (REASON, live.reason),
    ):
        if value is not None and live.trial.user_attrs.get(key) != value:
            live.trial.set_user_attr(key, value)
