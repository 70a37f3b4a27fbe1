"""Which early number tells which trial will be best: rank correlations in a study without pruning.

    flexunet-search run configs/quickstart.yaml --set search.pruner=none --set study.name=unpruned
    python benchmarks/pruning_metric.py studies/unpruned

For each epoch and each metric that a pruner may be shown, Spearman's rank correlation, over the
trials, of the metric's best value up to that epoch with the trial's final value; and how many
trials share the lowest value, among which a pruner would decide by chance.
"""

from __future__ import annotations

import argparse
import datetime
import platform
from pathlib import Path

import numpy as np
import pandas as pd

from results.analysis import scores
from results.records.study import StudyRecord, TrialRecord, load_study


def metrics_of(trial: TrialRecord) -> dict[str, np.ndarray]:
    """Each metric by epoch, float64 [E], higher is better."""
    curve = trial.curve
    return {
        "objective": np.asarray(curve.objective, float),
        "soft_foreground_dice": np.array([scores.mean_foreground(row) for row in curve.soft_dice]),
        "negative_validation_loss": -np.asarray(curve.validation_loss, float),
    }


def correlations(study: StudyRecord) -> pd.DataFrame:
    """One row an epoch: Spearman's rho and share of ties at the bottom, for each metric."""
    trials = study.with_state("COMPLETE")
    epochs = min(len(trial.curve) for trial in trials)
    final = pd.Series([trial.value for trial in trials])
    metrics = [metrics_of(trial) for trial in trials]
    rows = []
    for epoch in range(1, epochs):
        row: dict[str, float] = {"epoch": epoch}
        for name in metrics[0]:
            early = pd.Series([np.nanmax(values[name][:epoch]) for values in metrics])
            row[name] = early.rank().corr(final.rank())
            lowest = np.isclose(early, early.min(), atol=1e-4)
            row[f"{name}, ties"] = lowest.sum() if lowest.sum() > 1 else 0
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    """Print the table of a study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    study = load_study(parser.parse_args().study)
    table = correlations(study)
    count = len(study.with_state("COMPLETE"))
    print(f"{datetime.date.today()}, {platform.machine()}, study {study.name}, {count} trials\n")
    columns = list(table.columns)
    print("| " + " | ".join(columns) + " |")
    print("|" + "---:|" * len(columns))
    for row in table.itertuples(index=False):
        cells = [f"{v:.0f}" if c == "epoch" or "ties" in c else f"{v:.2f}"
                 for c, v in zip(columns, row, strict=True)]  # fmt: skip
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
