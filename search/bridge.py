"""Ray Tune executes, the Optuna study decides: the two adapters between them.

Ray's own ``OptunaSearch`` tells every trial that a scheduler stopped as COMPLETE and keeps its
own copy of the study; Tune's schedulers keep their rungs in memory. Here both adapters act on one
:class:`TrialBook` over the study, so that proposing, pruning, finishing and resuming have one
source of truth, which survives the driver.
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
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search.config import StudyConfig
from search.study import (
    BASELINE,
    BEST_EPOCH,
    BEST_VALUE,
    COST,
    EPOCHS,
    REASON,
    SEED,
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
    """

    def __init__(
        self,
        study: optuna.Study,
        config: StudyConfig,
        store_path: Path,
        capacity: Callable[[], int],
        observer: Observer,
        deadline: float | None = None,
    ) -> None:
        self.study = study
        self.config = config
        self.store_path = store_path
        self.observer = observer
        self.deadline = deadline
        self._capacity = capacity
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
        return {
            "number": trial.number,
            "folder": str(trial_folder(self.config.directory, trial.number)),
            "store": str(self.store_path),
            "config": self.config.at(trial.params, seed).model_dump(mode="json"),
            "resources": self.config.resources.model_dump(mode="json"),
        }

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


class StudySearcher(Searcher):  # type: ignore[misc]
    """Tune's searcher: proposes what the book proposes, tells what the book tells."""

    def __init__(self, book: TrialBook) -> None:
        super().__init__(metric="epoch", mode="max")
        self._book = book

    def suggest(self, trial_id: str) -> Any:
        """Return a trial's settings, None for later, or FINISHED."""
        if self._book.exhausted:
            return Searcher.FINISHED
        proposal = self._book.propose(trial_id)
        return None if proposal is None else {"trial": proposal}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the end of a trial."""
        self._book.finish(trial_id, unflatten(result), error)

    # The study keeps the state; Tune's own snapshots of it would only go stale.

    def save(self, checkpoint_path: str) -> None:
        """Do nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Do nothing."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class PrunerScheduler(FIFOScheduler):  # type: ignore[misc]
    """Tune's scheduler: runs in order of proposal, stops what the study's pruner stops."""

    # Each epoch is a decision: results must not wait in a buffer.
    _supports_buffered_results = False

    def __init__(self, book: TrialBook) -> None:
        super().__init__()
        self._book = book

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Report an epoch; return STOP where the pruner says so."""
        if self._book.report(trial.trial_id, unflatten(result)):
            self._book.prune(trial.trial_id)
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Note the reason that Ray gives for a lost worker."""
        error = trial.get_error()
        text = str(error).strip().splitlines() if error else []
        reason = next((line for line in reversed(text) if line.strip()), "unknown")
        self._book.note_failure(trial.trial_id, f"the worker process ended: {reason}")

    def debug_string(self) -> str:
        """Return a line for Tune's own log."""
        return "pruning by the Optuna study"

    def __getstate__(self) -> dict[str, Any]:
        return {}


def unflatten(result: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the worker's own result, which it packs into one value.

    Tune flattens nested results with '/', which class names may contain; packed, it is left alone.
    """
    packed = (result or {}).get("result")
    return dict(packed.value) if packed is not None else {}


@dataclass(frozen=True)
class Packed:
    """A worker's result as one opaque value."""

    value: dict[str, Any]
