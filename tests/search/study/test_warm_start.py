"""Trials of one real study brought into another."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.trial import FrozenTrial, TrialState

from search.config.errors import ConfigError
from search.config.loading import config_from_tree
from search.config.schema import StudyConfig
from search.study.attributes import FROM_STUDY, REFUSED
from search.study.opening import open_study, started_trials
from search.study.proposer import Proposer
from search.study.warm_start import bring_in, read_earlier

CLASSES = ("background", "Crack")
PRINT = "0123456789abcdef"
TREE = {
    "model": {
        "num_layers": {"int": [2, 5]},
        "base_filters": {"choice": [4, 8]},
        "base_kernel": 3,
        "dropout_rate": 0.0,
    },
    "train": {"epochs": 6},
}


def config_in(folder: Path, name: str, **sections: Any) -> StudyConfig:
    study = {"storage_path": str(folder), "name": name, **sections.get("study", {})}
    tree: dict[str, Any] = {"study": study}
    for section in ("model", "train", "search"):
        tree[section] = TREE.get(section, {}) | sections.get(section, {})
    config = config_from_tree(tree)
    config.directory.mkdir(parents=True, exist_ok=True)
    return config


def write_earlier(folder: Path, **sections: Any) -> StudyConfig:
    """A study of six trials: four COMPLETE, one PRUNED, one FAIL, and what is no result."""
    config = config_in(folder, "earlier", **sections)
    record = {
        "identity": "e1",
        "name": "earlier",
        "classes": list(CLASSES),
        "data_fingerprint": PRINT,
        "config": config.to_tree(),
    }
    (config.directory / "study.yaml").write_text(yaml.safe_dump(record), encoding="utf-8")
    study = open_study(config)
    distributions = {name: d.to_optuna() for name, d in config.space.items()}
    for number in range(6):
        study.enqueue_trial({"model.num_layers": 2 + number % 4})
        trial = study.ask(distributions)
        trial.report(0.1 * number, 1)
        trial.set_user_attr("best_value", 0.1 * number)
        if number == 4:
            study.tell(trial, state=TrialState.PRUNED)
        elif number == 5:
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, 0.1 * number)
    refused = study.ask(distributions)
    refused.set_user_attr(REFUSED, {"max_parameters": "why"})
    study.tell(refused, state=TrialState.PRUNED)
    study.ask(distributions)
    return config


def brought(config: StudyConfig, *paths: Path) -> tuple[list[FrozenTrial], list[str]]:
    config = config.learning_from(paths)
    earlier = read_earlier(config, CLASSES, PRINT)
    study = open_study(config)
    bring_in(study, earlier)
    trials = [t for t in study.get_trials() if FROM_STUDY in t.user_attrs]
    return trials, [note for one in earlier for note in one.notes]


def test_finished_trials_come_with_their_values_and_are_no_trials_of_this_study(
    tmp_path: Path,
) -> None:
    before = write_earlier(tmp_path)
    config = config_in(tmp_path, "later", search={"max_parameters": 10_000})
    trials, notes = brought(config, before.directory)

    assert [t.state.name for t in trials] == ["COMPLETE"] * 4 + ["PRUNED"]
    assert [t.value for t in trials[:4]] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert [t.user_attrs[FROM_STUDY]["number"] for t in trials] == [0, 1, 2, 3, 4]
    assert trials[3].intermediate_values == {1: pytest.approx(0.3)}
    # This study's limits are told of them too.
    assert trials[3].constraints["parameters"] > 0 > trials[0].constraints["parameters"]
    assert notes == []
    assert started_trials(open_study(config)) == []


def test_running_again_brings_nothing_twice(tmp_path: Path) -> None:
    before = write_earlier(tmp_path)
    config = config_in(tmp_path, "later")
    first, _ = brought(config, before.directory)
    # Another study that had learnt from the same one brings the same trials.
    middle = config_in(tmp_path, "middle")
    brought(middle, before.directory)
    record = yaml.safe_load((before.directory / "study.yaml").read_text())
    record |= {"identity": "m1", "name": "middle", "config": middle.to_tree()}
    (middle.directory / "study.yaml").write_text(yaml.safe_dump(record))
    second, _ = brought(config, before.directory, middle.directory)

    assert [t.number for t in second] == [t.number for t in first]


def test_a_proposal_known_from_elsewhere_takes_its_result_but_a_baseline_is_trained(
    tmp_path: Path,
) -> None:
    before = write_earlier(tmp_path)
    config = config_in(tmp_path, "later").learning_from([before.directory])
    study = open_study(config)
    bring_in(study, read_earlier(config, CLASSES, PRINT))
    proposer = Proposer(study, config, 2)
    known = study.get_trials()[3]
    study.enqueue_trial(known.params)
    trial = study.ask(proposer._space.distributions)

    assert not proposer.admit(trial)
    assert study.get_trials()[trial.number].value == known.value
    study.enqueue_trial(known.params, user_attrs={"baseline": "known"})
    baseline = proposer.next()
    assert baseline is not None
    assert baseline.params == known.params


def test_a_changed_space_is_named_and_what_lies_outside_is_left_out_and_counted(
    tmp_path: Path,
) -> None:
    before = write_earlier(tmp_path)
    model = {"num_layers": {"int": [3, 8]}, "base_kernel": {"choice": [3, 5]}}
    rate = {"learning_rate": {"float": [1e-5, 0.1], "log": True}}
    config = config_in(tmp_path, "later", model=model, train=rate)
    trials, notes = brought(config, before.directory)
    layers = [t.params["model.num_layers"] for t in trials]

    assert layers == [3, 4, 5]
    assert {t.params["model.base_kernel"] for t in trials} == {3}
    assert trials[0].distributions == {n: d.to_optuna() for n, d in config.space.items()}
    path = before.directory
    outside = "model.num_layers of 2 of its trials lies outside this study's; they are left out"
    assert f"{path}: {outside}" in notes
    assert f"{path}: model.num_layers was {{'int': [2, 5]}}, here it is {{'int': [3, 8]}}" in notes
    assert any("model.base_kernel was 3" in note for note in notes)


def test_a_field_that_is_constant_here_leaves_other_values_out(tmp_path: Path) -> None:
    before = write_earlier(tmp_path)
    trials, notes = brought(config_in(tmp_path, "later", model={"num_layers": 3}), before.directory)

    assert [t.user_attrs[FROM_STUDY]["number"] for t in trials] == [1]
    assert any("model.num_layers of 4 of its trials" in note for note in notes)


def test_another_meaning_is_refused_naming_each_difference(tmp_path: Path) -> None:
    before = write_earlier(tmp_path)
    config = config_in(
        tmp_path, "later", search={"objective": "worst_class_dice"}, train={"epochs": 7}
    ).learning_from([before.directory, tmp_path / "nowhere"])
    with pytest.raises(ConfigError) as caught:
        read_earlier(config, ("background", "Fray"), "another")

    text = str(caught.value)
    assert len(caught.value.problems) == 4
    assert "search.objective: expected 'worst_class_dice', received 'mean_foreground_dice'" in text
    assert "classes: expected background, Fray, received background, Crack" in text
    assert "train.epochs: expected 7, received 6" in text
    assert f"{tmp_path / 'nowhere'}: expected a study's directory" in text


def test_other_data_are_refused(tmp_path: Path) -> None:
    before = write_earlier(tmp_path)
    config = config_in(tmp_path, "later").learning_from([before.directory])
    with pytest.raises(ConfigError, match="data: expected the fingerprint another"):
        read_earlier(config, CLASSES, "another")


def test_a_study_without_its_journal_is_refused_and_nothing_is_made_there(tmp_path: Path) -> None:
    before = write_earlier(tmp_path)
    journal = before.directory / "optuna.journal"
    shutil.move(journal, tmp_path / "elsewhere")
    config = config_in(tmp_path, "later").learning_from([before.directory])
    with pytest.raises(ConfigError, match="expected its Optuna study to be readable"):
        read_earlier(config, CLASSES, PRINT)

    assert not journal.exists()


def test_a_torn_journal_is_read_and_not_mended(tmp_path: Path) -> None:
    before = write_earlier(tmp_path)
    journal = before.directory / "optuna.journal"
    content = journal.read_bytes() + b'{"op_code": 4, "wor'
    journal.write_bytes(content)
    trials, _ = brought(config_in(tmp_path, "later"), before.directory)

    assert len(trials) == 5
    assert journal.read_bytes() == content
