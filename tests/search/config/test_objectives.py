from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from search.config.objectives import OBJECTIVES, objective_value, values_of
from search.config.settings import SearchSettings

CLASSES = ("background", "Crack", "Fray", "Break")
DICE = np.array([0.99, 0.2, 0.8, np.nan])


def test_the_config_names_exactly_the_objectives_there_are() -> None:
    assert set(get_args(SearchSettings.model_fields["objective"].annotation)) == set(OBJECTIVES)


@pytest.mark.parametrize(
    ("name", "weights", "value"),
    [
        ("mean_foreground_dice", {}, 0.5),
        ("worst_class_dice", {}, 0.2),
        ("weighted_dice", {}, 0.5),
        ("weighted_dice", {"Crack": 3.0}, (3 * 0.2 + 0.8) / 4),
        ("weighted_dice", {"Crack": 0.0, "Break": 9.0}, 0.8),
    ],
)
def test_an_objective_leaves_background_and_undefined_classes_out(
    name: str, weights: dict[str, float], value: float
) -> None:
    assert objective_value(name, DICE, CLASSES, weights) == pytest.approx(value)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_of_no_defined_class_is_undefined(name: str) -> None:
    dice = np.array([0.9, np.nan, np.nan, np.nan])

    assert np.isnan(objective_value(name, dice, CLASSES, {}))


def test_all_objectives_of_a_trial_stand_in_the_studys_order() -> None:
    cost = {"parameters": 1200, "flops": 3e9, "activation_bytes": 4, "latency_ms": 2.5}
    values = values_of("worst_class_dice", 0.4, ("latency_ms", "gflops", "parameters"), cost)

    assert values == {
        "worst_class_dice": 0.4,
        "latency_ms": 2.5,
        "gflops": pytest.approx(3.0),
        "parameters": 1200,
    }
    assert list(values) == ["worst_class_dice", "latency_ms", "gflops", "parameters"]
