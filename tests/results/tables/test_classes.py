from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from results.records.study import StudyRecord, load_study
from results.tables import StudyTables, tabulate
from results.tables import classes as tables
from tests.results.conftest import MakeStudy
from tests.results.counted import counted

NAMES = ("background", "Crack", "Fray")


@pytest.fixture(scope="module")
def study(make_study: MakeStudy) -> StudyRecord:
    return load_study(make_study(trials=4, running=0, classes=NAMES, fail_every=99, prune=False))


def with_dice(
    study: StudyRecord, values: list[float], dice: list[list[float]], states: list[str]
) -> StudyTables:
    """The study with these numbers in the place of its own, a row a trial."""
    trials = []
    for trial, value, row, state in zip(study.trials, values, dice, states, strict=True):
        curve = replace(
            trial.curve,
            dice=np.tile(np.array([1.0, *row]), (len(trial.curve), 1)),
            objective=np.full(len(trial.curve), value),
        )
        changes: dict[str, Any] = {"state": state, "value": value, "curve": curve}
        trials.append(replace(trial, best_epoch=1, **changes))
    return tabulate(replace(study, trials=tuple(trials)))


@pytest.fixture(scope="module")
def data(study: StudyRecord) -> StudyTables:
    dice = [[0.0, np.nan], [0.9, 0.1], [0.6, 0.8], [0.95, 0.95]]
    states = ["COMPLETE", "COMPLETE", "COMPLETE", "PRUNED"]
    return with_dice(study, [0.0, 0.5, 0.7, 0.95], dice, states)


def test_trials_are_ordered_by_value_whatever_their_state(data: StudyTables) -> None:
    table, total = tables.valued_trials(data, 10)
    assert table["number"].to_list() == [3, 2, 1, 0]
    assert total == 4


def test_thinning_keeps_the_best_and_the_baseline(make_study: MakeStudy) -> None:
    data = tabulate(load_study(make_study(trials=40, running=0)))
    table, total = tables.valued_trials(data, 6)
    assert len(table) == 6
    assert total == data.trials["value"].notna().sum()
    assert data.study.incumbent is not None
    assert {0, data.study.incumbent.number} <= set(table["number"])


def test_complete_trials_are_compared_where_there_are_two(
    data: StudyTables, study: StudyRecord
) -> None:
    dice, which = tables.compared_trials(data)
    assert (list(dice.index), which) == ([0, 1, 2], "COMPLETE")
    states = ["FAIL", "COMPLETE", "PRUNED", "PRUNED"]
    dice, which = tables.compared_trials(with_dice(study, [0.1] * 4, [[0.1, 0.2]] * 4, states))
    assert (list(dice.index), which) == ([1, 2, 3], "finished")


def test_the_spread_leaves_undefined_trials_out(data: StudyTables) -> None:
    table = tables.class_spread(tables.compared_trials(data)[0]).set_index("class")
    assert list(table.loc["Crack", ["trials", "low", "median", "high"]]) == [3, 0.0, 0.6, 0.9]
    # Two values, 0.1 and 0.8: quartiles between them.
    assert list(table.loc["Fray"]) == pytest.approx([2, 0.1, 0.275, 0.45, 0.625, 0.8])


def test_a_class_undefined_everywhere_has_no_spread() -> None:
    table = tables.class_spread(pd.DataFrame({"background": [1.0], "Fray": [np.nan]}))
    assert table["trials"].to_list() == [0]
    assert table.iloc[0, 2:].isna().all()


def test_winners_are_compared_with_the_best_on_average(data: StudyTables) -> None:
    table = tables.class_winners(data).set_index("class")
    # Trial 2 is best on average (0.7); Crack's best COMPLETE trial is 1.
    crack = list(table.loc["Crack"])
    assert crack == pytest.approx([1, 0.9, 0.6, 0.3, 0.5, 0.2])
    assert list(table.loc["Fray", ["trial", "cost", "given_up"]]) == [2, 0.0, 0.0]


def test_no_winners_without_an_incumbent(study: StudyRecord) -> None:
    assert tables.class_winners(tabulate(replace(study, trials=()))).empty


def frame(**columns: list[float]) -> pd.DataFrame:
    first = next(iter(columns.values()))
    return pd.DataFrame({"background": [1.0] * len(first), **columns})


def test_spearman_is_of_ranks_with_ties_shared() -> None:
    table = tables.class_correlation(
        frame(a=[0.1, 0.2, 0.3, 0.9], b=[1.0, 0.5, 0.4, 0.0], c=[0.1, 0.1, 0.2, 0.3])
    )
    pairs = table.set_index(["first", "second"])["rho"]
    assert pairs["a", "b"] == pytest.approx(-1.0)
    # Ranks 1, 2, 3, 4 against 1.5, 1.5, 3, 4: 4.5 / sqrt(5 * 4.5).
    assert pairs["a", "c"] == pytest.approx(4.5 / np.sqrt(22.5))
    assert table["trials"].to_list() == [4, 4, 4]


def test_constant_and_scarce_classes_have_no_correlation() -> None:
    nan = float("nan")
    table = tables.class_correlation(frame(a=[0.1, 0.2, 0.3], b=[0.5, 0.5, 0.5], c=[nan, 0.1, 0.2]))
    assert table["rho"].isna().all()
    assert table["trials"].to_list() == [3, 2, 2]


def test_scores_come_from_pooled_pixels() -> None:
    evaluation = counted({"a": [(0, 0, 80), (1, 1, 10), (1, 0, 10)], "b": [(0, 0, 90), (0, 1, 10)]})
    counts = {"best": evaluation.counts.sum(axis=0)}
    table = tables.class_scores(NAMES, counts).set_index("class")
    crack = list(table.loc["Crack", ["dice", "iou", "precision", "recall"]])
    assert crack == pytest.approx([20 / 40, 10 / 30, 10 / 20, 10 / 20])
    assert list(table.loc["Crack", ["true_pixels", "predicted_pixels"]]) == [20, 20]
    assert table.loc["Fray", ["dice", "iou", "precision", "recall"]].isna().all()
    assert tables.class_scores(NAMES, {}).empty


def test_counts_are_of_one_source_for_both_models(study: StudyRecord) -> None:
    trials = {"best": study.trials[1], "baseline": study.trials[0]}
    scored = counted({"a": [(0, 0, 90), (1, 0, 10)]})
    counts, source = tables.model_counts(trials, {"best": scored, "baseline": scored})
    assert source == "scored"
    assert counts["best"].tolist() == [[90, 10, 0], [0, 0, 10], [0, 0, 0]]
    counts, source = tables.model_counts(trials, {"best": scored})
    assert source == "epoch"
    row = trials["best"].best_row
    np.testing.assert_array_equal(counts["best"], trials["best"].curve.counts[row])
    assert set(counts) == {"best", "baseline"}


def test_trials_without_counts_have_none(study: StudyRecord) -> None:
    trial = study.trials[1]
    bare = replace(
        trial, curve=replace(trial.curve, counts=np.full_like(trial.curve.counts, np.nan))
    )
    assert tables.model_counts({"best": bare}, {}) == ({}, "epoch")


def test_background_alone_stands_beside_the_pooled_metric(study: StudyRecord) -> None:
    best = study.trials[1]
    table = tables.pooled_scores(study, {"best": best}, {}).set_index("model")
    pixels = study.data["splits"]["valid"]["pixels"]
    share = pixels["background"] / sum(pixels.values())
    assert list(table.loc["background alone"]) == [pytest.approx(share), 0.0]
    mean = np.nanmean(best.curve.dice[best.best_row][1:])
    assert table.loc["best", "mean_foreground_dice"] == pytest.approx(mean)
    scored = counted({"a": [(0, 0, 90), (1, 0, 10)]})
    table = tables.pooled_scores(study, {"best": best}, {"best": scored}).set_index("model")
    assert list(table.loc["best"]) == [0.5, 0.0]
    assert table.loc["background alone", "pooled_dice"] == 0.9


def test_a_study_without_data_has_no_background_score(study: StudyRecord) -> None:
    assert tables.pooled_scores(replace(study, data={}), {}, {}).empty


def test_the_simulated_study_has_them_all(study_dir: Path) -> None:
    data = tabulate(load_study(study_dir))
    dice, _ = tables.compared_trials(data)
    assert len(tables.class_correlation(dice)) == 10
    assert tables.class_spread(dice)["trials"].max() == len(dice)
