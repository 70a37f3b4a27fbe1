from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from results.figures.axes import GOLDEN, axis_of, choice_text, spread
from results.records.searched import SearchedField

RATE = SearchedField("train.rate", "float", 1e-4, 1e-2, log=True)
LAYERS = SearchedField("model.layers", "int", 3, 5)
FILTERS = SearchedField("model.filters", "choice", choices=(8, 16))


def test_a_logarithmic_field_stands_by_its_power() -> None:
    axis = axis_of(RATE, "rate", pd.Series([1e-3]))
    assert (axis.low, axis.high) == (-4.0, -2.0)
    assert axis.places(pd.Series([1e-3, math.nan])).tolist() == pytest.approx(
        [-3.0, math.nan], nan_ok=True
    )
    assert axis.scaled(np.array([-3.0])).tolist() == [0.5]
    assert axis.value_at(-3.0) == "0.001"


def test_a_narrow_logarithmic_field_has_ticks_between_powers() -> None:
    narrow = SearchedField("a", "float", 2e-4, 8e-4, log=True)
    assert axis_of(narrow, "a", pd.Series([], dtype=float)).texts == ("0.0002", "0.0005")


def test_a_baseline_outside_widens_the_axis() -> None:
    assert axis_of(LAYERS, "layers", pd.Series([7])).high == 7
    axis = axis_of(FILTERS, "filters", pd.Series([16, 64]))
    assert axis.choices == ("8", "16", "64")
    assert axis.places(pd.Series([64, 8])).tolist() == [2.0, 0.0]


def test_choices_of_numbers_in_a_column_that_misses_one() -> None:
    axis = axis_of(FILTERS, "filters", pd.Series([8.0, math.nan, 16.0]))
    assert axis.choices == ("8", "16")
    assert axis.places(pd.Series([16.0, math.nan]))[0] == 1.0
    assert math.isnan(axis.places(pd.Series([16.0, math.nan]))[1])
    assert axis.value_at(math.nan) == ""
    assert choice_text(0.5, ["0.5"]) == "0.5"


def test_cells_are_the_choices_the_whole_numbers_or_an_even_grid() -> None:
    none = pd.Series([], dtype=float)
    assert axis_of(FILTERS, "f", none).cells(4).tolist() == [0, 1]
    assert axis_of(LAYERS, "l", none).cells(4).tolist() == [3, 4, 5]
    assert axis_of(RATE, "r", none).cells(3).tolist() == [-4.0, -3.0, -2.0]


def test_trials_that_share_a_place_are_spread_within_it() -> None:
    numbers = pd.Series(range(200))
    shifts = spread(axis_of(LAYERS, "l", pd.Series([3])), numbers)
    assert abs(shifts).max() <= 0.25
    assert len(np.unique(shifts)) == 200
    assert spread(axis_of(RATE, "r", pd.Series([1e-3])), numbers, GOLDEN) == 0.0


def test_a_field_of_one_value_has_room() -> None:
    axis = axis_of(SearchedField("a", "int", 4, 4), "a", pd.Series([4]))
    assert axis.low < 4 < axis.high
