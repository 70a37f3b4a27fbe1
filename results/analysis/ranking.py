"""Configs that were trained over seeds, from best to worst, with intervals and differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.analysis import scores
from results.analysis.intervals import REPLICATES, Bootstrap, percentiles, seeded_bootstrap
from results.records.evaluation import Evaluation

Floats = NDArray[np.float64]

_COLUMNS = (
    "trial",
    "baseline",
    "searched",
    "seeds",
    "complete",
    "mean",
    "low",
    "high",
    "few",
    "difference",
    "difference_low",
    "difference_high",
    "gap",
    "gap_low",
    "gap_high",
    "tied",
)


class Planned(Protocol):
    """A config as a plan names it; see :class:`results.analysis.confirmation.PlannedConfig`."""

    @property
    def trial(self) -> int:
        """Number of its trial."""

    @property
    def baseline(self) -> str | None:
        """Name of the baseline it is."""

    @property
    def value(self) -> float | None:
        """Its value in the search."""


@dataclass(frozen=True, eq=False)
class _Scored:
    """A config's objective: its mean over seeds, [R] replicates, whether it has an interval."""

    config: Planned
    seeds: int
    value: float
    replicates: Floats
    has_interval: bool
    few: bool
    dice: Floats


def ranking_table(
    configs: Sequence[Planned],
    evaluations: Mapping[int, Sequence[Evaluation]],
    *,
    seeds: int,
    classes: Sequence[str],
    objective: str = "mean_foreground_dice",
    weights: Mapping[str, float] | None = None,
    replicates: int = REPLICATES,
) -> pd.DataFrame:
    """Rank configs by the mean over their seeds of the objective.

    Args:
        configs: The configs.
        evaluations: Counts by trial, one a seed that is done; all on the same images.
        seeds: How many each config is to have.
        classes: Names of the C classes, background first.
        objective: mean_foreground_dice, worst_class_dice or weighted_dice.
        weights: Class name to weight of weighted_dice, 1 where it is not named.
        replicates: Of the bootstrap; groups are drawn alike for all configs, seeds for each.

    Returns:
        Those with all of their seeds first, then from best to worst, then by trial. Columns trial,
        baseline (name or None), searched (value in the search, on the validation split), seeds
        (done), complete (bool: all of them), mean, low, high (the objective, 0..1, and its 95 %
        interval), few (bool: a class of fewer than five groups is in it); difference,
        difference_low, difference_high (mean less that of the best complete baseline, paired by
        groups; NaN of that baseline and without one); gap, gap_low, gap_high (mean of the best
        complete config less this one's; NaN of that config), tied (bool: another than the best,
        and 0 is in the gap's interval, or there is none); then ``dice <class>`` for each class,
        the mean over seeds. NaN where undefined or not known.
    """
    scored = [
        _score(config, evaluations.get(config.trial, ()), classes, objective, weights, replicates)
        for config in configs
    ]
    scored.sort(key=lambda each: (each.seeds < seeds, *_worst_last(each.value), each.config.trial))
    complete = [each for each in scored if each.seeds >= seeds and not math.isnan(each.value)]
    best = complete[0] if complete else None
    baseline = next((each for each in complete if each.config.baseline is not None), None)
    rows = [_row(each, each.seeds >= seeds, best, baseline, classes) for each in scored]
    table = pd.DataFrame(rows, columns=[*_COLUMNS, *_dice_columns(classes)])
    names = [each.config.baseline for each in scored]
    return table.assign(baseline=pd.Series(names, dtype=object))  # None stays None


def _worst_last(value: float) -> tuple[bool, float]:
    return math.isnan(value), -value if not math.isnan(value) else 0.0


def _dice_columns(classes: Sequence[str]) -> list[str]:
    return [f"dice {name}" for name in classes]


def _score(
    config: Planned,
    evaluations: Sequence[Evaluation],
    classes: Sequence[str],
    objective: str,
    weights: Mapping[str, float] | None,
    replicates: int,
) -> _Scored:
    if not evaluations:
        nothing = np.full(replicates, np.nan)
        return _Scored(config, 0, math.nan, nothing, False, False, np.full(len(classes), np.nan))
    found = seeded_bootstrap(evaluations, replicates=replicates, config=config.trial)
    value, drawn, column = _objective(found, objective, weights or {})
    return _Scored(
        config=config,
        seeds=len(evaluations),
        value=value,
        replicates=drawn,
        has_interval=bool(found.has_interval[column]),
        few=bool(found.few[column]),
        dice=found.value[: len(classes)],
    )


def _objective(
    found: Bootstrap, objective: str, weights: Mapping[str, float]
) -> tuple[float, Floats, int]:
    """Return the objective's value, its replicates [R], and the column of its groups."""
    column = -1 if objective == "worst_class_dice" else -2
    if objective != "weighted_dice":
        return float(found.value[column]), found.replicates[:, column], column
    # Of the means over seeds: the same as the mean of each seed's, but for a class that is
    # undefined in some trainings alone.
    heaviness = [weights.get(name, 1.0) for name in found.classes]
    count = len(found.classes)
    value = scores.weighted_foreground(found.value[:count], heaviness)
    rows = found.replicates[:, :count]
    counted = np.where(np.isnan(rows), 0.0, heaviness)
    counted[:, scores.BACKGROUND] = 0.0
    total = counted.sum(axis=1)
    drawn = (counted * np.nan_to_num(rows)).sum(axis=1) / np.where(total > 0, total, np.nan)
    return value, drawn, column


def _row(
    each: _Scored,
    complete: bool,
    best: _Scored | None,
    baseline: _Scored | None,
    classes: Sequence[str],
) -> dict[str, Any]:
    low, high = percentiles(each.replicates) if each.has_interval else (math.nan, math.nan)
    difference = _difference(each, baseline if complete else None)
    gap = _difference(best, each) if best is not None and complete else (math.nan,) * 3
    return {
        "trial": each.config.trial,
        "baseline": each.config.baseline,
        "searched": math.nan if each.config.value is None else each.config.value,
        "seeds": each.seeds,
        "complete": complete,
        "mean": each.value,
        "low": low,
        "high": high,
        "few": each.few,
        **dict(zip(("difference", "difference_low", "difference_high"), difference, strict=True)),
        **dict(zip(("gap", "gap_low", "gap_high"), gap, strict=True)),
        "tied": complete and not math.isnan(gap[0]) and not gap[1] > 0,
        **dict(zip(_dice_columns(classes), each.dice.tolist(), strict=True)),
    }


def _difference(a: _Scored, b: _Scored | None) -> tuple[float, float, float]:
    """Return the difference a - b and its interval; NaN of a config to itself, or to none."""
    if b is None or a is b:
        return math.nan, math.nan, math.nan
    ends = (math.nan, math.nan)
    if a.has_interval and b.has_interval:
        ends = percentiles(a.replicates - b.replicates)
    return a.value - b.value, *ends
