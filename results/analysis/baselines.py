"""Which baseline represents a study, and how its trials are ranked."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from results.records.study import StudyRecord, TrialRecord

_STATE_RANK = {"COMPLETE": 0, "PRUNED": 1, "RUNNING": 2, "FAIL": 3}


def shown_value(trial: TrialRecord) -> float:
    """Return the trial's value; of a RUNNING or FAIL one the best of its epochs; NaN without
    any.
    """
    row = trial.best_row
    if row is None or (trial.value is not None and trial.state in ("COMPLETE", "PRUNED")):
        return math.nan if trial.value is None else trial.value
    return float(trial.curve.objective[row])


def best_baseline(study: StudyRecord) -> TrialRecord | None:
    """Return the baseline to compare the incumbent with: the first of ``baselines_by_rank``.

    If the incumbent is a baseline itself, it is the next best, if there is another.
    """
    ordered = baselines_by_rank(study)
    others = [trial for trial in ordered if trial is not study.incumbent]
    return (others or ordered or (None,))[0]


def baselines_by_rank(study: StudyRecord) -> list[TrialRecord]:
    """Return baselines that finished an epoch: COMPLETE ones first, then by value, then by
    number.
    """
    begun = [trial for trial in study.baselines if len(trial.curve)]
    return sorted(
        begun, key=lambda t: (_STATE_RANK[t.state], -np.nan_to_num(shown_value(t)), t.number)
    )


def ranked(trials: pd.DataFrame) -> pd.DataFrame:
    """Return rows of ``trials_table`` from best to worst: by state, then value, then number."""
    keyed = trials.assign(_order=trials["state"].map(_STATE_RANK))
    keyed = keyed.sort_values(["_order", "value", "number"], ascending=[True, False, True])
    return keyed.drop(columns="_order")
