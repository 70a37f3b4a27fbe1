from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from results.figures import parallel
from results.records.study import load_study
from results.tables import StudyTables, tabulate
from tests.results.conftest import MakeStudy
from tests.results.simulated_study import class_names


@pytest.fixture(scope="module")
def data(make_study: MakeStudy) -> StudyTables:
    return tabulate(load_study(make_study(absent=("Fray",))))


def test_axes_are_the_searched_fields_the_value_and_the_classes(data: StudyTables) -> None:
    dimensions = parallel.parallel_figure(data).figure.data[0].dimensions
    assert [dimension.label for dimension in dimensions] == [
        *("num_layers", "base_filters", "base_kernel", "dropout_rate", "learning_rate", "loss"),
        "<b>Mean Dice</b>",
        *("Blowhole", "Break", "Crack", "Fray", "Uneven"),
    ]
    rate = dimensions[4]
    assert rate.range == (-4.0, -2.0)
    assert list(rate.ticktext) == ["0.0001", "0.001", "0.01"]
    assert list(dimensions[5].ticktext) == ["cross_entropy_dice", "focal_tversky", "cross_entropy"]


def test_undefined_dice_stands_below_zero(data: StudyTables) -> None:
    fray = parallel.parallel_figure(data).figure.data[0].dimensions[10]
    crack = parallel.parallel_figure(data).figure.data[0].dimensions[9]
    assert fray.ticktext[0] == "undefined"
    assert fray.range[0] == min(fray["values"]) == pytest.approx(-0.06)
    assert crack.range[0] == 0


@pytest.mark.parametrize(("classes", "axes"), [(2, 0), (3, 2), (30, 1)])
def test_class_axes_by_how_many_classes_there_are(
    make_study: MakeStudy, classes: int, axes: int
) -> None:
    study = load_study(make_study(trials=6, running=0, classes=class_names(classes)))
    drawing = parallel.parallel_figure(tabulate(study))
    assert len(drawing.figure.data[0].dimensions) == 6 + 1 + axes
    assert ("One of 29 classes has an axis" in drawing.note) == (classes == 30)


def test_what_the_best_trials_share_is_said(data: StudyTables) -> None:
    complete = data.trials[data.trials["state"] == "COMPLETE"]
    best = complete.sort_values("value", ascending=False).head(5)
    says = parallel.parallel_figure(data).says
    assert says.startswith("The best 5 COMPLETE trials")
    if best["train.loss"].nunique() == 1:
        assert f"loss {best['train.loss'].iloc[0]}" in says


def test_spans_are_short() -> None:
    assert parallel.span_text(3.0, 5.0) == "3 to 5"
    assert parallel.span_text(4.0, 4.0) == "4"
    assert parallel.span_text(0.00063361, 0.003051) == "0.000634 to 0.00305"


def test_two_finished_trials_are_needed(make_study: MakeStudy) -> None:
    drawing = parallel.parallel_figure(tabulate(load_study(make_study(trials=1, running=0))))
    assert drawing.figure is None
    assert "two finished trials" in drawing.note


def test_a_dice_axis_ends_at_the_highest() -> None:
    dimension = parallel.dice_dimension("a", pd.Series([0.0, 0.5, 0.25]).to_numpy())
    assert dimension["range"] == [0.0, 0.5]
    np.testing.assert_allclose(dimension["values"], [0.0, 0.5, 0.25])
