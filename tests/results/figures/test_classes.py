from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from results.figures import class_spread, classes
from results.records.study import load_study
from results.tables import StudyTables, tabulate
from results.tables.classes import absent_classes, class_correlation, compared_trials
from tests.results.conftest import HOSTILE_CLASSES, MakeStudy
from tests.results.simulated_study import class_names
from tests.results.tables.test_classes import frame


@pytest.fixture(scope="module")
def data(study_dir: Path) -> StudyTables:
    return tabulate(load_study(study_dir))


def loaded(make_study: MakeStudy, **options: object) -> StudyTables:
    return tabulate(load_study(make_study(**options)))


def test_an_undefined_class_has_no_curve(make_study: MakeStudy) -> None:
    study = load_study(make_study(trials=1, running=0, absent=("Fray",)))
    drawn = classes.class_curves_figure(study).figure.data
    assert [trace.name for trace in drawn] == ["Blowhole", "Break", "Crack", "Uneven"]


def test_the_map_has_a_column_a_trial_the_best_first(data: StudyTables) -> None:
    drawing = classes.class_map_figure(data)
    heat, undefined, *_ = drawing.figure.data
    valued = data.trials[data.trials["value"].notna()].sort_values("value", ascending=False)
    assert [x.split(",")[0] for x in heat.x] == [f"trial {n}" for n in valued["number"]]
    # Drawn from below: the mean is on top.
    assert list(heat.y) == ["Uneven", "Fray", "Crack", "Break", "Blowhole", "Mean"]
    crack = data.dice.loc[valued["number"], "Crack"].to_numpy(dtype=np.float32)
    np.testing.assert_array_equal(heat.z[2], crack)
    best = data.study.incumbent
    assert best is not None
    assert heat.x[0] == f"trial {best.number}, COMPLETE, the best"
    assert np.isnan(heat.z[1]).sum() == (undefined.z[1] == 1).sum() > 0


def test_the_map_names_the_weakest_class_and_what_validation_lacks(data: StudyTables) -> None:
    says = classes.class_map_figure(data).says
    shown = data.dice[data.trials["value"].notna().to_numpy()]
    names = ["Blowhole", "Break", "Crack", "Uneven"]
    lowest = shown[names].idxmin(axis=1)
    assert says.startswith(
        f"{lowest.mode()[0]} is the weakest class in {lowest.value_counts().max()} of"
    )
    assert says.endswith("The validation split shows no Fray.")
    assert absent_classes(data.study) == {"Fray"}


def test_best_and_baseline_are_marked(data: StudyTables) -> None:
    marks = {t.name: t for t in classes.class_map_figure(data).figure.data if t.name}
    assert marks["best trial"].x[0].endswith("the best")
    assert marks["baseline"].x[0] == "trial 0, COMPLETE, baseline reference"


def test_a_large_map_is_thinned_and_says_so(
    make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classes, "MOST_COLUMNS", 6)
    drawing = classes.class_map_figure(loaded(make_study, trials=24))
    assert len(drawing.figure.data[0].x) == 6
    assert "Shows 6 of" in drawing.note


def test_thirty_classes_are_all_drawn(make_study: MakeStudy) -> None:
    data = loaded(make_study, trials=6, running=0, classes=class_names(30))
    assert len(classes.class_map_figure(data).figure.data[0].y) == 30
    assert len(class_spread.class_correlation_figure(data).figure.data[0].y) == 28


def test_no_trial_no_map(make_study: MakeStudy) -> None:
    drawing = classes.class_map_figure(loaded(make_study, trials=0))
    assert drawing.figure is None
    assert drawing.note == "No trial has a score yet."


def test_names_are_text_and_stay_apart(make_study: MakeStudy) -> None:
    twins = (*HOSTILE_CLASSES, "x" * 201)
    drawing = classes.class_map_figure(loaded(make_study, trials=4, running=0, classes=twins))
    rows = drawing.figure.data[0].y
    assert len(set(rows)) == len(rows) == 7
    assert not any("<" in row for row in rows)


def test_the_spread_is_drawn_from_quartiles(data: StudyTables) -> None:
    drawing = class_spread.class_spread_figure(data)
    dice = compared_trials(data)[0]["Crack"]
    boxes = {t.y[0]: t for t in drawing.figure.data if t.type == "box"}
    assert boxes[2].median[0] == pytest.approx(dice.median())
    assert boxes[2].q1[0] == pytest.approx(dice.quantile(0.25))
    assert drawing.says.startswith(f"Crack is the hardest: its median over {dice.count()} COMPLETE")


def test_points_of_a_class_are_thinned_evenly(
    data: StudyTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(class_spread, "MOST_POINTS", 3)
    drawing = class_spread.class_spread_figure(data)
    points = [t for t in drawing.figure.data if t.type == "scatter" and not t.name]
    dice = compared_trials(data)[0]["Blowhole"].sort_values()
    assert [len(t.x) for t in points[:3]] == [3, 3, 3]
    np.testing.assert_allclose(points[0].x[[0, 2]], dice.iloc[[0, -1]], rtol=1e-6)
    assert "an even choice of 3 by rank" in drawing.note


def test_each_pair_of_classes_stands_once(data: StudyTables) -> None:
    drawing = class_spread.class_correlation_figure(data)
    heat = drawing.figure.data[0]
    table = class_correlation(compared_trials(data)[0]).dropna()
    assert np.isfinite(heat.z).sum() == len(table) == 6
    assert "Left out, for it is constant or undefined: Fray." in drawing.note


def test_two_classes_have_no_pair(make_study: MakeStudy) -> None:
    data = loaded(make_study, trials=6, running=0, classes=("background", "a"))
    assert class_spread.class_correlation_figure(data).figure is None


def test_trade_off_and_alliance_are_named_with_caution() -> None:
    table = class_correlation(
        frame(a=[0.1, 0.2, 0.3, 0.4], b=[0.1, 0.2, 0.3, 0.5], c=[0.9, 0.8, 0.7, 0.6])
    )
    says = class_spread.correlation_says(table)
    # 1.96 / sqrt(3) is above 1: with four trials even a perfect order tells nothing.
    assert says == (
        "The strongest trade-off is a and c (rho −1.00); the strongest alliance a and b (rho 1.00)."
        " With 4 trials this is a hint at most: below 1.00 in size a correlation may be chance."
    )


def test_no_trade_off_is_said() -> None:
    rng = np.random.default_rng(0)
    base = np.arange(40.0)
    table = class_correlation(frame(a=base.tolist(), b=(base + rng.normal(0, 5, 40)).tolist()))
    says = class_spread.correlation_says(table)
    assert says.startswith("No pair of classes trades off; the strongest alliance a and b (rho 0.")
    assert "hint" not in says
