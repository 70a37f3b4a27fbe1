"""Dice per class over the trials: order, spread, winners, ties of classes, and other scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from results.analysis import scores
from results.records.evaluation import Evaluation
from results.records.study import StudyRecord, TrialRecord
from results.tables.core import StudyTables, thin

FINISHED = ("COMPLETE", "PRUNED")

_FEWEST_PAIRS = 3


def valued_trials(data: StudyTables, most: int) -> tuple[pd.DataFrame, int]:
    """Return the trials that have a value, the best first, whatever their state.

    Args:
        data: The study's tables.
        most: The most to keep (``thin``); baselines and incumbent stay.

    Returns:
        Columns number, state, baseline, value; and how many there are before thinning.
    """
    table = data.trials[["number", "state", "baseline", "value"]]
    table = table[table["value"].notna()]
    keep = {trial.number for trial in data.study.baselines}
    if data.study.incumbent is not None:
        keep.add(data.study.incumbent.number)
    shown = thin(table, most, keep)
    ordered = shown.sort_values(["value", "number"], ascending=[False, True], kind="stable")
    return ordered.reset_index(drop=True), len(table)


def compared_trials(data: StudyTables) -> tuple[pd.DataFrame, str]:
    """Dice per class of the trials that can be compared with each other.

    Returns:
        Index number, one column a class: the COMPLETE trials; all finished ones where fewer than
        two are COMPLETE. And which of both: "COMPLETE" or "finished".
    """
    states = data.trials.set_index("number")["state"]
    complete = data.dice[(states == "COMPLETE").reindex(data.dice.index)]
    if len(complete) >= 2:
        return complete, "COMPLETE"
    return data.dice[states.isin(FINISHED).reindex(data.dice.index)], "finished"


def class_spread(dice: pd.DataFrame) -> pd.DataFrame:
    """Return how Dice of each foreground class is spread over trials.

    Args:
        dice: Trials x classes, of ``compared_trials``.

    Returns:
        Columns class, trials (in which it is defined), low, lower, median, upper, high: smallest,
        quartiles, largest (0..1; NaN without a trial).
    """
    rows = []
    for name, values in dice.iloc[:, scores.BACKGROUND + 1 :].items():
        defined = values.dropna().to_numpy()
        places = np.quantile(defined, [0, 0.25, 0.5, 0.75, 1]) if defined.size else [math.nan] * 5
        rows.append((name, defined.size, *map(float, places)))
    columns = ["class", "trials", "low", "lower", "median", "upper", "high"]
    return pd.DataFrame(rows, columns=columns)


def class_winners(data: StudyTables) -> pd.DataFrame:
    """Return the best COMPLETE trial of each foreground class against the best by the objective.

    Returns:
        Columns class, trial (of equals the incumbent, else the earliest), dice, chosen (the
        incumbent's Dice of the class), cost (dice - chosen: what choosing the incumbent gives up),
        value (the objective of that trial), given_up (the incumbent's value less it). Classes that
        no COMPLETE trial has defined are left out; empty without an incumbent.
    """
    columns = ["class", "trial", "dice", "chosen", "cost", "value", "given_up"]
    incumbent = data.study.incumbent
    if incumbent is None:
        return pd.DataFrame(columns=columns)
    values = data.trials.set_index("number")["value"]
    complete = data.dice[(data.trials["state"] == "COMPLETE").to_numpy()]
    rows = []
    for name, dice in complete.iloc[:, scores.BACKGROUND + 1 :].items():
        if not dice.notna().any():
            continue
        top, chosen = float(dice.max()), float(dice.loc[incumbent.number])
        first = int(complete.index[int(np.nanargmax(dice.to_numpy()))])
        trial = incumbent.number if chosen == top else first
        value = float(values.loc[trial])
        given_up = float(values.loc[incumbent.number]) - value
        rows.append((name, trial, top, chosen, top - chosen, value, given_up))
    return pd.DataFrame(rows, columns=columns)


def class_correlation(dice: pd.DataFrame) -> pd.DataFrame:
    """Return Spearman's rank correlation of each pair of foreground classes over trials.

    Spearman, American Journal of Psychology 15 (1904). Ties share their mean rank.

    Args:
        dice: Trials x classes, of ``compared_trials``.

    Returns:
        Columns first, second (each pair once, in the classes' order), rho (-1..1; NaN where a class
        is constant or fewer than three trials have both), trials (that have both).
    """
    names = list(dice.columns[scores.BACKGROUND + 1 :])
    values = dice.to_numpy(dtype=np.float64)[:, scores.BACKGROUND + 1 :]
    rows = []
    for i, first in enumerate(names):
        for j in range(i + 1, len(names)):
            rho, trials = _spearman(values[:, i], values[:, j])
            rows.append((first, names[j], rho, trials))
    return pd.DataFrame(rows, columns=["first", "second", "rho", "trials"])


def _spearman(one: Any, other: Any) -> tuple[float, int]:
    both = ~(np.isnan(one) | np.isnan(other))
    count = int(both.sum())
    if count < _FEWEST_PAIRS:
        return math.nan, count
    ranks = [pd.Series(values[both]).rank().to_numpy() for values in (one, other)]
    a, b = (rank - rank.mean() for rank in ranks)
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return (float(a @ b) / scale if scale else math.nan), count


def model_counts(
    trials: Mapping[str, TrialRecord], models: Mapping[str, Evaluation]
) -> tuple[dict[str, Any], str]:
    """Count of pixels of the best trial and the baseline on the validation split.

    Args:
        trials: By what they are called: "best", "baseline".
        models: The same, scored, where they were.

    Returns:
        [C, 3] true positives, false positives and false negatives by name; and where they are from,
        the same for all: "scored", or "epoch" (of each trial's best epoch, at the size of training)
        where one of them was not scored.
    """
    if models and set(models) == set(trials):
        return {name: models[name].counts.sum(axis=0) for name in trials}, "scored"
    found = {}
    for name, trial in trials.items():
        counts = None if trial.best_row is None else trial.curve.counts[trial.best_row]
        if counts is not None and np.isfinite(counts).all():
            found[name] = counts
    return found, "epoch"


def class_scores(classes: Sequence[str], counts: Mapping[str, Any]) -> pd.DataFrame:
    """Four scores of each class of each model, from counts of pixels over the split.

    Args:
        classes: Names of the C classes.
        counts: [C, 3] by model, of ``model_counts``.

    Returns:
        Columns model, class, dice, iou, precision, recall (0..1; NaN where undefined), true_pixels,
        predicted_pixels.
    """
    parts = []
    for model, rows in counts.items():
        columns: dict[str, Any] = {"model": model, "class": list(classes)}
        for score in (scores.dice, scores.iou, scores.precision, scores.recall):
            columns[score.__name__] = score(rows)
        columns["true_pixels"] = rows[:, 0] + rows[:, 2]
        columns["predicted_pixels"] = rows[:, 0] + rows[:, 1]
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=_SCORES)


_SCORES = (
    *("model", "class", "dice", "iou", "precision", "recall"),
    *("true_pixels", "predicted_pixels"),
)


def pooled_scores(
    study: StudyRecord,
    trials: Mapping[str, TrialRecord],
    models: Mapping[str, Evaluation],
) -> pd.DataFrame:
    """Return the reference's pooled metric beside the mean foreground Dice, on the validation
    split.

    Args:
        study: Whose data tell the pixels of each class, where no model was scored.
        trials: "best" and "baseline", where there are such.
        models: The same, scored; their numbers are taken where all were scored.

    Returns:
        Columns model ("best", "baseline", "background alone"), pooled_dice, mean_foreground_dice
        (0..1; NaN unknown).
    """
    counts, source = model_counts(trials, models)
    rows = []
    for name, found in counts.items():
        trial, mean = trials[name], scores.mean_foreground(scores.dice(found))
        of_epoch = math.nan if trial.best_row is None else trial.curve.pooled_dice[trial.best_row]
        pooled = models[name].pooled_dice if source == "scored" else float(of_epoch)
        rows.append((name, pooled, mean))
    pixels = valid_pixels(study, models if source == "scored" else {})
    if pixels is not None and pixels.sum() > 0:
        alone = scores.background_only(pixels)
        rows.append(("background alone", alone.pooled_dice, alone.mean_foreground_dice))
    return pd.DataFrame(rows, columns=["model", "pooled_dice", "mean_foreground_dice"])


def absent_classes(study: StudyRecord) -> frozenset[str]:
    """Foreground classes without a pixel in the validation split, where the data tell."""
    pixels = valid_pixels(study, {})
    if pixels is None:
        return frozenset()
    names = study.classes[scores.BACKGROUND + 1 :]
    return frozenset(
        n for n, p in zip(names, pixels[scores.BACKGROUND + 1 :], strict=True) if not p
    )


def valid_pixels(study: StudyRecord, models: Mapping[str, Evaluation]) -> Any:
    """[C] true pixels of each class in the validation split; None where nothing tells them."""
    for evaluation in models.values():
        return evaluation.confusion.sum(axis=1)
    splits = study.data.get("splits")
    valid = splits.get("valid") if isinstance(splits, Mapping) else None
    pixels = valid.get("pixels") if isinstance(valid, Mapping) else None
    if not isinstance(pixels, Mapping):
        return None
    return np.array([pixels.get(name, 0) for name in study.classes], dtype=np.float64)
