from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from results import tables
from results.analysis.importance import importance_table
from results.figures import classes, curves, parallel, search
from results.figures.drawing import Drawing
from results.records.study import load_study
from results.sections.parameter_parts import importance_part
from results.style import palette
from results.tables import StudyTables, tabulate
from tests.results.conftest import HOSTILE_CLASSES, MakeStudy


@pytest.fixture(scope="module")
def data(study_dir: Path) -> StudyTables:
    return tabulate(load_study(study_dir))


def draw_all(data: StudyTables) -> dict[str, Drawing]:
    return {
        "history": search.history_figure(data),
        "objective": curves.curves_figure(data, "objective", "Mean"),
        "loss": curves.curves_figure(data, "validation_loss", "Loss"),
        "classes": classes.class_curves_figure(data.study),
        "parallel": parallel.parallel_figure(data),
        "importance": importance_part(data.study, importance_table(data.study))["drawing"],
    }


def test_large_studies_are_thinned_and_say_so(
    data: StudyTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "MOST_CURVES", 6)
    monkeypatch.setattr("results.tables.parameters.MOST_TRIALS", 8)
    monkeypatch.setattr(search, "MOST_HISTORY_POINTS", 12)
    drawn = curves.curves_figure(data, "objective", "Mean")
    assert f"Shows 6 of {data.curves['number'].nunique()} trials" in drawn.note
    lines = parallel.parallel_figure(data)
    assert len(lines.figure.data[0].dimensions[0]["values"]) == 8
    assert "Shows 8 of" in lines.note
    history = search.history_figure(data)
    assert "Shows 12 of 24 trials" in history.note
    shown = sum(len(t.x) for t in history.figure.data if t.mode == "markers")
    assert shown == 12
    best = next(t for t in history.figure.data if t.name == "best so far")
    assert best.y[-1] == pytest.approx(tables.history_table(data.trials)["best"].max())


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
