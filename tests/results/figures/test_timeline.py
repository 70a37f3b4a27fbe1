from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from results.analysis.timeline import Timeline, timeline
from results.figures import timeline as figures
from results.records.study import StudyRecord, load_study
from tests.results.conftest import MakeStudy


@pytest.fixture(scope="module")
def study(make_study: MakeStudy) -> StudyRecord:
    return load_study(make_study(lost_every=7))


@pytest.fixture(scope="module")
def found(study: StudyRecord) -> Timeline:
    return timeline(study)


def test_every_trial_that_trained_has_a_bar(study: StudyRecord, found: Timeline) -> None:
    drawing = figures.timeline_figure(found, study)
    bars = [trace for trace in drawing.figure.data if trace.type == "bar"]
    assert sum(len(trace.x) for trace in bars) == len(found.segments)
    hours = sum(float(np.sum(trace.x)) for trace in bars)
    seconds = (found.segments["end"] - found.segments["start"]).sum()
    assert hours == pytest.approx(seconds / 3600)
    assert min(float(np.min(trace.base)) for trace in bars) == 0
    assert list(drawing.figure.layout.yaxis.ticktext) == [
        *("node-1 · 1", "node-1 · 2", "node-2 · 1", "node-2 · 2")
    ]


def test_lost_workers_and_failures_are_marked(study: StudyRecord, found: Timeline) -> None:
    drawing = figures.timeline_figure(found, study)
    marks = {trace.name: trace for trace in drawing.figure.data if trace.type == "scatter"}
    lost = [trial.number for trial in study.trials if trial.failures]
    assert sorted(marks["worker lost"].customdata) == lost
    assert "signal 9" in marks["worker lost"].text[0]
    assert f"{len(lost)} workers lost" in drawing.says
    assert "on 2 nodes" in drawing.says


def test_many_trials_are_joined_by_a_stated_rule(
    study: StudyRecord, found: Timeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "MOST_BARS", 8)
    monkeypatch.setattr(figures, "MOST_ROWS", 3)
    drawing = figures.timeline_figure(found, study)
    bars = sum(len(trace.x) for trace in drawing.figure.data if trace.type == "bar")
    assert bars <= 8 + 3
    assert "are joined until their bar is" in drawing.note
    assert "Shows the first 3 of 4 rows." in drawing.note


def test_many_marks_are_thinned_evenly(
    study: StudyRecord, found: Timeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "MOST_MARKS", 2)
    drawing = figures.timeline_figure(found, study)
    shown = [trace for trace in drawing.figure.data if trace.type == "scatter"]
    assert sorted(trace.name for trace in shown) == ["trial failed", "worker lost"]
    assert sum(len(trace.x) for trace in shown) == 2
    assert "Shows 2 of " in drawing.note


def test_old_records_have_lanes_that_are_called_assigned(make_study: MakeStudy) -> None:
    study = load_study(make_study(schema="first"))
    drawing = figures.timeline_figure(timeline(study), study)
    assert drawing.note.startswith("Lanes are assigned, not recorded")
    assert drawing.figure.layout.yaxis.ticktext[0] == "lane · 1"
    assert "node" not in drawing.says


@pytest.mark.parametrize("trials", [0, 2])
def test_without_an_epoch_there_is_a_reason(make_study: MakeStudy, trials: int) -> None:
    states = dict.fromkeys(range(trials), "FAIL")
    study = load_study(make_study(trials=trials, running=0, states=states))
    for drawing in (
        figures.timeline_figure(timeline(study), study),
        figures.utilisation_figure(timeline(study)),
    ):
        assert drawing.figure is None or trials
        assert drawing.note


def test_shares_of_the_time_fill_the_bar(found: Timeline) -> None:
    drawing = figures.utilisation_figure(found)
    total = np.sum([trace.x for trace in drawing.figure.data], axis=0)
    np.testing.assert_allclose(total, [100, 100, 100])
    assert list(drawing.figure.layout.yaxis.ticktext) == ["all workers", "node-1", "node-2"]


def test_the_sentence_names_the_largest_rest() -> None:
    table = pd.DataFrame(
        [
            {"training": 0.7, "validation": 0.1, "input": 0.15, "other": 0.01, "idle": 0.04}
            | {"node": "all", "lanes": 1, "span": 100.0}
        ]
    )
    assert figures.use_sentence(table) == (
        "Workers spent 80 % of their time in training and validation; the largest rest is waiting "
        "for images, 15.0 %."
    )


def test_one_node_is_not_shown_twice(make_study: MakeStudy) -> None:
    found = timeline(load_study(make_study(trials=4, running=0, nodes=("node-1",))))
    assert len(figures.utilisation_figure(found).figure.data[0].x) == 1
