"""Tables of how a search went: its value over trials, epochs and time; where trials stopped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from results.analysis.timeline import seconds_of
from results.records.study import StudyRecord, TrialRecord
from results.tables.core import history_table

_MOST_RUNGS = 12
_DEFAULT_GRACE, _DEFAULT_FACTOR = 5, 3


def progress_table(study: StudyRecord, trials: pd.DataFrame) -> pd.DataFrame:
    """Return the best value over what the search spent, trials in the order in which they ended.

    Args:
        study: the study's records.
        trials: its ``trials_table``.

    Returns:
        Columns of ``history_table``, ``best`` being that of the COMPLETE trials that had ended by
        then; and epochs_spent (epochs of all trials that had ended by then, its own included),
        hours (since the first trial began). Trials without a recorded end come last, by number,
        with hours NaN; a RUNNING trial ends, for now, with its last epoch.
    """
    table = history_table(trials).drop(columns="best")
    ends = np.array([ended(trial) for trial in study.trials], dtype=np.float64)
    began = np.array([seconds_of(trial.started) for trial in study.trials], dtype=np.float64)
    first = np.nanmin(began, initial=np.inf, where=np.isfinite(began)) if len(began) else np.nan
    if not np.isfinite(first):
        first = np.nan
    # NaN sorts last, and the sort is stable.
    order = np.argsort(ends, kind="stable")
    table = table.assign(hours=(ends - first) / 3600).iloc[order]
    complete = table["value"].where(table["state"] == "COMPLETE")
    return table.assign(
        best=complete.cummax().ffill(), epochs_spent=table["epochs"].cumsum()
    ).reset_index(drop=True)


def ended(trial: TrialRecord) -> float:
    """Return when a trial ended, or its last epoch did, in seconds since 1970; NaN where not
    told.
    """
    finished = seconds_of(trial.finished)
    if math.isfinite(finished):
        return finished
    known = trial.curve.ended[np.isfinite(trial.curve.ended)]
    return float(known[-1]) if len(known) else math.nan


def pruner_name(config: Mapping[str, Any]) -> str:
    """ "asha", "hyperband", "median" or "none"; "" where the config does not tell."""
    name = _search(config).get("pruner", "")
    return name if isinstance(name, str) else ""


def rungs(config: Mapping[str, Any], last: int) -> tuple[int, ...]:
    """Return epochs after which asha or hyperband stops trials: grace * factor**k, below ``last``.

    Hyperband's brackets begin at later ones of the same rungs.

    Args:
        config: a study's config.
        last: the epochs of a trial that is not stopped.

    Returns:
        Empty for another pruner, or a config that does not tell.
    """
    if pruner_name(config) not in ("asha", "hyperband"):
        return ()
    grace = _search(config).get("grace_epochs", _DEFAULT_GRACE)
    factor = _search(config).get("reduction_factor", _DEFAULT_FACTOR)
    if not (isinstance(grace, int) and isinstance(factor, int) and grace >= 1 and factor >= 2):
        return ()
    places = (grace * factor**k for k in range(_MOST_RUNGS))
    return tuple(place for place in places if place < last)


def _search(config: Mapping[str, Any]) -> Mapping[str, Any]:
    found = config.get("search")
    return found if isinstance(found, Mapping) else {}


def stops_table(trials: pd.DataFrame) -> pd.DataFrame:
    """After how many epochs trials were pruned, from ``trials_table``.

    Returns:
        Columns epoch, trials; by epoch.
    """
    pruned = trials.loc[trials["state"] == "PRUNED", "epochs"].astype(np.int64)
    counts = pruned.value_counts().sort_index()
    return pd.DataFrame({"epoch": counts.index.to_numpy(), "trials": counts.to_numpy()})
