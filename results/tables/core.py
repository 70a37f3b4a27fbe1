"""Tables that several parts of the report share: trials, epochs, classes, data."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from results.analysis import scores
from results.analysis.baselines import _STATE_RANK, best_baseline, ranked, shown_value
from results.records.searched import searched_fields
from results.records.study import StudyRecord, TrialRecord

_SEVERITY_RANK = {"leak": 0, "warning": 1, "info": 3}
CURVE_COLUMNS = ("objective", "validation_loss", "train_loss", "pruning_value", "learning_rate")


@dataclass(frozen=True, eq=False)
class StudyTables:
    """The tables that several figures share, computed once.

    Attributes:
        study: what they are of.
        trials: ``trials_table``.
        dice: ``dice_table``.
        curves: ``curves_table``.
    """

    study: StudyRecord
    trials: pd.DataFrame
    dice: pd.DataFrame
    curves: pd.DataFrame


def tabulate(study: StudyRecord) -> StudyTables:
    """Compute the tables of a study that several figures share."""
    return StudyTables(study, trials_table(study), dice_table(study), curves_table(study))


def trials_table(study: StudyRecord) -> pd.DataFrame:
    """Return one row a trial, by number.

    Returns:
        Columns number, state, baseline (name or None), value (the objective at the best epoch; of
        an unfinished trial its best so far; NaN without one), worst_class_dice, pooled_dice,
        best_epoch, epochs, seconds (of all its epochs), parameters, flops, reason, then one
        column for each searched field by its dotted name.
    """
    searched = list(searched_fields(study.config))
    rows = [
        _trial_row(trial) | {name: trial.params.get(name) for name in searched}
        for trial in study.trials
    ]
    return pd.DataFrame(rows, columns=[*_TRIAL_COLUMNS, *searched])


_TRIAL_COLUMNS = (
    "number",
    "state",
    "baseline",
    "value",
    "worst_class_dice",
    "pooled_dice",
    "best_epoch",
    "epochs",
    "seconds",
    "parameters",
    "flops",
    "reason",
)


def _trial_row(trial: TrialRecord) -> dict[str, Any]:
    row, curve = trial.best_row, trial.curve
    return {
        "number": trial.number,
        "state": trial.state,
        "baseline": trial.baseline,
        "value": shown_value(trial),
        "worst_class_dice": math.nan if row is None else scores.worst_class(curve.dice[row]),
        "pooled_dice": math.nan if row is None else float(curve.pooled_dice[row]),
        "best_epoch": math.nan if row is None else int(curve.epoch[row]),
        "epochs": max(trial.epochs, len(curve)),
        "seconds": float(np.nansum(curve.total_seconds)),
        "parameters": trial.cost.parameters if trial.cost else math.nan,
        "flops": trial.cost.flops if trial.cost else math.nan,
        "reason": trial.reason,
    }


def dice_table(study: StudyRecord) -> pd.DataFrame:
    """Return trials x classes: Dice at each trial's best epoch.

    Returns:
        Index number, one column a class in the study's order, values in 0..1; NaN where the class
        is undefined or the trial finished no epoch.
    """
    rows = np.full((len(study.trials), len(study.classes)), np.nan)
    for index, trial in enumerate(study.trials):
        if trial.best_row is not None:
            rows[index] = trial.curve.dice[trial.best_row]
    numbers = pd.Index([trial.number for trial in study.trials], name="number", dtype="int64")
    return pd.DataFrame(rows, index=numbers, columns=list(study.classes))


def history_table(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the value of each trial and the best of the COMPLETE ones up to it, from
    ``trials_table``.

    Returns:
        Columns number, state, baseline, value, epochs, best (NaN before the first COMPLETE trial).
    """
    table = trials[["number", "state", "baseline", "value", "epochs"]]
    complete = table["value"].where(table["state"] == "COMPLETE")
    return table.assign(best=complete.cummax().ffill())


def curves_table(study: StudyRecord) -> pd.DataFrame:
    """Return every epoch of every trial.

    Returns:
        Columns number, epoch, objective, validation_loss, train_loss, pruning_value,
        learning_rate; one row an epoch, by trial and epoch.
    """
    curves = [trial.curve for trial in study.trials]
    lengths = [len(curve) for curve in curves]
    numbers = np.array([trial.number for trial in study.trials], dtype=np.int64)
    columns: dict[str, Any] = {
        "number": np.repeat(numbers, lengths),
        "epoch": _joined([curve.epoch for curve in curves], np.int64),
    }
    for name in CURVE_COLUMNS:
        columns[name] = _joined([getattr(curve, name) for curve in curves], np.float64)
    return pd.DataFrame(columns)


def _joined(parts: list[Any], dtype: type) -> Any:
    return np.concatenate(parts) if parts else np.array([], dtype=dtype)


def class_curves_table(study: StudyRecord, trial: TrialRecord) -> pd.DataFrame:
    """Return one trial's Dice per class by epoch.

    Returns:
        Index epoch, one column a class in the study's order, NaN where undefined.
    """
    index = pd.Index(trial.curve.epoch, name="epoch")
    return pd.DataFrame(trial.curve.dice, index=index, columns=list(study.classes))


def states_table(trials: pd.DataFrame) -> pd.DataFrame:
    """Return how many trials of ``trials_table`` are in each state, their epochs and their seconds.

    Returns:
        Index state (all four, in the order they are listed), columns trials, epochs, seconds.
    """
    grouped = trials.groupby("state").agg(
        trials=("number", "count"), epochs=("epochs", "sum"), seconds=("seconds", "sum")
    )
    return grouped.reindex(list(_STATE_RANK), fill_value=0).rename_axis("state")


def parameters_table(study: StudyRecord) -> pd.DataFrame:
    """Return the searched fields: what the incumbent and the best baseline have, what was searched.

    Returns:
        Index parameter (dotted), columns incumbent, baseline (None without one), searched (text).
    """
    fields = searched_fields(study.config)
    chosen = {"incumbent": study.incumbent, "baseline": best_baseline(study)}
    rows = [
        {name: trial.params.get(field) if trial else None for name, trial in chosen.items()}
        | {"searched": fields[field].text}
        for field in fields
    ]
    index = pd.Index(list(fields), name="parameter", dtype="object")
    return pd.DataFrame(
        rows, index=index, columns=["incumbent", "baseline", "searched"], dtype=object
    )


def failures_table(study: StudyRecord) -> pd.DataFrame:
    """Return why trials failed, the most frequent reason first.

    Returns:
        Columns reason (its first line), trials (how many), numbers (list of trial numbers).
    """
    reasons: dict[str, list[int]] = {}
    for trial in study.with_state("FAIL"):
        first = (trial.reason or "").strip().splitlines()[:1]
        reasons.setdefault(first[0] if first else "no reason recorded", []).append(trial.number)
    rows = sorted(reasons.items(), key=lambda item: (-len(item[1]), item[1][0]))
    return pd.DataFrame(
        [
            {"reason": reason, "trials": len(numbers), "numbers": numbers}
            for reason, numbers in rows
        ],
        columns=["reason", "trials", "numbers"],
    )


def splits_table(study: StudyRecord) -> pd.DataFrame:
    """Return the data the study was made on, by split and class.

    Returns:
        Columns split, class, images (of the split), groups, images_with (the class), pixels,
        share (of the split's counted pixels, 0..1; NaN without pixels).
    """
    rows = []
    splits = study.data.get("splits")
    for split, facts in splits.items() if isinstance(splits, Mapping) else ():
        pixels = facts.get("pixels", {})
        total = sum(pixels.values())
        for name in study.classes:
            count = pixels.get(name, 0)
            rows.append(
                {
                    "split": split,
                    "class": name,
                    "images": facts.get("images", 0),
                    "groups": facts.get("groups", 0),
                    "images_with": facts.get("images_with", {}).get(name, 0),
                    "pixels": count,
                    "share": count / total if total else math.nan,
                }
            )
    columns = ["split", "class", "images", "groups", "images_with", "pixels", "share"]
    return pd.DataFrame(rows, columns=columns)


def findings_table(study: StudyRecord) -> pd.DataFrame:
    """Return what the audit of the data found and the files left out, leaks first, then by
    severity.

    Returns:
        Columns kind, severity, message, files (list), leak (bool).
    """
    findings = study.data.get("findings")
    rows = _skipped(study) + [
        {
            "kind": str(finding.get("kind", "")),
            "severity": str(finding.get("severity", "")),
            "message": str(finding.get("message", "")),
            "files": [str(file) for file in finding.get("files") or ()],
        }
        for finding in (findings if isinstance(findings, list) else ())
        if isinstance(finding, Mapping)
    ]
    table = pd.DataFrame(rows, columns=["kind", "severity", "message", "files"], dtype=object)
    order = table["severity"].map(lambda name: _SEVERITY_RANK.get(name, 2))
    table = table.assign(leak=(table["severity"] == "leak").astype(bool))
    return table.loc[order.sort_values(kind="stable").index].reset_index(drop=True)


def _skipped(study: StudyRecord) -> list[dict[str, Any]]:
    skipped = study.data.get("skipped")
    if not isinstance(skipped, list) or not skipped:
        return []
    files = [f"{problem.get('path')}: {problem.get('message')}" for problem in skipped]
    message = f"Bad files were left out of the data: {len(files):,}."
    return [{"kind": "skipped", "severity": "warning", "message": message, "files": files}]


def thin(trials: pd.DataFrame, limit: int, keep: Collection[int] = ()) -> pd.DataFrame:
    """Choose trials to draw: the kept and the best, the rest evenly over the ranking.

    Args:
        trials: rows of ``trials_table`` (or a part of its columns with number, state, value).
        limit: the most rows to return, if ``keep`` is no larger.
        keep: numbers of trials that stay.

    Returns:
        The chosen rows in their own order; all of them if they are no more than ``limit``.
    """
    if len(trials) <= limit:
        return trials
    order = ranked(trials)["number"].to_list()
    chosen = set(keep) & set(order)
    rest = [number for number in order if number not in chosen]
    best = rest[: max(0, (limit - len(chosen)) // 3)]
    chosen.update(best)
    others = rest[len(best) :]
    wanted = min(max(0, limit - len(chosen)), len(others))
    places = np.linspace(0, len(others) - 1, wanted).round().astype(int) if wanted else ()
    chosen.update(others[place] for place in places)
    return trials[trials["number"].isin(chosen)]
