from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from results.records.study import StudyRecord, TrialRecord, load_study
from results.tables import trials_table
from results.tables.search import ended, progress_table, rungs, stops_table
from tests.results.conftest import MakeStudy


def at(minute: int) -> str:
    return f"2026-03-02T10:{minute:02d}:00+00:00"


@pytest.fixture(scope="module")
def study(make_study: MakeStudy) -> StudyRecord:
    """Trial 0 ends last; 1 is pruned; 2 tells no end."""
    found = load_study(make_study(trials=3, running=0, epochs=4, schema="first"))
    times = [(at(0), at(30)), (at(0), at(6)), (at(6), None)]
    facts = [("COMPLETE", 0.5, 4), ("PRUNED", 0.9, 2), ("COMPLETE", 0.3, 4)]
    trials = [
        replace(trial, started=start, finished=end, state=state, value=value, epochs=epochs)
        for trial, (start, end), (state, value, epochs) in zip(
            found.trials, times, facts, strict=True
        )
    ]
    return replace(found, trials=tuple(short(trial) for trial in trials))


def short(trial: TrialRecord) -> TrialRecord:
    curve = trial.curve
    names = [name for name in vars(curve) if name != "workers"]
    cut = {name: getattr(curve, name)[: trial.epochs] for name in names}
    return replace(trial, curve=replace(curve, **cut, workers=curve.workers[: trial.epochs]))


def test_progress_is_in_the_order_of_the_ends(study: StudyRecord) -> None:
    table = progress_table(study, trials_table(study))
    assert list(table["number"]) == [1, 0, 2]
    assert list(table["epochs_spent"]) == [2, 6, 10]
    np.testing.assert_allclose(table["hours"], [0.1, 0.5, np.nan])
    np.testing.assert_allclose(table["best"], [np.nan, 0.5, 0.5])  # a pruned one is not the best


def test_a_running_trial_ends_with_its_last_epoch(make_study: MakeStudy) -> None:
    trial = load_study(make_study(trials=1, running=1)).trials[0]
    assert trial.finished is None
    assert ended(trial) == trial.curve.ended[-1]
    assert np.isnan(ended(replace(trial, curve=replace(trial.curve, ended=trial.curve.ended[:0]))))
    assert np.isnan(ended(replace(trial, finished="yesterday", curve=no_times(trial).curve)))


def no_times(trial: TrialRecord) -> TrialRecord:
    return replace(trial, curve=replace(trial.curve, ended=np.full(len(trial.curve), np.nan)))


def test_no_trial_is_no_row(study: StudyRecord) -> None:
    empty = replace(study, trials=())
    assert progress_table(empty, trials_table(empty)).empty


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ({"pruner": "asha", "grace_epochs": 5, "reduction_factor": 3}, (5, 15, 45)),
        ({"pruner": "hyperband", "grace_epochs": 8, "reduction_factor": 2}, (8, 16, 32)),
        ({"pruner": "asha"}, (5, 15, 45)),
        ({"pruner": "median", "grace_epochs": 5}, ()),
        ({"pruner": "none"}, ()),
        ({"pruner": {"reduction_factor": 3}}, ()),
        ({"pruner": "asha", "grace_epochs": 0}, ()),
        ({}, ()),
    ],
)
def test_rungs_are_those_of_the_config(search: dict[str, object], expected: tuple[int]) -> None:
    assert rungs({"search": search}, 50) == expected
    assert rungs({}, 50) == ()


def test_stops_are_counted_by_epoch() -> None:
    trials = pd.DataFrame(
        {"state": ["PRUNED", "PRUNED", "COMPLETE", "PRUNED"], "epochs": [9, 3, 27, 9]}
    )
    assert stops_table(trials).to_dict("list") == {"epoch": [3, 9], "trials": [1, 2]}
    assert stops_table(trials.iloc[2:3]).empty
