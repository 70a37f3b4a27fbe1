from __future__ import annotations

import pytest
from pydantic import ValidationError

from model.config import Level, ModelConfig, TrainConfig


def test_levels_follow_the_reference() -> None:
    config = ModelConfig(num_layers=4, base_filters=6, base_kernel=7, dilation=3, dropout_rate=0.1)

    assert config.levels() == (
        Level(0, 6, 7, 3, 0.0),
        Level(1, 12, 5, 2, 0.1),
        Level(2, 24, 3, 1, 0.2),
        Level(3, 48, 3, 1, pytest.approx(0.3)),
    )


@pytest.mark.parametrize(
    ("layers", "height", "width", "fits"),
    [(5, 16, 16, True), (5, 16, 24, False), (4, 16, 24, True), (1, 7, 5, True), (2, 7, 6, False)],
)
def test_image_sides_must_be_halved_often_enough(
    layers: int, height: int, width: int, fits: bool
) -> None:
    problem = ModelConfig(num_layers=layers).image_size_problem(height, width)

    assert (problem is None) == fits


def test_the_size_problem_names_the_deepest_model_that_fits() -> None:
    problem = ModelConfig(num_layers=6).image_size_problem(24, 40)

    assert problem is not None
    assert "num_layers <= 4" in problem
    assert ModelConfig(num_layers=4).image_size_problem(24, 40) is None
    assert ModelConfig(num_layers=5).image_size_problem(24, 40) is not None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"base_kernel": 4}, "expected an odd kernel side, received 4"),
        ({"num_layers": 11, "dropout_rate": 0.1}, r"received 0.1 \* \(11 - 1\) = 1"),
        ({"dropout_rate": float("nan")}, "finite"),
        ({"filters": 8}, "filters"),
    ],
)
def test_impossible_models_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelConfig(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"class_weighting": "given"}, "expected class_weights"),
        ({"class_weights": (1.0, 2.0)}, "expected class_weighting 'given'"),
        ({"class_weighting": "given", "class_weights": (1.0, -2.0)}, "class_weights >= 0"),
        ({"class_weighting": "given", "class_weights": (1.0, float("nan"))}, "finite"),
        ({"clip_value": 0.5}, "at most one of clip_value and clip_norm"),
        ({"learning_rate": float("inf")}, "finite|less than"),
    ],
)
def test_impossible_trainings_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainConfig(**values)
