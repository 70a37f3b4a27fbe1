"""Trials that no other one beats in every objective: Dice against what a model costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from results.records.study import StudyRecord, TrialRecord

if TYPE_CHECKING:
    import pandas as pd

# What can be minimised: how a table and an axis call it, and how it is had of a trial's cost.
MEASURES: Mapping[str, tuple[str, str, float]] = {
    "parameters": ("Parameters", "parameters", 1.0),
    "gflops": ("GFLOP an image", "flops", 1e-9),
    "latency_ms": ("Milliseconds an image", "latency_ms", 1.0),
}

# What Dice is weighed against: what a person calls it, and its unit.
TRADED: Mapping[str, tuple[str, str]] = {
    "parameters": ("Parameters", ""),
    "gflops": ("Floating-point operations an image", "GFLOP"),
    "activation_mb": ("Activation memory an image", "MB"),
    "latency_ms": ("Latency an image", "ms"),
    "seconds": ("Training time", "s"),
}
_COSTS: Mapping[str, tuple[str, float]] = {
    "parameters": ("parameters", 1.0),
    "gflops": ("flops", 1e-9),
    "activation_mb": ("activation_bytes", 1e-6),
    "latency_ms": ("latency_ms", 1.0),
}


def cost_value(name: str, cost: Mapping[str, Any]) -> float:
    """Return what is minimised from a trial's cost.

    Args:
        name: One of :data:`MEASURES`.
        cost: Parameters, flops and, where it was measured, latency_ms.

    Raises:
        KeyError: where the cost does not have it.
    """
    _, key, factor = MEASURES[name]
    return float(cost[key]) * factor


def pareto_front(losses: ArrayLike) -> NDArray[np.bool_]:
    """Tell which points no other point dominates.

    A point dominates another if it is nowhere larger and somewhere smaller; equal points do not
    dominate each other.

    Args:
        losses: [N, K] finite numbers, each column to be minimised.

    Returns:
        [N] True for the points of the front.

    Raises:
        ValueError: for another shape, or numbers that are not finite.
    """
    points = np.asarray(losses, dtype=np.float64)
    if points.ndim != 2:
        raise ValueError(f"expected losses of shape [points, objectives], received {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("expected finite losses, received NaN or infinity")
    front = np.ones(len(points), dtype=bool)
    for index, point in enumerate(points):
        if front[index]:  # what a dominated point dominates, its own dominator does too
            front &= ~((points >= point).all(axis=1) & (points > point).any(axis=1))
    return front


def minimized(study: StudyRecord) -> tuple[str, ...]:
    """Return what the study minimises beside its objective; empty with a single objective."""
    search = study.config.get("search")
    names = search.get("minimize") if isinstance(search, Mapping) else None
    return tuple(n for n in names if n in MEASURES) if isinstance(names, Sequence) else ()


def pareto_table(study: StudyRecord) -> pd.DataFrame:
    """Return the COMPLETE trials by all objectives, those of the front marked; the best value
    first.

    Returns:
        Columns number, baseline (name or None), value, one for each of ``minimized``, front (bool);
        trials whose cost is not known are left out. Empty for a study of one objective.
    """
    import pandas as pd  # here, because workers use this module's measures without it

    names = minimized(study)
    columns = ["number", "baseline", "value", *names, "front"]
    rows = []
    for trial in study.with_state("COMPLETE") if names else ():
        cost = {} if trial.cost is None else trial.cost.model_dump(exclude_none=True)
        try:
            costs = {name: cost_value(name, cost) for name in names}
        except KeyError:
            continue
        if trial.value is not None and math.isfinite(trial.value):
            rows.append({"number": trial.number, "baseline": trial.baseline, "value": trial.value})
            rows[-1] |= costs
    table = pd.DataFrame(rows, columns=columns[:-1])
    losses = table[["value", *names]].to_numpy(dtype=np.float64) * [-1.0, *[1.0] * len(names)]
    table = table.assign(front=pareto_front(losses) if len(table) else np.array([], dtype=bool))
    return table.sort_values(["value", "number"], ascending=[False, True]).reset_index(drop=True)


@dataclass(frozen=True, eq=False)
class Tradeoff:
    """Dice against one measure of what a trial costs.

    Attributes:
        table: Columns number, baseline (name or None), value, the measure, front (bool: no other
            trial is as good for less, or better for as much); the best value first. Empty where no
            COMPLETE trial has both.
        measure: One of ``TRADED``, which names it and its unit.
        left_out: COMPLETE trials without a value or without the measure.
        reason: Why the table is empty; None where it is not.
    """

    table: pd.DataFrame
    measure: str
    left_out: int
    reason: str | None = None


def tradeoff_table(study: StudyRecord, measure: str) -> Tradeoff:
    """Return the COMPLETE trials by value and what they cost, the front marked; in any study.

    Args:
        study: The study's records.
        measure: One of ``TRADED``: parameters, gflops and activation_mb (millions of bytes) of one
            image's forward pass, latency_ms where the study measured it, seconds that all of a
            trial's epochs took.

    Raises:
        ValueError: for another measure.
    """
    import pandas as pd

    if measure not in TRADED:
        raise ValueError(f"expected one of {', '.join(TRADED)}, received {measure!r}")
    complete = study.with_state("COMPLETE")
    rows = []
    for trial in complete:
        cost = _traded(trial, measure)
        if trial.value is not None and math.isfinite(trial.value) and math.isfinite(cost):
            rows.append((trial.number, trial.baseline, trial.value, cost))
    table = pd.DataFrame(rows, columns=["number", "baseline", "value", measure])
    losses = table[["value", measure]].to_numpy(dtype=np.float64) * [-1.0, 1.0]
    table = table.assign(front=pareto_front(losses) if rows else np.array([], dtype=bool))
    table = table.sort_values(["value", "number"], ascending=[False, True]).reset_index(drop=True)
    name = TRADED[measure][0].lower()
    reason = None if rows else f"No COMPLETE trial has a value and its {name}."
    return Tradeoff(table, measure, len(complete) - len(rows), reason)


def _traded(trial: TrialRecord, measure: str) -> float:
    """Return what a trial cost; NaN where it is not known."""
    if measure == "seconds":
        known = trial.curve.total_seconds[np.isfinite(trial.curve.total_seconds)]
        return float(known.sum()) if known.size else math.nan
    key, factor = _COSTS[measure]
    value = getattr(trial.cost, key, None)
    return math.nan if value is None else float(value) * factor
