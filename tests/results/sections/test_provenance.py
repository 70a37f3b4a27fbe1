from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from results.records.study import StudyRecord, load_study
from results.sections import provenance
from results.sections.material import Material
from search.config.loading import load_config

CONFIG = Path(__file__).parents[3] / "configs" / "magnetic_tile_cpu.yaml"


@pytest.fixture(scope="module")
def study(study_dir: Path) -> StudyRecord:
    return load_study(study_dir)


def test_the_config_shown_is_one_that_run_reads(study: StudyRecord, tmp_path: Path) -> None:
    config = load_config(CONFIG)
    shown = provenance.config_text(replace(study, config=config.to_tree()))
    file = tmp_path / "study.yaml"
    file.write_text(shown, encoding="utf-8")
    assert load_config(file).to_tree() == config.to_tree()


def test_every_field_is_either_searched_or_fixed(study: StudyRecord) -> None:
    real = replace(study, config=load_config(CONFIG).to_tree())
    searched = set(provenance.space_table(real)["field"])
    fixed = set(provenance.fixed_table(real)["field"])
    assert "train.learning_rate" in searched
    assert {"search.grace_epochs", "resources.cpus_per_trial", "pipeline.sharing"} <= fixed
    assert not searched & fixed
    fields = {
        f"{section}.{name}"
        for section in ("study", "data", "augment", "model", "train", "search", "resources")
        for name in real.config[section]
    }
    assert fields - searched - fixed == {"search.baselines"}


def test_commands_name_the_study_and_its_revision(study: StudyRecord) -> None:
    text = {command["name"]: command["text"] for command in provenance.commands(study)}
    assert text["Make it again"].splitlines()[1:] == [
        "git checkout 4b825dc642cb6eb9a060e54bf8d69288fbee4904",
        "flexunet-search run study.yaml --set study.name=magnetic-tile-again",
    ]
    assert text["Export the best"] == f"flexunet-search export {study.path} best"


def test_hostile_names_are_quoted_in_commands(study: StudyRecord) -> None:
    odd = replace(study, name="a; rm -rf b", path=Path("/tmp/$(x) y"), git_revision="v1-dirty")
    text = "\n".join(command["text"] for command in provenance.commands(odd))
    assert "'study.name=a; rm -rf b-again'" in text
    assert "report '/tmp/$(x) y'" in text
    assert "git checkout v1\n" in text
    assert "had changes" in provenance.again_note(odd)


def test_a_study_in_an_object_store_is_named_by_its_url(study: StudyRecord) -> None:
    remote = replace(study, config={"study": {"storage_path": "s3://bucket/runs/"}})
    assert provenance.study_place(remote) == "s3://bucket/runs/magnetic-tile"


def test_machines_are_told_as_far_as_recorded(study: StudyRecord) -> None:
    rows = dict(provenance.hardware_rows(study))
    assert rows["Trained on"].startswith("2 hosts: node-1 (")
    assert rows["A trial was given"] == "CPU cores: 1, GPUs: 0"
    assert "Driven from" not in dict(provenance.hardware_rows(replace(study, hardware={})))
    told = {"host": "h", "cores": 8, "memory_gb": 31.5, "gpus": ["NVIDIA A, 80 GB"], "cpu": None}
    rows = dict(provenance.hardware_rows(replace(study, hardware=told)))
    assert rows["Driven from"] == "h; 8 cores; 31.5 GB of memory; NVIDIA A, 80 GB"


def test_a_bare_record_still_has_its_section(study: StudyRecord) -> None:
    bare = replace(
        study, config={}, trials=(), versions={}, git_revision=None, data_fingerprint=None
    )
    built = provenance.build(Material(bare, "2026-03-02"))
    rows = dict(built["rows"])
    assert (rows["Git revision"], rows["Versions"]) == ("–", "–")
    assert dict(built["hardware"])["Trained on"] == "not recorded"
    assert built["space"] == built["fixed"] == []
    assert yaml.safe_load(built["config"]) == {}
