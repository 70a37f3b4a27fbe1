from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from results.figures import parameters
from results.importance import Importances, importances
from results.pareto import pareto_table
from results.records import load_study
from results.tables import StudyTables, tabulate
from tests.results.conftest import MakeStudy
from tests.results.test_pareto import several


@pytest.fixture(scope="module")
def data(study_dir: Path) -> StudyTables:
    return tabulate(load_study(study_dir))


def test_parallel_axes_are_the_searched_fields_and_the_value(data: StudyTables) -> None:
    dimensions = parameters.parallel_figure(data).figure.data[0].dimensions
    assert [dimension.label for dimension in dimensions] == [
        "num_layers",
        "base_filters",
        "base_kernel",
        "dropout_rate",
        "learning_rate",
        "loss",
        "<b>value</b>",
    ]
    rate = dimensions[4]
    assert rate.range == (-4.0, -2.0)
    assert list(rate.ticktext) == ["0.0001", "0.001", "0.01"]
    assert list(dimensions[5].ticktext) == ["cross_entropy_dice", "focal_tversky", "cross_entropy"]


def test_bars_are_sorted_with_the_largest_on_top(data: StudyTables) -> None:
    found = importances(data.study)
    bar = parameters.importance_figure(found).figure.data[0]
    np.testing.assert_allclose(bar.x[::-1], found.table["importance"], rtol=1e-6)


def test_no_importances_have_their_reason(data: StudyTables) -> None:
    empty = importances(data.study).table.iloc[:0]
    drawn = parameters.importance_figure(Importances(empty, 3, "Too few."))
    assert drawn.figure is None
    assert drawn.note == "Too few."


@pytest.mark.parametrize("measures", [("parameters",), ("parameters", "gflops")])
def test_the_front_is_a_line_where_there_is_one_plane(
    make_study: MakeStudy, measures: tuple[str, ...]
) -> None:
    study = load_study(several(make_study(), *measures))
    table = pareto_table(study)
    beaten, front = parameters.pareto_figure(study, "parameters").figure.data

    assert len(beaten.x) + len(front.x) == len(table)
    assert set(front.customdata) == set(table.loc[table["front"], "number"])
    assert (front.mode == "lines+markers") == (len(measures) == 1)


def test_a_front_without_a_complete_trial_has_a_reason(make_study: MakeStudy) -> None:
    study = load_study(several(make_study(trials=1, running=1, states={0: "FAIL"}), "parameters"))

    assert parameters.pareto_figure(study, "parameters").figure is None
