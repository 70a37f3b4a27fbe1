"""What pruning saved: the epochs that pruned trials were spared, at their own pace."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from results.analysis.timeline import epochs_table, pauses_between
from results.records.study import StudyRecord, TrialRecord

_COLUMNS = [
    "number",
    "epochs",
    "epochs_saved",
    "seconds",
    "seconds_saved",
]


@dataclass(frozen=True, eq=False)
class Savings:
    """What pruning saved, in epochs and in seconds of a worker.

    Attributes:
        table: One row a PRUNED trial that finished an epoch, by number. Columns number, epochs
            (that it ran), epochs_saved (up to the study's), seconds (that it took; NaN: not
            recorded), seconds_saved (epochs_saved at its own mean seconds an epoch).
        epochs, seconds: That all trials of the study ran and took.
        epochs_saved, seconds_saved: Sums of the table's columns.
        share: seconds_saved / (seconds + seconds_saved), 0..1; NaN where no seconds are recorded.
        trials_per_hour: Finished trials (COMPLETE, PRUNED, FAIL) an hour of the study, pauses of
            more than 10 minutes left out; NaN where the records do not say when epochs ended.
        reason: Why the table is empty; None where it is not.
    """

    table: pd.DataFrame
    epochs: int
    seconds: float
    epochs_saved: int
    seconds_saved: float
    share: float
    trials_per_hour: float
    reason: str | None = None


def savings(study: StudyRecord) -> Savings:
    """Compute what pruning saved.

    A pruned trial would have cost its own mean seconds an epoch for each further one, up to the
    study's number of epochs (its own, where that is searched); early stopping is not thought of.
    """
    rows = [row for trial in study.with_state("PRUNED") if (row := _row(study, trial)) is not None]
    table = pd.DataFrame(rows, columns=_COLUMNS)
    seconds = sum(float(np.nansum(trial.curve.total_seconds)) for trial in study.trials)
    saved = float(table["seconds_saved"].sum())
    reason = None
    if table.empty:
        pruned = len(study.with_state("PRUNED"))
        reason = (
            "No trial was pruned."
            if not pruned
            else "No pruned trial says how many epochs it ran of how many."
        )
    return Savings(
        table=table,
        epochs=sum(len(trial.curve) for trial in study.trials),
        seconds=seconds,
        epochs_saved=int(table["epochs_saved"].sum()),
        seconds_saved=saved,
        share=saved / (seconds + saved) if seconds + saved > 0 else math.nan,
        trials_per_hour=_trials_per_hour(study),
        reason=reason,
    )


def _row(study: StudyRecord, trial: TrialRecord) -> dict[str, float] | None:
    planned, ran = study.planned_epochs(trial), len(trial.curve)
    if planned is None or not ran:
        return None
    known = trial.curve.total_seconds[np.isfinite(trial.curve.total_seconds)]
    pace = float(known.mean()) if known.size else math.nan
    left = max(planned - ran, 0)
    return {
        "number": trial.number,
        "epochs": ran,
        "epochs_saved": left,
        "seconds": float(known.sum()) if known.size else math.nan,
        "seconds_saved": left * pace,
    }


def _trials_per_hour(study: StudyRecord) -> float:
    epochs = epochs_table(study)
    finished = sum(trial.state != "RUNNING" for trial in study.trials)
    if epochs.empty:
        return math.nan
    starts, ends = epochs["start"].to_numpy(), epochs["end"].to_numpy()
    paused = sum(end - start for start, end in pauses_between(starts, ends))
    seconds = float(ends.max() - starts.min()) - paused
    return 3600 * finished / seconds if seconds > 0 else math.nan
