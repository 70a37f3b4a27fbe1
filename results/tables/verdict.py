"""How good the best config is, and how much better than the baselines, class by class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from results.analysis import scores
from results.analysis.baseline_comparison import BaselineComparison, MeasuredConfig, rank
from results.analysis.baselines import shown_value
from results.analysis.intervals import MEAN, WORST, difference_table, intervals_table
from results.analysis.timeline import seconds_of
from results.records.study import StudyRecord, TrialRecord

Outcome = Literal["gains", "loses", "open", "unknown"]

_INTERVAL_COLUMNS = ["dice", "low", "high", "groups", "true_groups", "images", "few"]
_DIFFERENCE_COLUMNS = ["baseline", "difference", "difference_low", "difference_high", "outcome"]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; NaN where it is not defined.

    Attributes:
        few: Whether a class of fewer than five groups is in it.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    few: bool = False

    @property
    def has_interval(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)

    @property
    def outcome(self) -> Outcome:
        """Of a difference: what its interval says of 0."""
        return outcome(self.low, self.high)


def objective_estimate(contest: BaselineComparison) -> Estimate:
    """Return the best config's objective; NaN without one."""
    if contest.best is None:
        return Estimate(math.nan)
    if contest.ranking is None:
        return Estimate(shown_value(contest.best.trial))
    row = _row_of(contest.ranking, contest.best.trial.number)
    return Estimate(*_three(row, "mean", "low", "high"), bool(row["few"]))


def objective_difference(contest: BaselineComparison, baseline: MeasuredConfig) -> Estimate:
    """Return the best config's objective less a baseline's, paired by groups."""
    best = contest.best
    if best is None:
        return Estimate(math.nan)
    if best.found is None or baseline.found is None:
        return Estimate(shown_value(best.trial) - shown_value(baseline.trial))
    if contest.study.objective == "weighted_dice":
        pair = rank(contest.study, [best, baseline])
        # Of a pair the gap is told of the lower one, as the better one less it.
        lower = pair.iloc[-1]
        gap, low, high = _three(lower, "gap", "gap_low", "gap_high")
        few = bool(pair["few"].any())
        if int(lower["trial"]) == best.trial.number:
            return Estimate(-gap, -high, -low, few)
        return Estimate(gap, low, high, few)
    kind = "worst" if contest.study.objective == "worst_class_dice" else "mean"
    table = difference_table(best.found, baseline.found)
    row = table[table["kind"] == kind].iloc[0]
    return Estimate(*_three(row, "difference", "low", "high"), bool(row["few"]))


def _row_of(ranking: pd.DataFrame, trial: int) -> pd.Series:
    row: pd.Series = ranking[ranking["trial"] == trial].iloc[0]
    return row


def _three(row: pd.Series, *names: str) -> tuple[float, float, float]:
    value, low, high = (float(row[name]) for name in names)
    return value, low, high


def outcome(low: float, high: float) -> Outcome:
    """Return what the interval of a difference says: whether 0 is outside of it."""
    if math.isnan(low) or math.isnan(high):
        return "unknown"
    return "gains" if low > 0 else "loses" if high < 0 else "open"


def class_table(
    contest: BaselineComparison, baseline: MeasuredConfig | None = None
) -> pd.DataFrame:
    """Dice per class of the best config, and its difference to a baseline.

    Args:
        contest: Whose best config; it must have one.
        baseline: One of its baselines, or none.

    Returns:
        One row a class in the study's order, then "mean foreground" and "worst class". Columns
        class, kind ("class", "mean" or "worst"), dice, low, high (95 % interval), groups,
        true_groups, images, few (see ``results.analysis.intervals.intervals_table``; NaN, 0 and
        False of source "search"), baseline (its Dice), difference, difference_low, difference_high
        (paired by groups), outcome ("gains": the interval is above 0, "loses": below, "open": 0 is
        in it, "unknown": there is none, or the baseline was not trained in full).

    Raises:
        ValueError: for a contest without a best config.
    """
    if contest.best is None:
        raise ValueError("expected a contest with a best config, received none")
    table = _measured(contest.study, contest.best)
    other = baseline or MeasuredConfig(
        contest.best.trial, np.full(len(contest.study.classes), np.nan)
    )
    table["baseline"] = _measured(contest.study, other)["dice"]
    table["difference"] = table["dice"] - table["baseline"]
    table["difference_low"] = table["difference_high"] = math.nan
    if contest.best.found is not None and other.found is not None:
        told = difference_table(contest.best.found, other.found)
        table[["difference", "difference_low", "difference_high"]] = told[
            ["difference", "low", "high"]
        ]
    unequal = baseline is not None and contest.shortfall(baseline) is not None
    table["outcome"] = [
        "unknown" if unequal else outcome(low, high)
        for low, high in zip(table["difference_low"], table["difference_high"], strict=True)
    ]
    return table[["class", "kind", *_INTERVAL_COLUMNS, *_DIFFERENCE_COLUMNS]]


def _measured(study: StudyRecord, standing: MeasuredConfig) -> pd.DataFrame:
    if standing.found is not None:
        return intervals_table(standing.found)
    means = [scores.mean_foreground(standing.dice), scores.worst_class(standing.dice)]
    unknown: dict[str, Any] = {"low": math.nan, "high": math.nan}
    counts: dict[str, Any] = {"groups": 0, "true_groups": 0, "images": 0, "few": False}
    kinds = ["class"] * len(study.classes) + ["mean", "worst"]
    return pd.DataFrame(
        {"class": [*study.classes, MEAN, WORST], "kind": kinds, "dice": [*standing.dice, *means]}
        | unknown
        | counts
    )


def against_table(contest: BaselineComparison) -> pd.DataFrame:
    """``class_table`` against every baseline, below each other.

    Returns:
        Columns trial (the best), rival (the baseline's trial; -1 where there is no baseline), then
        those of ``class_table``; no row without a best config.
    """
    if contest.best is None:
        columns = ["trial", "rival", "class", "kind", *_INTERVAL_COLUMNS, *_DIFFERENCE_COLUMNS]
        return pd.DataFrame(columns=columns)
    parts = []
    for rival in contest.baselines or (None,):
        part = class_table(contest, rival)
        part.insert(0, "trial", contest.best.trial.number)
        part.insert(1, "rival", rival.trial.number if rival else -1)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def cost_table(study: StudyRecord, trials: pd.DataFrame, best: TrialRecord | None) -> pd.DataFrame:
    """Return what the study cost, and what its best config costs.

    Args:
        study: The study.
        trials: Its ``trials_table``.
        best: The best config's trial, or none.

    Returns:
        One row: trials (begun), epochs, worker_seconds (in epochs, over all workers),
        wall_seconds (from the first start to the last end or epoch, pauses counted in; NaN without
        times), best_seconds (of its epochs in the search), parameters, flops (an image), latency_ms
        (an image; NaN where not measured).
    """
    cost = best.cost if best else None
    latency = cost.latency_ms if cost else None
    row = {
        "trials": len(trials),
        "epochs": int(trials["epochs"].sum()),
        "worker_seconds": float(trials["seconds"].sum()),
        "wall_seconds": _wall_seconds(study),
        "best_seconds": float(np.nansum(best.curve.total_seconds)) if best else math.nan,
        "parameters": cost.parameters if cost else math.nan,
        "flops": cost.flops if cost else math.nan,
        "latency_ms": math.nan if latency is None else latency,
    }
    return pd.DataFrame([row])


def _wall_seconds(study: StudyRecord) -> float:
    starts = [seconds_of(trial.started) for trial in study.trials]
    ends = [seconds_of(trial.finished) for trial in study.trials]
    ends += [float(trial.curve.ended[-1]) for trial in study.trials if len(trial.curve)]
    begun, ended = np.array(starts, np.float64), np.array(ends, np.float64)
    if np.isnan(begun).all() or np.isnan(ended).all():
        return math.nan
    return max(float(np.nanmax(ended) - np.nanmin(begun)), 0.0)
