from __future__ import annotations

import math
from dataclasses import replace

import pytest

from results.analysis.baseline_comparison import contest
from results.tables import trials_table
from results.tables.verdict import (
    against_table,
    class_table,
    cost_table,
    objective_difference,
    objective_estimate,
    outcome,
)
from tests.results.conftest import MakeStudy
from tests.results.verdicts import BETTER, WORSE, best_of, scored_contest, studied

# Every group is alike but for Fray, so that every replicate of Crack is the same number.
CRACK, BASELINE_CRACK, FRAY = 0.8, 2 / 3, 2 / 3


def test_classes_by_hand(make_study: MakeStudy) -> None:
    found = scored_contest(studied(make_study))
    table = class_table(found, found.baselines[0]).set_index("class")

    crack = table.loc["Crack"]
    assert crack["dice"] == pytest.approx(CRACK)
    assert (crack["low"], crack["high"]) == pytest.approx((CRACK, CRACK))
    assert crack["baseline"] == pytest.approx(BASELINE_CRACK)
    assert crack["difference"] == pytest.approx(CRACK - BASELINE_CRACK)
    assert crack["difference_low"] == pytest.approx(CRACK - BASELINE_CRACK)
    assert crack["outcome"] == "gains"
    assert (crack["true_groups"], bool(crack["few"])) == (6, False)


def test_one_group_has_no_interval(make_study: MakeStudy) -> None:
    found = scored_contest(studied(make_study))
    fray = class_table(found, found.baselines[0]).set_index("class").loc["Fray"]

    assert fray["dice"] == pytest.approx(FRAY)
    assert fray[["low", "difference_low"]].isna().all()
    assert fray["difference"] == 0
    assert fray["outcome"] == "unknown"
    assert fray["true_groups"] == 1
    assert fray["few"]


def test_the_means_stand_below_the_classes(make_study: MakeStudy) -> None:
    found = scored_contest(studied(make_study))
    table = class_table(found, found.baselines[0])

    assert table["kind"].tolist() == ["class"] * 3 + ["mean", "worst"]
    mean = table.iloc[3]
    assert mean["dice"] == pytest.approx((CRACK + FRAY) / 2)
    assert mean["difference"] == pytest.approx((CRACK - BASELINE_CRACK) / 2)


def test_without_counts_there_are_differences_but_no_intervals(make_study: MakeStudy) -> None:
    study = studied(make_study)
    found = contest(study)
    table = class_table(found, found.baselines[0])
    best, baseline = (
        t.curve.dice[t.best_row]
        for t in (best_of(study), study.trials[0])
        if t.best_row is not None
    )

    assert table["difference"].tolist()[:3] == pytest.approx(
        (best - baseline).tolist(), nan_ok=True
    )
    assert table["difference_low"].isna().all()
    assert set(table["outcome"]) == {"unknown"}
    assert table["groups"].sum() == 0


def test_without_a_baseline_there_is_no_difference(make_study: MakeStudy) -> None:
    table = class_table(scored_contest(studied(make_study)))

    assert table["difference"].isna().all()
    assert table["baseline"].isna().all()
    assert table["dice"].notna().all()


def test_without_a_best_there_is_no_table(make_study: MakeStudy) -> None:
    found = contest(studied(make_study, trials=0, states={}))

    with pytest.raises(ValueError, match="expected a contest with a best config"):
        class_table(found)
    assert against_table(found).empty
    assert math.isnan(objective_estimate(found).value)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((0.01, 0.2), "gains"),
        ((-0.2, -0.01), "loses"),
        ((-0.1, 0.1), "open"),
        ((0.0, 0.1), "open"),
        ((math.nan, math.nan), "unknown"),
    ],
)
def test_zero_must_lie_outside(ends: tuple[float, float], expected: str) -> None:
    assert outcome(*ends) == expected


@pytest.mark.parametrize(
    ("objective", "value", "difference"),
    [
        ("mean_foreground_dice", (CRACK + FRAY) / 2, (CRACK - BASELINE_CRACK) / 2),
        ("worst_class_dice", FRAY, 0.0),
        ("weighted_dice", (3 * CRACK + FRAY) / 4, 3 * (CRACK - BASELINE_CRACK) / 4),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_the_objective_is_the_studys(
    make_study: MakeStudy, objective: str, value: float, difference: float, swapped: bool
) -> None:
    study = studied(make_study)
    config = dict(study.config) | {"search": {"class_weights": {"Crack": 3.0}}}
    study = replace(study, objective=objective, config=config)
    cells = (WORSE, BETTER) if swapped else (BETTER, WORSE)
    found = scored_contest(study, *cells)
    estimate = objective_difference(found, found.baselines[0])

    assert estimate.value == pytest.approx(-difference if swapped else difference)
    if not math.isnan(estimate.low):
        assert estimate.low <= estimate.value + 1e-9
        assert estimate.high >= estimate.value - 1e-9
    if not swapped:
        assert objective_estimate(found).value == pytest.approx(value)
    assert estimate.few


def test_a_studys_cost_is_summed(make_study: MakeStudy) -> None:
    study = studied(make_study)
    best = best_of(study)
    row = cost_table(study, trials_table(study), best).iloc[0]
    seconds = [float(trial.curve.total_seconds.sum()) for trial in study.trials]

    assert row["trials"] == 3
    assert row["epochs"] == sum(len(trial.curve) for trial in study.trials)
    assert row["worker_seconds"] == pytest.approx(sum(seconds))
    assert row["best_seconds"] == pytest.approx(seconds[best.number])
    assert row["wall_seconds"] >= max(seconds) * 0.99
    assert best.cost is not None
    assert row["parameters"] == best.cost.parameters


def test_times_that_cannot_be_read_are_no_wall_time(make_study: MakeStudy) -> None:
    study = studied(make_study)
    trials = tuple(replace(t, started="soon", finished=None) for t in study.trials)
    study = replace(study, trials=trials)

    assert math.isnan(cost_table(study, trials_table(study), None).iloc[0]["wall_seconds"])


def test_wall_time_is_from_the_first_start_to_the_last_end(make_study: MakeStudy) -> None:
    study = studied(make_study)
    ends = ("2030-01-01T10:30:00+00:00", "2030-01-01T12:00:00", None)
    trials = tuple(
        replace(trial, started=f"2030-01-01T1{n}:00:00+00:00", finished=end)
        for n, (trial, end) in enumerate(zip(study.trials, ends, strict=True))
    )
    study = replace(study, trials=trials)

    assert cost_table(study, trials_table(study), None).iloc[0]["wall_seconds"] == 7200
