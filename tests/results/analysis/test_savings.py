from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from results.analysis.savings import savings
from results.records.study import StudyRecord, TrialRecord, load_study
from tests.results.conftest import MakeStudy


@pytest.fixture(scope="module")
def record(make_study: MakeStudy) -> StudyRecord:
    """Two COMPLETE trials of 12 epochs."""
    states = {0: "COMPLETE", 1: "COMPLETE"}
    return load_study(make_study(trials=2, epochs=12, running=0, states=states))


def timed(
    record: StudyRecord, number: int, state: str, seconds: list[float], end: float
) -> TrialRecord:
    """A trial whose epochs took so long, one after another up to ``end``."""
    like = record.trials[0]
    count = len(seconds)
    ended = end - np.cumsum([0.0, *seconds[:0:-1]])[::-1]
    changes = {
        name: getattr(like.curve, name)[:count]
        for name in ("epoch", "objective", "dice", "train_seconds", "validate_seconds")
    }
    changes |= {name: np.zeros(count) for name in ("train_seconds", "validate_seconds")}
    curve = replace(
        like.curve,
        **changes | {"input_seconds": np.zeros(count)},
        total_seconds=np.array(seconds),
        ended=ended,
        workers=("a/1",) * count,
    )
    return replace(like, number=number, state=state, curve=curve)  # type: ignore[arg-type]


def test_a_pruned_trial_saves_the_epochs_it_was_spared(record: StudyRecord) -> None:
    trials = (
        timed(record, 0, "COMPLETE", [10.0] * 12, 120.0),
        timed(record, 1, "PRUNED", [30.0, 10.0], 160.0),
        timed(record, 2, "PRUNED", [5.0] * 4, 180.0),
        timed(record, 3, "RUNNING", [20.0], 200.0),
    )
    found = savings(replace(record, trials=trials))

    # 10 epochs of 20 seconds, and 8 of 5.
    assert found.table.to_numpy().tolist() == [[1, 2, 10, 40.0, 200.0], [2, 4, 8, 20.0, 40.0]]
    assert (found.epochs, found.epochs_saved) == (19, 18)
    assert (found.seconds, found.seconds_saved) == (200.0, 240.0)
    assert found.share == pytest.approx(240 / 440)
    # 3 finished trials in 200 seconds.
    assert found.trials_per_hour == pytest.approx(3 * 18)
    assert found.reason is None


def test_a_searched_number_of_epochs_is_the_trials_own(record: StudyRecord) -> None:
    pruned = timed(record, 0, "PRUNED", [5.0, 5.0], 10.0)
    pruned = replace(pruned, params={"train.epochs": 5})
    config = {"train": {"epochs": {"int": [3, 9]}}}

    assert savings(replace(record, config=config, trials=(pruned,))).epochs_saved == 3


def test_no_saving_has_its_reason(record: StudyRecord) -> None:
    found = savings(record)
    assert found.table.empty
    assert (found.reason, found.seconds_saved, found.share) == ("No trial was pruned.", 0.0, 0.0)
    untold = replace(record, config={}, trials=(timed(record, 0, "PRUNED", [5.0], 5.0),))
    assert "how many epochs" in str(savings(untold).reason)
    nothing = savings(replace(record, trials=()))
    assert math.isnan(nothing.share)
    assert math.isnan(nothing.trials_per_hour)
