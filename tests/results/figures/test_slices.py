from __future__ import annotations

import numpy as np
import pytest

from results.figures.contours import contour_figure, contours_note
from results.figures.slices import kinds_of, slice_figures, slices_note
from results.records.study import load_study
from results.tables import StudyTables, tabulate
from results.tables.parameters import scored_trials, shown_trials
from tests.results.conftest import MakeStudy


@pytest.fixture(scope="module")
def data(make_study: MakeStudy) -> StudyTables:
    return tabulate(load_study(make_study(trials=40)))


def test_every_trial_stands_in_every_slice_by_its_kind(data: StudyTables) -> None:
    shown = shown_trials(data)
    kinds = kinds_of(data, shown)
    figures = slice_figures(data)
    assert len(figures) == 6
    for drawing in figures:
        drawn = {trace.name: set(trace.customdata) for trace in drawing.figure.data}
        assert drawn == {
            kind: set(shown["number"][(kinds == kind).to_numpy()]) for kind in set(kinds)
        }
    assert drawn["baseline"] == {0}
    assert drawn["best"] == {data.study.incumbent.number}  # type: ignore[union-attr]


def test_a_logarithmic_field_stands_by_its_power(data: StudyTables) -> None:
    rate = slice_figures(data)[4].figure
    complete = next(trace for trace in rate.data if trace.name == "COMPLETE")
    trials = data.trials.set_index("number").loc[list(complete.customdata)]
    np.testing.assert_allclose(complete.x, np.log10(trials["train.learning_rate"]), rtol=1e-5)
    np.testing.assert_allclose(complete.y, trials["value"], rtol=1e-5)


def test_marks_at_a_choice_stay_beside_it(data: StudyTables) -> None:
    loss = slice_figures(data)[5].figure
    for trace in loss.data:
        assert np.abs(trace.x - np.round(trace.x)).max() <= 0.25


def test_a_slice_says_what_the_best_have(data: StudyTables) -> None:
    complete = data.trials[data.trials["state"] == "COMPLETE"]
    best = complete.sort_values("value", ascending=False).head(5)["model.num_layers"]
    ends = sorted({best.min(), best.max()})
    assert slice_figures(data)[0].says == f"The best 5 trials: {' to '.join(map(str, ends))}."


def test_without_a_trial_there_is_no_slice(make_study: MakeStudy) -> None:
    data = tabulate(load_study(make_study(trials=2, running=2)))
    assert slice_figures(data) == []
    assert slices_note(data).startswith("Each mark is one of 0 trials")


def test_contours_of_ranges_and_cells_of_choices(data: StudyTables) -> None:
    lines = contour_figure(data, ("train.learning_rate", "model.dropout_rate"))
    assert lines.figure.data[0].type == "contour"
    cells = contour_figure(data, ("train.learning_rate", "train.loss"))
    heat = cells.figure.data[0]
    assert heat.type == "heatmap"
    assert heat.z.shape == (3, 28)
    known = heat.z[np.isfinite(heat.z)]
    values = scored_trials(data)["value"]
    assert values.min() - 1e-6 <= known.min() <= known.max() <= values.max() + 1e-6
    assert f"{known.max():.3f} on average" in cells.says
    assert "near ones weighing more" in contours_note(data)


def test_the_highest_cell_is_named_by_its_choice(data: StudyTables) -> None:
    drawing = contour_figure(data, ("train.learning_rate", "train.loss"))
    row, _ = np.unravel_index(np.nanargmax(drawing.figure.data[0].z), (3, 28))
    losses = ("cross_entropy_dice", "focal_tversky", "cross_entropy")
    assert f"and loss {losses[row]}:" in drawing.says


def test_too_few_trials_make_no_contour(make_study: MakeStudy) -> None:
    data = tabulate(load_study(make_study(trials=4, running=0)))
    drawing = contour_figure(data, ("train.learning_rate", "train.loss"))
    assert drawing.figure is None
    assert "Needs 10 trials with a value; this study has" in drawing.note
