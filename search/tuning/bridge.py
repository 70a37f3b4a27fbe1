"""Ray Tune executes, the Optuna study decides: the two adapters between them.

Ray's own ``OptunaSearch`` tells every trial that a scheduler stopped as COMPLETE and keeps its
own copy of the study; Tune's schedulers keep their rungs in memory. Here both adapters act on one
:class:`search.study.trials.TrialManager` over the study, so that proposing, pruning, finishing and
resuming have one source of truth, which survives the driver.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune import Callback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search.cluster.worker_errors import why_lost
from search.interfaces.messages import TrialReport
from search.study.trials import TrialManager

# Workers may be silent for minutes, and Tune's loop turns several times for each trial's end.
LOOK_SECONDS = 1.0
_log = logging.getLogger(__name__)


class _OverTrials:
    """What all adapters share: Tune pickles them, and their state is the study's alone."""

    _manager: TrialManager

    def __getstate__(self) -> dict[str, Any]:
        return {}


class StudySearcher(_OverTrials, Searcher):  # type: ignore[misc]
    """Tune's searcher: proposes what the manager proposes, tells what the manager tells."""

    def __init__(self, manager: TrialManager) -> None:
        super().__init__(metric="epoch", mode="max")
        self._manager = manager

    def suggest(self, trial_id: str) -> Any:
        """Return a trial's settings, None for later, or FINISHED."""
        if self._manager.exhausted:
            return Searcher.FINISHED
        proposal = self._manager.propose(trial_id)
        return None if proposal is None else {"trial": proposal}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        self._manager.finish(trial_id, report_in(result), error)

    # The study keeps the state; Tune's own snapshots of it would only go stale.

    def save(self, checkpoint_path: str) -> None:
        """Do nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Do nothing."""


class PrunerScheduler(_OverTrials, FIFOScheduler):  # type: ignore[misc]
    """Tune's scheduler: runs in order of proposal, stops what the study's pruner stops."""

    # Each epoch is a decision: results must not wait in a buffer.
    _supports_buffered_results = False

    def __init__(self, manager: TrialManager) -> None:
        super().__init__()
        self._manager = manager

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Name none, so that a process whose trial ended gets the trial proposed next.

        The trial that is named here would get it, and Tune would end the process that is starting
        for that one: as long as trials end faster than processes start, the cluster would never
        fill. Ray 2.60, findings/tune_reuse_ends_starting_workers.sh. Where nothing new is proposed
        any more, Tune does so still, which then does no harm.
        """
        return None

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Report an epoch; return STOP where the pruner says so."""
        report = report_in(result)
        stops = report is not None and self._manager.report(trial.trial_id, report)
        return str(TrialScheduler.STOP if stops else TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Note why Ray has lost a worker."""
        error = error_text(trial)
        _log.warning("trial %s lost its worker:\n%s", trial, error)
        self._manager.note_lost(trial.trial_id, why_lost(error), "WorkerRecycledError" in error)

    def debug_string(self) -> str:
        """Return a line for Tune's own log."""
        return "pruning by the Optuna study"


class Watch(_OverTrials, Callback):  # type: ignore[misc]
    """Tune's callback: sees when a worker begins, and kills those that hang."""

    def __init__(self, manager: TrialManager) -> None:
        self._manager = manager
        self._next_look = 0.0  # by time.monotonic()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._manager.seen(trial.trial_id)

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look after the pipeline; kill the workers that have reported nothing for too long."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        self._manager.pipeline.poll()
        late = self._manager.overdue()
        if not late:
            return
        for trial in trials:
            actor = trial.temporary_state.ray_actor
            if trial.trial_id in late and actor is not None:
                ray.kill(actor)


class EarlyEnd(_OverTrials, tune.Stopper):  # type: ignore[misc]
    """End the whole run when the book's :class:`search.process.stop.Stop` asks for it."""

    def __init__(self, manager: TrialManager) -> None:
        self._manager = manager

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: no single trial is stopped by it."""
        return False

    def stop_all(self) -> bool:
        return self._manager.stop.now(self._manager.live)


def error_text(trial: Any) -> str:
    """Return what Ray says of a trial's failure; '' where it says nothing.

    Not by ``trial.get_error()``: that reads a copy which Tune makes of this file only later.
    """
    try:
        return Path(trial.error_file).read_text(encoding="utf-8")
    except (OSError, TypeError):
        return ""


def report_in(result: Mapping[str, Any] | None) -> TrialReport | None:
    """Return the worker's report from a result of Tune; None where it holds none."""
    return None if result is None else result.get("report")
