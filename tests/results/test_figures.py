from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from results import figures, palette, tables
from results.importance import Importances, importances
from results.pareto import pareto_table
from results.records import load_study
from results.tables import StudyTables, tabulate
from tests.results.conftest import HOSTILE_CLASSES, MakeStudy
from tests.results.test_pareto import several


@pytest.fixture(scope="module")
def data(study_dir: Path) -> StudyTables:
    return tabulate(load_study(study_dir))


def draw_all(data: StudyTables) -> dict[str, figures.Drawing]:
    return {
        "history": figures.history_figure(data),
        "objective": figures.curves_figure(data, "objective", "Mean"),
        "loss": figures.curves_figure(data, "validation_loss", "Loss"),
        "classes": figures.class_curves_figure(data.study),
        "parallel": figures.parallel_figure(data),
        "importance": figures.importance_figure(importances(data.study)),
    }


def test_history_shows_every_trial_with_a_value(data: StudyTables) -> None:
    traces = {trace.name: trace for trace in figures.history_figure(data).figure.data}
    states = data.trials["state"].value_counts()
    assert len(traces["PRUNED"].x) == states["PRUNED"]
    assert len(traces["COMPLETE"].x) == states["COMPLETE"] - 1  # the baseline has its own mark
    assert list(traces["baseline"].x) == [0]
    assert len(traces["FAIL"].x) == states["FAIL"]
    assert traces["best so far"].y[-1] == pytest.approx(data.study.incumbent.value)  # type: ignore[union-attr]


def test_curves_put_the_incumbent_and_the_baseline_in_front(data: StudyTables) -> None:
    drawn = figures.curves_figure(data, "objective", "Mean").figure.data
    best = data.study.incumbent
    assert best is not None
    assert [trace.name for trace in drawn[-2:]] == ["baseline", f"best (trial {best.number})"]
    np.testing.assert_allclose(drawn[-1].y, best.curve.objective, rtol=1e-6)


def test_curves_of_different_trials_are_not_joined(data: StudyTables) -> None:
    traces = figures.curves_figure(data, "objective", "Mean").figure.data
    pruned = next(trace for trace in traces if trace.name == "PRUNED")
    gaps = np.isnan(pruned.x).sum()
    assert gaps == (data.trials["state"] == "PRUNED").sum() - 1


def test_an_undefined_class_has_no_curve(make_study: MakeStudy) -> None:
    study = load_study(make_study(trials=1, running=0, absent=("Fray",)))
    drawn = figures.class_curves_figure(study).figure.data
    assert [trace.name for trace in drawn] == ["Blowhole", "Break", "Crack", "Uneven"]


def test_parallel_axes_are_the_searched_fields_and_the_value(data: StudyTables) -> None:
    dimensions = figures.parallel_figure(data).figure.data[0].dimensions
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


def test_large_studies_are_thinned_and_say_so(
    data: StudyTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "MOST_CURVES", 6)
    monkeypatch.setattr(figures, "MOST_LINES", 8)
    monkeypatch.setattr(figures, "MOST_HISTORY_POINTS", 12)
    curves = figures.curves_figure(data, "objective", "Mean")
    assert f"Shows 6 of {data.curves['number'].nunique()} trials" in curves.note
    parallel = figures.parallel_figure(data)
    assert len(parallel.figure.data[0].dimensions[0]["values"]) == 8
    assert "Shows 8 of" in parallel.note
    history = figures.history_figure(data)
    assert "Shows 12 of 24 trials" in history.note
    shown = sum(len(t.x) for t in history.figure.data if t.mode == "markers")
    assert shown == 12
    best = next(t for t in history.figure.data if t.name == "best so far")
    assert best.y[-1] == pytest.approx(tables.history_table(data.trials)["best"].max())


def test_bars_are_sorted_with_the_largest_on_top(data: StudyTables) -> None:
    found = importances(data.study)
    bar = figures.importance_figure(found).figure.data[0]
    np.testing.assert_allclose(bar.x[::-1], found.table["importance"], rtol=1e-6)


def test_no_importances_have_their_reason(data: StudyTables) -> None:
    empty = importances(data.study).table.iloc[:0]
    drawn = figures.importance_figure(Importances(empty, 3, "Too few."))
    assert drawn.figure is None
    assert drawn.note == "Too few."


@pytest.mark.parametrize("options", [{"trials": 0}, {"trials": 2, "running": 0}])
def test_what_cannot_be_drawn_has_a_reason(make_study: MakeStudy, options: dict[str, int]) -> None:
    options |= {"states": {0: "FAIL", 1: "FAIL"}}  # type: ignore[dict-item]
    for drawing in draw_all(tabulate(load_study(make_study(**options)))).values():
        assert drawing.figure is None
        assert drawing.note.endswith(".")


def test_names_are_no_markup(make_study: MakeStudy) -> None:
    study = load_study(make_study(trials=2, running=0, classes=HOSTILE_CLASSES))
    text = json.dumps([d.figure.to_json() for d in draw_all(tabulate(study)).values() if d.figure])
    assert "<script>" not in text
    assert "<img" not in text
    assert "&lt;img src=x onerror" in text


def test_class_styles_are_distinct_and_cells_readable() -> None:
    styles = [palette.class_style(index) for index in range(29)]
    assert len(set(styles)) == 29
    for score in np.linspace(0, 1, 101):
        colors = palette.cell_colors(float(score))
        assert colors is not None
        assert palette.contrast(*colors) >= 4.5
    assert palette.cell_colors(float("nan")) is None


@pytest.mark.parametrize("color", [palette.INK, palette.MUTED, palette.ACCENT, palette.ALERT])
def test_text_stands_out_from_paper(color: str) -> None:
    assert palette.contrast(color, palette.PAPER) >= 4.5
    assert palette.contrast(color, palette.GROUND) >= 4.5


@pytest.mark.parametrize("measures", [("parameters",), ("parameters", "gflops")])
def test_the_front_is_a_line_where_there_is_one_plane(
    make_study: MakeStudy, measures: tuple[str, ...]
) -> None:
    study = load_study(several(make_study(), *measures))
    table = pareto_table(study)
    beaten, front = figures.pareto_figure(study, "parameters").figure.data

    assert len(beaten.x) + len(front.x) == len(table)
    assert set(front.customdata) == set(table.loc[table["front"], "number"])
    assert (front.mode == "lines+markers") == (len(measures) == 1)


def test_a_front_without_a_complete_trial_has_a_reason(make_study: MakeStudy) -> None:
    study = load_study(several(make_study(trials=1, running=1, states={0: "FAIL"}), "parameters"))

    assert figures.pareto_figure(study, "parameters").figure is None
