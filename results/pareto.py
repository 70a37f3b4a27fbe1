"""Trials that no other one beats in every objective: Dice against what a model costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from results.records import StudyRecord

if TYPE_CHECKING:
    import pandas as pd

# What can be minimised: how a table and an axis call it, and how it is had of a trial's cost.
MEASURES: Mapping[str, tuple[str, str, float]] = {
    "parameters": ("Parameters", "parameters", 1.0),
    "gflops": ("GFLOP an image", "flops", 1e-9),
    "latency_ms": ("Milliseconds an image", "latency_ms", 1.0),
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
    """The COMPLETE trials by all objectives, those of the front marked; the best value first.

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
