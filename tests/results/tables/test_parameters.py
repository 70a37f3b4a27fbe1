from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from results.records.searched import SearchedField
from results.records.study import load_study
from results.tables import tabulate
from results.tables.parameters import (
    BANDWIDTH,
    best_trials,
    common_table,
    leading_pairs,
    narrowest,
    scored_trials,
    shown_trials,
    surface,
    target_classes,
)
from tests.results.conftest import MakeStudy
from tests.results.simulated_study import class_names

FIELDS = (
    SearchedField("model.layers", "int", 3, 7),
    SearchedField("train.rate", "float", 1e-4, 1e-2, log=True),
    SearchedField("train.loss", "choice", choices=("a", "b", "c", "d", "e")),
)
BEST = pd.DataFrame(
    {
        "model.layers": [4, 5, 7],
        "train.rate": [1e-4, 1e-3, 1e-3],
        "train.loss": ["b", "a", "b"],
    }
)


def test_what_the_best_have_of_each_field() -> None:
    layers, rate, loss = common_table(BEST, FIELDS).to_dict("records")
    assert (layers["low"], layers["high"], layers["trials"]) == (4, 7, 3)
    assert layers["share"] == pytest.approx(3 / 4)
    assert rate["share"] == pytest.approx(1 / 2)  # one power of ten of two
    assert loss["choices"] == (("b", 2), ("a", 1))
    assert loss["share"] == pytest.approx(2 / 5)
    assert math.isnan(loss["low"])


def test_the_narrowest_come_first_and_the_wide_are_left_out() -> None:
    assert narrowest(common_table(BEST, FIELDS))["parameter"].to_list() == [
        "train.loss",
        "train.rate",
    ]


def test_nothing_in_common_without_trials() -> None:
    table = common_table(BEST.head(0), FIELDS)
    assert table["trials"].to_list() == [0, 0, 0]
    assert table["share"].isna().all()
    assert narrowest(table).empty


def test_pairs_of_the_most_important() -> None:
    assert leading_pairs(["a", "b", "c"]) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert leading_pairs(["a", "b"]) == [("a", "b")]
    assert leading_pairs(["a"]) == []


def test_the_surface_is_the_weighted_mean_of_the_trials_around() -> None:
    points = np.array([[0.5, 0.5], [0.6, 0.5], [0.0, np.nan]])
    values = np.array([0.2, 0.4, 9.0])
    grid = (np.array([0.5, 0.9]), np.array([0.5]))
    found = surface(points, values, grid)
    weight = math.exp(-(0.1**2) / (2 * BANDWIDTH**2))
    assert found.shape == (1, 2)
    assert found[0, 0] == pytest.approx((0.2 + 0.4 * weight) / (1 + weight))
    assert math.isnan(found[0, 1])  # 0.3 from the nearest trial


def test_no_choice_is_near_another() -> None:
    points = np.array([[0.0, 0.5], [1.0, 0.5]])
    grid = (np.array([0.0, 1.0]), np.array([0.5]))
    found = surface(points, np.array([0.2, 0.4]), grid, (True, False))
    np.testing.assert_allclose(found, [[0.2, 0.4]])


def test_no_trial_makes_no_surface() -> None:
    found = surface(np.zeros((0, 2)), np.zeros(0), (np.zeros(2), np.zeros(3)))
    assert found.shape == (3, 2)
    assert np.isnan(found).all()


def test_the_best_and_the_baseline_are_shown(
    make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("results.tables.parameters.MOST_TRIALS", 6)
    data = tabulate(load_study(make_study()))
    shown, incumbent = shown_trials(data), data.study.incumbent
    assert len(shown) == 6 < len(scored_trials(data))
    assert incumbent is not None
    assert shown["number"].iloc[-1] == incumbent.number
    assert 0 in set(shown["number"])
    assert shown["value"].is_monotonic_increasing


def test_the_best_tenth_is_five_at_least(make_study: MakeStudy) -> None:
    data = tabulate(load_study(make_study()))
    best = best_trials(data)
    assert len(best) == 5
    assert set(best["state"]) == {"COMPLETE"}
    assert best["value"].is_monotonic_decreasing


@pytest.mark.parametrize(("classes", "targets"), [(2, 0), (3, 2)])
def test_a_single_class_is_the_mean(make_study: MakeStudy, classes: int, targets: int) -> None:
    study = load_study(make_study(trials=1, classes=class_names(classes)))
    assert len(target_classes(study)) == targets
