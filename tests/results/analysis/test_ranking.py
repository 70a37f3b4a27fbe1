from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

from results.analysis.intervals import group_draws, seed_draws
from results.analysis.ranking import ranking_table
from results.records.evaluation import Evaluation
from tests.results.confirmed import CLASSES, holes


@dataclass(frozen=True)
class Config:
    trial: int
    baseline: str | None = None
    value: float | None = 0.5


# Truth: 10 pixels in each image. Dice over both: 2 TP / (2 TP + FP + FN).
GOOD = holes({"a": (9, 0, 1), "b": (7, 0, 3)})  # 32 / 36
FAIR = holes({"a": (8, 0, 2), "b": (4, 0, 6)})  # 24 / 32
POOR = holes({"a": (5, 0, 5), "b": (0, 0, 10)})  # 10 / 25
NOTHING = holes({"a": (0, 0, 10), "b": (0, 0, 10)})  # 0


def table(
    configs: list[Config], found: dict[int, list[Evaluation]], seeds: int = 1
) -> pd.DataFrame:
    return ranking_table(configs, found, seeds=seeds, classes=CLASSES)


def test_configs_are_ranked_by_their_mean_over_seeds() -> None:
    found = {3: [FAIR, POOR], 5: [GOOD, FAIR], 8: [POOR, NOTHING]}
    ranked = table([Config(3), Config(5), Config(8, "recipe", 0.7)], found, seeds=2)
    assert ranked["trial"].tolist() == [5, 3, 8]
    means = [(32 / 36 + 24 / 32) / 2, (24 / 32 + 10 / 25) / 2, (10 / 25 + 0) / 2]
    np.testing.assert_allclose(ranked["mean"], means)
    np.testing.assert_allclose(ranked["dice hole"], means)
    np.testing.assert_allclose(ranked["difference"], [*(m - means[2] for m in means[:2]), math.nan])
    np.testing.assert_allclose(ranked["gap"], [math.nan, means[0] - means[1], means[0] - means[2]])
    assert ranked["searched"].tolist() == [0.5, 0.5, 0.7]
    assert ranked["baseline"].tolist() == [None, None, "recipe"]


def test_intervals_are_of_drawn_groups_and_seeds() -> None:
    ranked = table([Config(5)], {5: [GOOD, POOR]}, seeds=2)
    drawn = group_draws(["a", "b"])
    seeds = seed_draws(2, config=5)
    counts = {0: np.array([[9, 1], [7, 3]]), 1: np.array([[5, 5], [0, 10]])}  # found, missed
    dice = []
    for seed in range(2):
        true_positives, missed = (drawn @ counts[seed]).T
        dice.append(2 * true_positives / (2 * true_positives + missed))
    scores = (np.stack(dice, axis=1) * seeds).sum(axis=1) / 2
    np.testing.assert_allclose(
        [ranked["low"][0], ranked["high"][0]], np.quantile(scores, [0.025, 0.975])
    )


def test_one_better_in_every_group_is_told_apart_and_one_that_is_not_is_tied() -> None:
    mixed = holes({"a": (10, 0, 0), "b": (5, 0, 5)})  # better in a, worse in b: 30 / 35
    ranked = table([Config(1), Config(2), Config(3)], {1: [GOOD], 2: [mixed], 3: [POOR]})
    assert ranked["trial"].tolist() == [1, 2, 3]
    assert ranked["tied"].tolist() == [False, True, False]
    assert ranked["gap_low"][1] < 0 < ranked["gap_high"][1]
    # Of two groups a draw holds one twice or both: the smallest gap of all is in group a.
    assert ranked["gap_low"][2] == pytest.approx(18 / 19 - 10 / 15)


def test_a_config_without_all_of_its_seeds_comes_last_and_is_not_compared() -> None:
    ranked = table([Config(1), Config(2), Config(3)], {1: [POOR, POOR], 2: [GOOD]}, seeds=2)
    assert ranked["trial"].tolist() == [1, 2, 3]
    assert ranked["complete"].tolist() == [True, False, False]
    assert ranked["seeds"].tolist() == [2, 1, 0]
    assert ranked["gap"].isna().all()
    assert not ranked["tied"].any()
    assert math.isnan(ranked["mean"][2])


def test_an_undefined_class_is_left_out_of_the_mean_and_is_no_zero() -> None:
    classes = (*CLASSES, "crack")
    shown = replace(GOOD, classes=classes)
    ranked = ranking_table([Config(1)], {1: [shown]}, seeds=1, classes=classes)
    assert ranked["mean"][0] == pytest.approx(32 / 36)
    assert math.isnan(ranked["dice crack"][0])


def test_one_group_has_no_interval_and_everything_is_tied() -> None:
    one = [replace(each, groups=("tile", "tile")) for each in (GOOD, POOR)]
    ranked = table([Config(1), Config(2)], {1: one[:1], 2: one[1:]})
    assert ranked[["low", "high", "gap_low", "gap_high"]].isna().all(axis=None)
    assert ranked["tied"].tolist() == [False, True]
    assert ranked["few"].all()


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ("mean_foreground_dice", (8 / 12 + 2 / 12) / 2),
        ("worst_class_dice", 2 / 12),
        ("weighted_dice", (3 * 8 / 12 + 2 / 12) / 4),
    ],
)
def test_the_studys_objective_ranks(objective: str, expected: float) -> None:
    # hole: TP 4, FN 4 of both images; crack: TP 1, FN 10.
    cells = [(0, 1, 1, 2), (0, 1, 0, 2), (0, 2, 2, 1), (1, 1, 1, 2), (1, 1, 0, 2), (1, 2, 0, 10)]
    classes = (*CLASSES, "crack")
    found = replace(GOOD, classes=classes, cells=np.array(cells, np.int64))
    ranked = ranking_table(
        [Config(1)],
        {1: [found]},
        seeds=1,
        classes=classes,
        objective=objective,
        weights={"hole": 3.0},
    )
    assert ranked["mean"][0] == pytest.approx(expected)
    assert ranked["low"][0] <= expected <= ranked["high"][0]
