from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from results.analysis.evaluators import Evaluator
from results.analysis.importance import LIMITS, TargetImportances, importance_table
from results.records.study import StudyRecord, load_study
from tests.results.conftest import MakeStudy


@pytest.fixture(scope="module")
def many(make_study: MakeStudy) -> StudyRecord:
    """150 COMPLETE trials, whose value the learning rate and the loss decide."""
    states = dict.fromkeys(range(1, 151), "COMPLETE")
    return load_study(make_study(trials=151, epochs=12, running=0, states=states, fail_every=999))


def of_objective(study: StudyRecord) -> TargetImportances:
    return importance_table(study, classes=False)


def test_the_field_that_decides_is_found(many: StudyRecord) -> None:
    found = of_objective(many)
    assert found.reason is None
    assert (found.table["trials"] == 151).all()
    assert found.table["importance"].sum() == pytest.approx(1.0)
    assert found.table["importance"].is_monotonic_decreasing
    shares = found.table.set_index("parameter")["importance"]
    assert shares["train.learning_rate"] > 2 * shares["model.base_filters"]


def test_trials_outside_the_ranges_are_left_out(many: StudyRecord) -> None:
    odd = replace(many.trials[3], params={**many.trials[3].params, "model.num_layers": 9})
    study = replace(many, trials=(*many.trials[:3], odd, *many.trials[4:]))
    assert (of_objective(study).table["trials"] == 150).all()


def test_few_trials_have_a_reason_instead(make_study: MakeStudy) -> None:
    found = of_objective(load_study(make_study(trials=3)))
    assert found.table.empty
    assert found.reason is not None
    assert "at least 10 COMPLETE trials" in found.reason


def test_equal_values_have_a_reason_instead(many: StudyRecord) -> None:
    study = replace(many, trials=tuple(replace(trial, value=0.25) for trial in many.trials))
    found = of_objective(study)
    assert found.table.empty
    assert found.reason == "No tenth of the trials scores higher than the rest."


def test_one_field_has_a_reason_instead(many: StudyRecord) -> None:
    config = {"model": {"num_layers": {"int": [3, 6]}}}
    assert "searched 1" in str(of_objective(replace(many, config=config)).reason)


def test_nothing_is_announced(
    many: StudyRecord, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    of_objective(many)
    assert capfd.readouterr() == ("", "")


def test_each_class_has_importances_of_its_own(many: StudyRecord) -> None:
    found = importance_table(many)
    table = found.table

    assert found.reason is None
    assert list(dict.fromkeys(table["target"])) == [many.objective, *many.classes[1:]]
    assert (table["trials"] == 151).all()
    sums = table.groupby("target")["importance"].sum()
    assert sums.to_list() == pytest.approx([1.0] * 6)
    assert (table["low"] <= table["importance"]).all()
    assert (table["importance"] <= table["high"]).all()
    assert (table["high"] > table["low"]).any()
    whole = table[table["kind"] == "objective"].set_index("parameter")["importance"]
    same = of_objective(many).table.set_index("parameter")["importance"]
    pd.testing.assert_series_equal(whole, same, check_like=True)


@pytest.mark.parametrize("evaluator", ["ped_anova", "fanova", "mean_decrease_impurity"])
def test_every_evaluator_finds_what_moves_one_class(
    many: StudyRecord, evaluator: Evaluator
) -> None:
    """Crack depends on the number of levels alone, the objective on the learning rate alone."""
    rng = np.random.default_rng(0)
    crack = many.classes.index("Crack")
    trials = []
    for trial in many.trials[1:121]:
        dice = trial.curve.dice.copy()
        dice[:, crack] = 0.1 * float(trial.params["model.num_layers"] or 0) + rng.normal() * 0.01
        value = 1 + np.log10(float(trial.params["train.learning_rate"] or 1)) / 5
        trials.append(replace(trial, value=value, curve=replace(trial.curve, dice=dice)))
    table = importance_table(replace(many, trials=tuple(trials)), evaluator).table
    first = table.drop_duplicates("target").set_index("target")

    assert first.loc["Crack", "parameter"] == "model.num_layers"
    assert first.loc[many.objective, "parameter"] == "train.learning_rate"
    assert first.loc["Crack", "low"] > 0.5
    assert (table["trials"] == min(120, LIMITS[evaluator])).all()


def test_a_class_at_zero_is_left_out_with_a_reason(many: StudyRecord) -> None:
    fray = many.classes.index("Fray")
    trials = []
    for trial in many.trials:
        dice = trial.curve.dice.copy()
        dice[:, fray] = 0.0
        dice[:, fray + 1] = np.nan
        trials.append(replace(trial, curve=replace(trial.curve, dice=dice)))
    found = importance_table(replace(many, trials=tuple(trials)))

    assert found.left_out["Fray"] == "No tenth of the trials scores higher than the rest."
    assert "0 have a score" in found.left_out["Uneven"]
    assert not {"Fray", "Uneven"} & set(found.table["target"])
    assert found.reason is None


def test_no_target_at_all_has_a_reason(many: StudyRecord, make_study: MakeStudy) -> None:
    few = importance_table(load_study(make_study(trials=3)))
    assert few.table.empty
    assert "at least 10 COMPLETE trials" in str(few.reason)
    equal = replace(many, trials=tuple(replace(t, value=0.25) for t in many.trials))
    assert "scores higher than the rest" in str(importance_table(equal, classes=False).reason)
