from __future__ import annotations

from typing import Any

import pytest

from search.config.errors import ConfigError
from search.config.loading import config_from_tree

KNOWN = {
    "name": "hand-tuned",
    "params": {
        "model.num_layers": 6,
        "model.base_filters": 32,
        "model.base_kernel": 7,
        "model.dropout_rate": 0.0,
        "train.learning_rate": 0.001,
    },
}


def problems_of(tree: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        config_from_tree(tree)
    return str(caught.value)


@pytest.mark.parametrize(
    ("search", "problem"),
    [
        (
            {"minimize": ["parameters"], "prior_share": 0.5},
            "search.prior_share: expected 0 with search.minimize",
        ),
        (
            {"minimize": ["parameters"], "pruner": "median"},
            "search.pruner: expected 'asha', which compares all objectives, or 'none'",
        ),
        (
            {"minimize": ["gflops", "gflops"], "pruner": "none"},
            "search.minimize: expected distinct names",
        ),
        ({"sampler": "grid"}, "train.learning_rate: expected a step or choices with sampler"),
        ({"sampler": "grid"}, "model.dropout_rate: expected a step or choices with sampler"),
        ({"class_weights": {"Crack": 2}}, "expected objective 'weighted_dice' with them"),
        ({"class_weights": {"Crack": -1}}, "search.class_weights.Crack"),
        ({"pruner": "hyperband", "grace_epochs": 99}, "expected at most train.epochs = 40"),
        ({"pruner": "median", "grace_epochs": 99}, "expected at most train.epochs = 40"),
        (
            {"baselines": [KNOWN], "max_parameters": 1000},
            "'hand-tuned': expected at most max_parameters = 1,000, predicted",
        ),
        ({"baselines": [KNOWN], "max_gflops": 0.01}, "max_gflops"),
        ({"baselines": [KNOWN], "max_memory_gb": 0.001}, "max_memory_gb"),
    ],
)
def test_what_does_not_go_together_is_refused_on_loading(search: dict, problem: str) -> None:
    assert problem in problems_of({"search": search})


def test_cma_es_without_a_number_to_search_is_refused() -> None:
    tree = {
        "model": {"num_layers": 4, "base_kernel": {"choice": [3, 5]}, "dropout_rate": 0.0},
        "train": {"learning_rate": 0.01},
        "search": {"sampler": "cma-es"},
    }

    assert "received choices alone: model.base_filters, model.base_kernel" in problems_of(tree)


def test_baselines_within_the_limits_or_with_fields_to_be_drawn_are_taken() -> None:
    partial = {"name": "partial", "params": {"model.num_layers": 6}}
    search = {"baselines": [KNOWN], "max_parameters": 10**9}

    assert config_from_tree({"search": search}).search.max_parameters == 10**9
    config_from_tree({"search": {"baselines": [partial], "max_parameters": 1000}})


def test_constants_alone_are_trained_whatever_the_sampler() -> None:
    # An exported config keeps its study's search section.
    constants = {
        "model": {"num_layers": 3, "base_filters": 8, "base_kernel": 3, "dropout_rate": 0.0},
        "train": {"learning_rate": 0.01},
    }
    for sampler in ("grid", "cma-es", "gp"):
        config_from_tree(constants | {"search": {"sampler": sampler}}).at({})
