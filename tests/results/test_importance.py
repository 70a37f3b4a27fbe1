from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from results.importance import importances
from results.records import StudyRecord, load_study
from tests.results.conftest import MakeStudy


@pytest.fixture(scope="module")
def many(make_study: MakeStudy) -> StudyRecord:
    """150 COMPLETE trials, whose value the learning rate and the loss decide."""
    states = dict.fromkeys(range(1, 151), "COMPLETE")
    return load_study(make_study(trials=151, epochs=12, running=0, states=states, fail_every=999))


def test_the_field_that_decides_is_found(many: StudyRecord) -> None:
    found = importances(many)
    assert found.reason is None
    assert found.trials == 151
    assert found.table["importance"].sum() == pytest.approx(1.0)
    assert found.table["importance"].is_monotonic_decreasing
    shares = found.table.set_index("parameter")["importance"]
    assert shares["train.learning_rate"] > 2 * shares["model.base_filters"]


def test_trials_outside_the_ranges_are_left_out(many: StudyRecord) -> None:
    odd = replace(many.trials[3], params={**many.trials[3].params, "model.num_layers": 9})
    study = replace(many, trials=(*many.trials[:3], odd, *many.trials[4:]))
    assert importances(study).trials == 150


def test_few_trials_have_a_reason_instead(make_study: MakeStudy) -> None:
    found = importances(load_study(make_study(trials=3)))
    assert found.table.empty
    assert found.reason is not None
    assert "at least 10 COMPLETE trials" in found.reason


def test_equal_values_have_a_reason_instead(many: StudyRecord) -> None:
    study = replace(many, trials=tuple(replace(trial, value=0.25) for trial in many.trials))
    assert importances(study).reason == "All COMPLETE trials have the same value."


def test_one_field_has_a_reason_instead(many: StudyRecord) -> None:
    config = {"model": {"num_layers": {"int": [3, 6]}}}
    assert "searched 1" in str(importances(replace(many, config=config)).reason)


def test_nothing_is_announced(
    many: StudyRecord, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    importances(many)
    assert capfd.readouterr() == ("", "")
