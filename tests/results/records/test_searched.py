from __future__ import annotations

import pytest

from results.records.searched import SearchedField, searched_fields, short_names


def test_distributions_are_found_among_constants() -> None:
    config = {
        "model": {"num_layers": {"int": [3, 7]}, "activation": "relu"},
        "train": {"learning_rate": {"float": [1e-5, 1e-2], "log": True}, "epochs": 40},
        "augment": {"rotation": {"choice": [0, 10]}, "sampling_weights": {"int": 1.0, "b": 2.0}},
        "search": {"trials": {"int": [1, 2]}},
    }
    fields = searched_fields(config)
    assert list(fields) == ["model.num_layers", "train.learning_rate", "augment.rotation"]
    assert fields["train.learning_rate"].log
    assert fields["augment.rotation"].choices == (0, 10)


@pytest.mark.parametrize("config", [{}, {"model": None}, {"model": {"a": {"int": [1, 2, 3]}}}])
def test_configs_without_a_search_have_none(config: dict[str, object]) -> None:
    assert searched_fields(config) == {}


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (SearchedField("a", "int", 3, 7), "3 to 7"),
        (SearchedField("a", "int", 8, 64, step=8), "8 to 64, step 8"),
        (SearchedField("a", "float", 1e-5, 1e-2, log=True), "1e-05 to 0.01, log"),
        (SearchedField("a", "choice", choices=(8, 16, 32)), "8, 16 or 32"),
        (SearchedField("a", "choice", choices=("relu",)), "relu"),
    ],
)
def test_distributions_in_words(field: SearchedField, text: str) -> None:
    assert field.text == text


@pytest.mark.parametrize(
    ("field", "inside", "outside"),
    [
        (SearchedField("a", "int", 3, 7), 7, 8),
        (SearchedField("a", "float", 1e-5, 1e-2, log=True), 1e-5, 1e-6),
        (SearchedField("a", "int", 3, 8, step=2), 7, 8),
        (SearchedField("a", "float", 0.0, 0.35, step=0.1), 0.3, 0.35),
    ],
)
def test_ranges_become_optunas(field: SearchedField, inside: float, outside: float) -> None:
    distribution = field.distribution()
    assert distribution._contains(inside)
    assert not distribution._contains(outside)


def test_names_are_shortened_where_unambiguous() -> None:
    names = ["model.num_layers", "train.scale", "augment.scale"]
    assert short_names(names) == {
        "model.num_layers": "num_layers",
        "train.scale": "train.scale",
        "augment.scale": "augment.scale",
    }
