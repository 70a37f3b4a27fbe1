from __future__ import annotations

import errno
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from data_pipeline.stores.prepare import prepare
from data_pipeline.stores.store import Store
from model.config import TrainConfig
from results.records.epochs import Epoch
from search.config.errors import ConfigError
from search.config.loading import config_from_tree
from search.config.schema import StudyConfig
from search.training.folder import (
    bytes_needed,
    check_folder,
    check_space,
    only_here,
    record_result,
    record_training,
)
from tests.results.simulated_training import epoch_line
from tests.search.training.test_train import constants


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, synthetic_folder: Path) -> StudyConfig:
    return config_from_tree(constants(tmp_path_factory.mktemp("s"), synthetic_folder))


@pytest.fixture(scope="module")
def store(config: StudyConfig) -> Store:
    return prepare(config.data)


def recorded(out: Path) -> dict:
    return yaml.safe_load((out / "training.yaml").read_text())


def test_a_folder_of_other_things_is_refused_by_their_names(tmp_path: Path) -> None:
    check_folder(tmp_path / "new")
    check_folder(tmp_path)
    (tmp_path / ".training.yaml.7.tmp").touch()  # of a first start that was killed
    check_folder(tmp_path)
    for number in range(7):
        (tmp_path / f"holiday_{number}.jpg").touch()
    with pytest.raises(ConfigError, match=r"received holiday_0.jpg, .*holiday_4.jpg and 2 more;"):
        check_folder(tmp_path)
    with pytest.raises(ConfigError, match="expected a folder, received a file"):
        check_folder(tmp_path / "holiday_0.jpg")
    (tmp_path / "training.yaml").touch()
    check_folder(tmp_path)


def test_the_record_tells_what_the_model_is_for_and_what_came_of_it(
    config: StudyConfig, store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    record_training(config, store, out)
    told = recorded(out)
    assert list(told["classes"]) == list(store.classes)
    assert tuple(map(tuple, told["classes"].values())) == store.colors
    assert (told["resize"], told["final"]) == (config.data.resize, False)
    best = Epoch.of(epoch_line(3, 3, list(store.classes)))
    record_result(out, "mean_foreground_dice", best)
    told = recorded(out)
    assert told["best_epoch"] == 3
    assert told["scores"]["dice"] == best.dice
    assert told["scores"]["mean_foreground_dice"] == best.mean_foreground_dice
    assert told["validation_loss"] == best.validation_loss


def test_a_final_training_has_its_epochs_and_no_scores(
    config: StudyConfig, store: Store, tmp_path: Path
) -> None:
    record_training(config, store, tmp_path, final_epochs=2)
    record_result(tmp_path, "mean_foreground_dice", Epoch.of(epoch_line(2, 2, [], final=True)))
    told = recorded(tmp_path)
    assert (told["final"], told["epochs"], told["best_epoch"]) == (True, 2, 2)
    assert "scores" not in told
    with pytest.raises(ConfigError, match=r"final: expected True as in training.yaml") as caught:
        record_training(config, store, tmp_path)
    assert "epochs" not in str(caught.value)
    for other in (1, 3):  # its learning rates would be of two schedules
        with pytest.raises(ConfigError, match=rf"epochs: expected 2 as .*, received {other}"):
            record_training(config, store, tmp_path, final_epochs=other)
    record_training(config, store, tmp_path, final_epochs=2)
    assert recorded(tmp_path)["epochs"] == 2


def test_a_record_from_before_a_field_was_there_is_continued(
    config: StudyConfig, store: Store, tmp_path: Path
) -> None:
    record_training(config, store, tmp_path)
    told = recorded(tmp_path)
    for name in ("early_stopping_metric", "weight_decay"):
        del told["config"]["train"][name]
    del told["final"]
    (tmp_path / "training.yaml").write_text(yaml.safe_dump(told))
    record_training(config, store, tmp_path)
    told["config"]["train"]["batch_size"] = 2
    (tmp_path / "training.yaml").write_text(yaml.safe_dump(told))
    with pytest.raises(ConfigError, match=r"train.batch_size: expected 2 as in training.yaml"):
        record_training(config, store, tmp_path)


def test_a_record_that_cannot_be_read_is_an_error(
    config: StudyConfig, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "training.yaml").write_text("{a: [")
    with pytest.raises(ConfigError, match="cannot be read"):
        record_training(config, store, tmp_path)
    assert (tmp_path / "training.yaml").read_text() == "{a: ["


def test_a_disk_without_room_is_refused_with_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=40_000_000))
    needed = bytes_needed(1_000_000, TrainConfig())
    with pytest.raises(OSError, match=r"need 44.0 MB, 40.0 MB are free") as caught:
        check_space(tmp_path, needed)
    assert caught.value.errno == errno.ENOSPC
    (tmp_path / "last.npz").write_bytes(bytes(4_000_000))  # its room is there already
    check_space(tmp_path, needed)


def test_averaged_weights_need_their_room() -> None:
    # Of each million: weights, two moments and the average in three checkpoints; two models.
    assert bytes_needed(1_000_000, TrainConfig(weight_averaging=0.9)) == 4 * (3 * 4 + 2) * 10**6


def test_two_trainings_at_once_in_one_folder_are_refused(tmp_path: Path) -> None:
    twice = pytest.raises(ConfigError, match="another process trains in it")
    with only_here(tmp_path), twice, only_here(tmp_path):
        pass
    with only_here(tmp_path):  # free again
        assert not list(tmp_path.iterdir())


def test_a_training_is_deterministic_where_all_of_it_was(
    config: StudyConfig, store: Store, tmp_path: Path
) -> None:
    record_training(config, store, tmp_path)
    record_training(config, store, tmp_path, deterministic=True)  # no epoch before it
    (tmp_path / "last.npz").touch()
    for asked, told in ((True, True), (False, False), (True, False)):
        record_training(config, store, tmp_path, deterministic=asked)
        assert recorded(tmp_path)["deterministic"] is told
