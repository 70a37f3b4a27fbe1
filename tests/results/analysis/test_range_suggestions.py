from __future__ import annotations

from typing import Any

import pytest

from results.analysis.range_suggestions import Limit, as_config, limit_of, limits, widened
from results.records.searched import SearchedField


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("model.num_layers", Limit(1, 12)),
        ("model.dropout_rate", Limit(0, 1, high_open=True)),
        ("train.learning_rate", Limit(0, 1, low_open=True)),
        ("train.clip_norm", Limit(0, low_open=True)),
        ("train.epochs", Limit(1)),
        ("augment.elastic", Limit(0, 0.06)),
    ],
)
def test_the_limits_are_the_fields_own(name: str, limit: Limit) -> None:
    assert limits()[name] == limit


@pytest.mark.parametrize(
    ("field", "end", "bounds", "expected"),
    [
        (SearchedField("x", "int", 3, 6), "high", Limit(1, 12), (3, 7)),
        (SearchedField("x", "int", 3, 6), "high", Limit(1, 6), (3, 6)),
        (SearchedField("x", "int", 3, 11), "low", Limit(1, 12), (1, 11)),
        (SearchedField("x", "int", 3, 7, step=2), "high", Limit(1, 31), (3, 9)),
        (SearchedField("x", "int", 3, 29, step=2), "high", Limit(1, 32), (3, 31)),
        (SearchedField("x", "int", 8, 32, log=True), "high", Limit(1, 512), (8, 64)),
        (SearchedField("x", "int", 1, 2, log=True), "high", Limit(), (1, 3)),
        (SearchedField("x", "float", 0.0, 0.1), "high", Limit(0, 1), (0.0, 0.15)),
        (SearchedField("x", "float", 0.0, 0.1), "low", Limit(0, 1), (0.0, 0.1)),
        (SearchedField("x", "float", 0.4, 0.9), "high", Limit(0, 1), (0.4, 1)),
        (SearchedField("x", "float", 0.4, 0.9), "high", Limit(0, 1, False, True), (0.4, 0.95)),
        (SearchedField("x", "float", 0.0, 0.4, step=0.1), "high", Limit(0, 1), (0.0, 0.6)),
        (SearchedField("x", "float", 1e-4, 1e-2, log=True), "high", Limit(0, 1, True), (1e-4, 0.1)),
        (SearchedField("x", "float", 1e-4, 1e-2, log=True), "low", Limit(0, 1, True), (1e-5, 0.01)),
    ],
)
def test_an_end_moves_half_the_width_and_not_past_the_limit(
    field: SearchedField, end: Any, bounds: Limit, expected: tuple[float, float]
) -> None:
    wider = widened(field, end, bounds)

    assert (wider.low, wider.high) == pytest.approx(expected)
    assert (wider.log, wider.step) == (field.log, field.step)
    if field.kind == "int":
        assert isinstance(wider.low, int)
        assert isinstance(wider.high, int)


@pytest.mark.parametrize(
    ("choices", "end", "expected"),
    [
        ((8, 16, 32), "high", (8, 16, 32, 64)),
        ((8, 16, 32), "low", (4, 8, 16, 32)),
        ((3, 5, 7), "high", (3, 5, 7, 9)),
        ((8, 12), "high", (8, 12, 16)),
        ((3, 5), "low", (1, 3, 5)),
        ((1, 2, 4), "low", (1, 2, 4)),  # half a filter
        ((256, 512), "high", (256, 512)),
    ],
)
def test_choices_of_numbers_get_one_more(
    choices: tuple[int, ...], end: Any, expected: tuple[int, ...]
) -> None:
    field = SearchedField("x", "choice", choices=choices)

    assert widened(field, end, Limit(1, 512)).choices == expected


@pytest.mark.parametrize(("size", "deepest"), [(128, 8), ([96, 64], 6), (None, 12), ([0, "a"], 12)])
def test_the_images_bound_the_levels(size: object, deepest: int) -> None:
    assert limit_of("model.num_layers", {"data": {"image_size": size}}).high == deepest


def test_a_field_is_written_as_in_a_config() -> None:
    field = SearchedField("x", "int", 3, 7, step=2)
    assert as_config(field) == {"int": [3, 7], "step": 2}
    log = SearchedField("x", "float", 0.1, 0.2, log=True)
    assert as_config(log) == {"float": [0.1, 0.2], "log": True}
    assert as_config(SearchedField("x", "choice", choices=(1, "a"))) == {"choice": [1, "a"]}
