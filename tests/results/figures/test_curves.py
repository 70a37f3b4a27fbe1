from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from results.figures import curves
from results.records.study import StudyRecord, load_study
from results.tables import StudyTables, tabulate
from tests.results.conftest import MakeStudy


@pytest.fixture(scope="module")
def data(study_dir: Path) -> StudyTables:
    return tabulate(load_study(study_dir))


def with_curve(study: StudyRecord, **columns: object) -> StudyRecord:
    """The study with its incumbent's curve changed."""
    best = study.incumbent
    assert best is not None
    changed = replace(best, curve=replace(best.curve, **columns))  # type: ignore[arg-type]
    trials = tuple(changed if trial is best else trial for trial in study.trials)
    return replace(study, trials=trials)


def test_rungs_are_drawn_where_the_config_has_them(data: StudyTables) -> None:
    drawing = curves.curves_figure(data, "objective", "Mean")
    assert [shape.x0 for shape in drawing.figure.layout.shapes] == [3, 9]
    assert "about one trial in 3 passes each" in drawing.note


def test_without_a_pruner_there_is_no_rung(make_study: MakeStudy) -> None:
    drawing = curves.curves_figure(
        tabulate(load_study(make_study(trials=3, running=0, prune=False))), "objective", "Mean"
    )
    assert not drawing.figure.layout.shapes
    assert "Nothing was pruned by rule" in drawing.note
    assert drawing.says.startswith("None of the 3 trials that trained was pruned.")


def test_a_cross_marks_where_each_trial_was_pruned(data: StudyTables) -> None:
    drawn = curves.curves_figure(data, "objective", "Mean").figure.data
    marks = next(trace for trace in drawn if trace.name == "pruned here")
    pruned = data.trials[data.trials["state"] == "PRUNED"].set_index("number")["epochs"]
    assert dict(zip(marks.customdata, marks.x, strict=True)) == pruned.to_dict()


def test_the_sentence_counts_the_stops(data: StudyTables) -> None:
    counts = data.trials.loc[data.trials["state"] == "PRUNED", "epochs"].value_counts()
    said = curves.stops_sentence(data)
    begun = (data.trials["epochs"] > 0).sum()
    assert f"{counts.sum()} of the {begun} trials that trained were pruned" in said
    assert f"{counts.max()} of them after {counts.idxmax()} epochs" in said


def test_the_sentence_tells_whether_more_epochs_helped(data: StudyTables) -> None:
    best = data.study.incumbent
    assert best is not None
    early = [replace(t, best_epoch=5) if t is best else t for t in data.study.trials]
    study = replace(data.study, trials=tuple(early))
    assert "in epoch 5 of 27: more epochs did not help" in curves.stops_sentence(tabulate(study))
    late = [replace(t, best_epoch=26) if t is best else t for t in data.study.trials]
    study = replace(data.study, trials=tuple(late))
    assert "near its end: more epochs may give more" in curves.stops_sentence(tabulate(study))


def test_loss_and_dice_may_disagree(data: StudyTables) -> None:
    best = data.study.incumbent
    assert best is not None
    loss = np.full(len(best.curve), 0.9)
    loss[3] = 0.5
    said = curves.loss_sentence(with_curve(data.study, validation_loss=loss))
    assert "lowest validation loss, 0.500, in epoch 4" in said
    assert "with a loss 0.400 higher" in said
    nothing = with_curve(data.study, validation_loss=np.full(len(best.curve), np.nan))
    assert "no finite validation loss" in curves.loss_sentence(nothing)


def test_classes_at_zero_are_named_but_not_absent_ones(data: StudyTables) -> None:
    best = data.study.incumbent
    assert best is not None
    said = curves.class_curves_sentence(data.study)
    assert "Fray" not in said  # no pixel of it in the validation split
    dice = best.curve.dice.copy()
    dice[:, data.study.classes.index("Crack")] = 0.0
    said = curves.class_curves_sentence(with_curve(data.study, dice=dice))
    assert said.endswith("; Crack stayed at zero in every epoch.")
    assert curves.class_curves_sentence(replace(data.study, trials=())) == ""
