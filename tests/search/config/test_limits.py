from __future__ import annotations

import pytest

from model.cost import estimate_cost
from search.config.limits import (
    FIELDS,
    bounds,
    broken_by,
    demand_of,
    excesses,
)
from search.config.loading import config_from_tree

PARAMS = {
    "model.num_layers": 4,
    "model.base_filters": 8,
    "model.base_kernel": 3,
    "model.dropout_rate": 0.0,
    "train.learning_rate": 0.001,
}


def test_a_demand_is_what_the_models_cost_says() -> None:
    config = config_from_tree({"data": {"image_size": 64, "channels": 3}})
    trial = config.at(PARAMS)
    demand = demand_of(trial, config.image_shape, 6)
    cost = estimate_cost(trial.model, (64, 64, 3), 6)

    assert demand["parameters"] == cost.parameters
    assert demand["gflops"] == pytest.approx(cost.flops / 1e9)


def test_the_memory_of_windows_is_that_of_their_size_or_of_validating_whole_images() -> None:
    def needed(size: int, patch: int | None, batch: int = 8) -> float:
        tree = {"data": {"image_size": size}, "augment": {"patch_size": patch}}
        config = config_from_tree({**tree, "train": {"batch_size": batch}})
        return demand_of(config.at(PARAMS), config.image_shape, 6)["memory"]

    assert needed(512, 128) == needed(128, None) < 0.4 * needed(512, None)
    # One image of 1024 px is more to validate than a window of 64 px to train on.
    assert needed(64, None, 1) < needed(1024, 64, 1) < 0.7 * needed(1024, None, 1)


def test_an_excess_is_relative_to_its_limit_and_told_where_it_is_broken() -> None:
    search = config_from_tree(
        {"search": {"max_parameters": 1000, "max_gflops": 2.0, "max_latency_ms": 5.0}}
    ).search
    demand = {"parameters": 1500.0, "gflops": 1.0}

    assert bounds(search) == {"parameters": 1000, "gflops": 2.0, "latency_ms": 5.0}
    assert excesses(search, demand) == {"parameters": 0.5, "gflops": -0.5}
    assert broken_by(search, demand) == {
        "parameters": "expected at most max_parameters = 1,000, predicted 1,500 parameters"
    }


def test_each_limit_is_a_field_of_the_config() -> None:
    fields = set(config_from_tree({}).search.model_dump())

    assert {field for field, _ in FIELDS.values()} <= fields
