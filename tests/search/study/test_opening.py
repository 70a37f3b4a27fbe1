from __future__ import annotations

import json
from pathlib import Path

import pytest
from optuna.trial import Trial, TrialState

from foundation.files import write_json
from search.config.errors import ConfigError
from search.config.loading import config_from_tree
from search.config.schema import StudyConfig
from search.storage.files import trial_folder
from search.study.attributes import derive_seed
from search.study.opening import mirror_trial, open_study, started_trials


def config_with(folder: Path, **search: object) -> StudyConfig:
    config = config_from_tree(
        {"study": {"storage_path": str(folder)}, "search": {"startup_trials": 2, **search}}
    )
    (config.directory / "trials").mkdir(parents=True, exist_ok=True)
    return config


def test_a_study_is_found_again_in_its_directory(tmp_path: Path) -> None:
    config = config_with(tmp_path)
    open_study(config).ask({})

    assert (config.directory / "optuna.journal").exists()
    assert len(open_study(config).get_trials()) == 1


def test_a_storage_url_takes_the_journals_place(tmp_path: Path) -> None:
    tree = config_with(tmp_path).to_tree()
    tree["study"]["storage"] = f"sqlite:///{tmp_path / 'study.db'}"
    config = config_from_tree(tree)
    open_study(config).ask({})

    assert len(open_study(config).get_trials()) == 1
    assert not (config.directory / "optuna.journal").exists()


def test_a_journal_with_an_unfinished_last_line_is_mended(tmp_path: Path) -> None:
    config = config_with(tmp_path)
    open_study(config).ask({})
    journal = config.directory / "optuna.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 5, "work')

    study = open_study(config)
    assert journal.read_bytes()[: len(whole)] == whole
    study.ask({})
    assert len(open_study(config).get_trials()) == 2


def test_a_storage_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    tree = config_with(tmp_path).to_tree()
    tree["study"]["storage"] = "nonsense"
    with pytest.raises(ConfigError, match=r"study.storage: expected a database URL"):
        open_study(config_from_tree(tree))


def test_another_directorys_study_in_a_shared_storage_is_refused(tmp_path: Path) -> None:
    config = config_with(tmp_path)
    open_study(config, "mine").ask({})
    open_study(config, "mine")
    with pytest.raises(ConfigError, match="belongs to another study directory"):
        open_study(config, "yours")


def test_baselines_that_wait_are_not_started(tmp_path: Path) -> None:
    baseline = {"name": "known", "params": {"model.num_layers": 4}}
    study = open_study(config_with(tmp_path, baselines=[baseline]))

    assert len(study.get_trials()) == 1
    assert started_trials(study) == []


def test_seeds_differ_by_each_part_and_repeat() -> None:
    seeds = {derive_seed(a, b) for a in range(20) for b in range(20)}

    assert len(seeds) == 400
    assert derive_seed(3, 4) == derive_seed(3, 4)
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_the_mirror_says_what_the_study_says(tmp_path: Path) -> None:
    config = config_with(tmp_path)
    study = open_study(config)
    trial = study.ask({name: d.to_optuna() for name, d in config.space.items()})
    trial.set_user_attr("best_value", 0.4)
    trial.set_user_attr("reason", "why")
    frozen = study.tell(Trial(study, trial._trial_id), state=TrialState.FAIL)
    mirror_trial(config.directory, frozen)

    record = json.loads((trial_folder(config.directory, 0) / "trial.json").read_text())
    assert (record["state"], record["value"], record["reason"]) == ("FAIL", 0.4, "why")
    assert record["params"] == trial.params
    assert record["started"] < record["finished"] or record["started"] == record["finished"]


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})

    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]
