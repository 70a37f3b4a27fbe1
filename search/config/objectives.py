"""What a study maximises, from Dice per class, and what it minimises beside it.

The formulas over classes are in ``results/analysis/scores.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from results.analysis import scores
from results.analysis.pareto import cost_value

ClassWeights = Mapping[str, float]

OBJECTIVES: dict[str, Callable[[np.ndarray, Sequence[str], ClassWeights], float]] = {
    "mean_foreground_dice": lambda dice, classes, weights: scores.mean_foreground(dice),
    "worst_class_dice": lambda dice, classes, weights: scores.worst_class(dice),
    "weighted_dice": lambda dice, classes, weights: scores.weighted_foreground(
        dice, [weights.get(name, 1.0) for name in classes]
    ),
}


def objective_value(
    name: str, dice: np.ndarray, classes: Sequence[str], weights: ClassWeights
) -> float:
    """Return the value of an objective.

    Args:
        name: One of :data:`OBJECTIVES`.
        dice: [C] Dice per class, background first, NaN where undefined.
        classes: [C] their names.
        weights: Class name to weight of ``weighted_dice``; 1 where it is not named.

    Returns:
        A number in 0..1; NaN if no class that counts is defined.
    """
    return OBJECTIVES[name](dice, classes, weights)


def values_of(
    objective: str, value: float, minimize: Sequence[str], cost: Mapping[str, Any]
) -> dict[str, float]:
    """Return every objective's value of a trial, in the order of the study's directions.

    Args:
        objective: Name of what is maximised.
        value: Its value.
        minimize: Names of what is minimised.
        cost: What the worker reported of the trial's model.

    Raises:
        KeyError: where the worker did not report what is minimised.
    """
    return {objective: value} | {name: cost_value(name, cost) for name in minimize}
