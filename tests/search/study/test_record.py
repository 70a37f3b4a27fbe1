from __future__ import annotations

import json
from pathlib import Path

from data_pipeline.config import DataConfig
from data_pipeline.datasets.dataset_yaml import DatasetInfo, write_dataset_yaml
from data_pipeline.stores.prepare import prepare
from search.config.loading import config_from_tree
from search.study.record import data_terms, record_study
from tests.search.tiny import tiny_tree


def test_the_terms_of_the_data_reach_the_studys_record(
    tmp_path: Path, synthetic_folder: Path
) -> None:
    config = config_from_tree(tiny_tree(tmp_path, synthetic_folder))
    config.directory.mkdir(parents=True)
    record_study(config, prepare(config.data))

    told = json.loads((config.directory / "data.json").read_text(encoding="utf-8"))
    assert told["license"].startswith("Apache-2.0")
    assert "citation" not in told


def test_terms_that_nothing_states_are_none(tmp_path: Path) -> None:
    assert data_terms(DataConfig()).keys() == {"license"}
    assert data_terms(DataConfig(source=str(tmp_path / "nowhere"))) == {}
    (tmp_path / "dataset.yaml").write_text("[", encoding="utf-8")
    assert data_terms(DataConfig(source=str(tmp_path))) == {}


def test_terms_of_other_data_in_the_same_folder_are_none(tmp_path: Path) -> None:
    classes = {"background": (0, 0, 0), "Crack": (9, 9, 9)}
    write_dataset_yaml(tmp_path, DatasetInfo("tiles", "the tiles", classes, license="free"))
    data = DataConfig(source=str(tmp_path))
    assert data_terms(data) == data_terms(data, "the tiles") == {"license": "free"}
    assert data_terms(data, "other tiles") == {}
