from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from results.records.study import StudyRecord, load_study
from results.tables.data import class_table, input_account, input_table
from tests.results.conftest import MakeStudy


@pytest.fixture(scope="module")
def study(make_study: MakeStudy) -> StudyRecord:
    return load_study(make_study(trials=3, running=0, shared=True))


def with_splits(study: StudyRecord, **splits: object) -> StudyRecord:
    return replace(study, data={"splits": splits}, classes=("background", "Crack"))


def test_rare_classes_are_set_against_training(study: StudyRecord) -> None:
    table = class_table(
        with_splits(
            study,
            train={"pixels": {"background": 90, "Crack": 10}, "groups_with": {"Crack": 4}},
            valid={"pixels": {"background": 60, "Crack": 40}},
            test={},
        )
    ).set_index(["split", "class"])
    assert table.loc[("train", "Crack"), "share"] == pytest.approx(0.1)
    assert table.loc[("valid", "Crack"), "against_train"] == pytest.approx(4.0)
    assert table.loc[("train", "Crack"), "groups_with"] == 4
    assert np.isnan(table.loc[("valid", "Crack"), "groups_with"])
    assert np.isnan(table.loc[("test", "Crack"), "against_train"])


def test_a_class_without_training_pixels_has_no_ratio(study: StudyRecord) -> None:
    pixels = {"train": {"background": 9, "Crack": 0}, "valid": {"background": 5, "Crack": 5}}
    table = class_table(with_splits(study, **{s: {"pixels": p} for s, p in pixels.items()}))
    assert table.loc[table["class"] == "Crack", "against_train"].isna().all()


def test_without_data_there_is_no_row(study: StudyRecord) -> None:
    assert class_table(replace(study, data={})).empty


def test_the_input_is_told_by_its_own_account(study: StudyRecord) -> None:
    told = json.loads((study.path / "pipeline.json").read_text())
    account = input_account(study)
    assert account is not None
    assert (account.source, account.sharing) == ("pipeline.json", "service")
    assert account.hit_rate == 0.5
    assert account.waiting == pytest.approx(told["input_seconds"] / told["train_seconds"])
    row = input_table(account).iloc[0]
    assert row["images_per_second"] == pytest.approx(told["images"] / told["train_seconds"])


@pytest.mark.parametrize("content", [None, "{torn", "[]", '{"train_seconds": 0}'])
def test_without_an_account_it_is_summed_over_epochs(
    make_study: MakeStudy, content: str | None
) -> None:
    path = make_study(trials=3, running=0)
    if content is not None:
        (path / "pipeline.json").write_text(content)
    found = load_study(path)
    account = input_account(found)
    assert account is not None
    assert (account.source, account.hit_rate) == ("epochs", None)
    waited = sum(float(trial.curve.input_seconds.sum()) for trial in found.trials)
    assert account.input_seconds == pytest.approx(waited)


def test_old_records_tell_nothing_of_their_input(make_study: MakeStudy) -> None:
    assert input_account(load_study(make_study(trials=2, running=0, schema="first"))) is None
    assert input_table(None).empty
