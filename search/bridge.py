"""Ray Tune executes, the Optuna study decides: the two adapters between them.

Ray's own ``OptunaSearch`` tells every trial that a scheduler stopped as COMPLETE and keeps its
own copy of the study; Tune's schedulers keep their rungs in memory. Here both adapters act on one
:class:`search.book.TrialBook` over the study, so that proposing, pruning, finishing and resuming
have one source of truth, which survives the driver.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search.book import OUT_OF_MEMORY, TrialBook
from search.memory import is_out_of_memory, out_of_memory_line


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
        error = error_text(trial)
        if is_out_of_memory(error):
            reason = f"{OUT_OF_MEMORY}: {out_of_memory_line(error)}"
            self._book.note_failure(trial.trial_id, reason)
            return
        reason = next((line for line in reversed(error.splitlines()) if line.strip()), "unknown")
        self._book.note_failure(trial.trial_id, f"the worker process ended: {reason}")

    def debug_string(self) -> str:
        """Return a line for Tune's own log."""
        return "pruning by the Optuna study"

    def __getstate__(self) -> dict[str, Any]:
        return {}


def error_text(trial: Any) -> str:
    """Return what Ray says of a trial's failure; '' where it says nothing.

    Not by ``trial.get_error()``: that reads a copy which Tune makes of this file only later.
    """
    try:
        return Path(trial.error_file).read_text(encoding="utf-8")
    except (OSError, TypeError):
        return ""


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
