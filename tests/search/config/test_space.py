from __future__ import annotations

import optuna
import pytest
from pydantic import ValidationError

from model.config import ModelConfig, TrainConfig
from search.config.space import (
    ChoiceDistribution,
    Distribution,
    FloatDistribution,
    IntDistribution,
    distributions,
    searchable,
)

Model = searchable(ModelConfig)
Train = searchable(TrainConfig)

CASES = [
    (
        IntDistribution,
        {"int": [3, 7]},
        optuna.distributions.IntDistribution(3, 7),
        (3, 7),
    ),
    (
        IntDistribution,
        {"int": [3, 8], "step": 2},
        optuna.distributions.IntDistribution(3, 7, step=2),
        (3, 7),
    ),
    (
        IntDistribution,
        {"int": [1, 64], "log": True},
        optuna.distributions.IntDistribution(1, 64, log=True),
        (1, 64),
    ),
    (
        FloatDistribution,
        {"float": [1e-5, 1e-2], "log": True},
        optuna.distributions.FloatDistribution(1e-5, 1e-2, log=True),
        (1e-5, 1e-2),
    ),
    (
        FloatDistribution,
        {"float": [0.0, 0.5], "step": 0.25},
        optuna.distributions.FloatDistribution(0.0, 0.5, step=0.25),
        (0.0, 0.5),
    ),
    (
        ChoiceDistribution,
        {"choice": [8, 16, None, "a"]},
        optuna.distributions.CategoricalDistribution((8, 16, None, "a")),
        (8, 16, None, "a"),
    ),
]


@pytest.mark.parametrize(("kind", "written", "expected", "extremes"), CASES)
def test_every_distribution_goes_to_optuna_and_back_to_yaml(
    kind: type, written: dict, expected: object, extremes: tuple
) -> None:
    distribution: Distribution = kind.model_validate(written)

    assert distribution.to_optuna() == expected
    assert distribution.extremes() == extremes
    assert distribution.to_yaml() == written


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ({"int": [7, 3]}, "expected low <= high, received"),
        ({"float": [0, 1], "log": True}, "expected low > 0 with log: true, received 0"),
        ({"float": [1, 2], "log": True, "step": 0.1}, "expected no step with log: true"),
        ({"int": [1, 3], "step": 0}, "expected step > 0, received 0"),
        ({"choice": []}, "at least 1 item"),
        ({"choice": [3, 3]}, "expected distinct choices"),
        ({"int": [1, 3], "logs": True}, "Extra inputs"),
    ],
)
def test_a_distribution_that_means_nothing_is_refused(written: dict, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem.replace("(", r"\(")):
        Model(num_layers=written)


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("num_layers", {"int": [0, 5]}, "greater than or equal to 1"),
        ("num_layers", {"float": [1.0, 5.0]}, "valid integer"),
        ("base_kernel", {"int": [3, 11]}, "odd kernel side, received 4"),
        ("base_kernel", 4, "odd kernel side, received 4"),
        ("activation", {"choice": ["relu", "sine"]}, "'relu', 'mish'"),
        ("dropout_rate", {"float": [0.0, 1.0]}, "less than 1"),
    ],
)
def test_a_value_that_the_field_refuses_is_refused_inside_a_distribution(
    field: str, value: object, problem: str
) -> None:
    with pytest.raises(ValidationError, match=problem):
        Model(**{field: value})


def test_every_field_takes_a_constant_and_keeps_its_default() -> None:
    assert Train().model_dump() == TrainConfig().model_dump()
    assert list(distributions(Train())) == []


def test_none_is_a_choice_of_an_optional_field() -> None:
    section = Train(clip_norm={"choice": [None, 1.0]})

    assert dict(distributions(section))["clip_norm"].extremes() == (None, 1.0)


def test_an_odd_kernel_range_with_step_is_taken() -> None:
    section = Model(base_kernel={"int": [3, 11], "step": 2})

    assert dict(distributions(section))["base_kernel"].extremes() == (3, 11)
