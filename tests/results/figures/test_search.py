from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from results.figures import curves, search
from results.records.study import load_study
from results.tables import StudyTables, tabulate


@pytest.fixture(scope="module")
def data(study_dir: Path) -> StudyTables:
    return tabulate(load_study(study_dir))


def test_history_shows_every_trial_with_a_value(data: StudyTables) -> None:
    traces = {trace.name: trace for trace in search.history_figure(data).figure.data}
    states = data.trials["state"].value_counts()
    assert len(traces["PRUNED"].x) == states["PRUNED"]
    assert len(traces["COMPLETE"].x) == states["COMPLETE"] - 1  # the baseline has its own mark
    assert list(traces["baseline"].x) == [0]
    assert len(traces["FAIL"].x) == states["FAIL"]
    assert traces["best so far"].y[-1] == pytest.approx(data.study.incumbent.value)  # type: ignore[union-attr]


def test_curves_put_the_incumbent_and_the_baseline_in_front(data: StudyTables) -> None:
    drawn = curves.curves_figure(data, "objective", "Mean").figure.data
    best = data.study.incumbent
    assert best is not None
    assert [trace.name for trace in drawn[-2:]] == ["baseline", f"best (trial {best.number})"]
    np.testing.assert_allclose(drawn[-1].y, best.curve.objective, rtol=1e-6)


def test_curves_of_different_trials_are_not_joined(data: StudyTables) -> None:
    traces = curves.curves_figure(data, "objective", "Mean").figure.data
    pruned = next(trace for trace in traces if trace.name == "PRUNED")
    gaps = np.isnan(pruned.x).sum()
    assert gaps == (data.trials["state"] == "PRUNED").sum() - 1
