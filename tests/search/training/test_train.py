from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from data_pipeline.stores.prepare import prepare
from model.checkpoint import Checkpoint, write_checkpoint
from search.config.errors import ConfigError
from search.config.loading import config_from_tree
from search.config.schema import StudyConfig
from search.training.loop import run_training
from search.training.plan import TrainOptions, _with_patience, plan_training
from search.training.train import strategy_of
from tests.search.tiny import tiny_study, tiny_tree

CODE = """
import json, sys, yaml
from pathlib import Path
from search.config.schema import StudyConfig
from search.config.loading import config_from_tree
from search.training.train import train_config
config = config_from_tree(yaml.safe_load(Path(sys.argv[1]).read_text()))
seen = []
best = train_config(config, Path(sys.argv[2]), on_epoch=lambda r: seen.append(r.epoch))
print(json.dumps({"seen": seen, "best": best.epoch}))
"""


@dataclass(frozen=True)
class Trained:
    """A training, and the same continued after its last epoch was lost."""

    config: StudyConfig
    out: Path
    first: dict[str, Any]
    again: dict[str, Any]
    before: dict[str, bytes]
    notes: list[str]


def constants(folder: Path, source: Path, **train: object) -> dict:
    tree = tiny_tree(folder, source)
    tree["model"] |= {"num_layers": 2, "base_filters": 4}
    tree["train"] |= {"learning_rate": 0.01} | train
    return tree


def train(tree: dict, folder: Path) -> dict:
    """Train in a process of its own, as the command does: it sets TensorFlow's threads."""
    import subprocess
    import sys

    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    output = subprocess.run(
        [sys.executable, "-c", CODE, str(folder / "config.yaml"), str(folder / "out")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return json.loads(output.splitlines()[-1])


def test_training_stops_early_and_running_again_adds_nothing(
    synthetic_folder: Path, tmp_path: Path
) -> None:
    tree = constants(
        tmp_path, synthetic_folder, epochs=9, learning_rate=1e-12, early_stopping_patience=2
    )
    first = train(tree, tmp_path)
    assert first["seen"] == list(range(1, first["best"] + 3))
    assert (tmp_path / "out" / "best.keras").exists()
    assert train(tree, tmp_path) == {"seen": [], "best": first["best"]}


@pytest.mark.parametrize(
    ("epochs", "asked", "configured", "expected"),
    [(20, None, None, 10), (100, None, None, 25), (100, None, 7, 7), (100, 3, 7, 3)],
)
def test_patience_is_asked_for_configured_or_a_quarter(
    tmp_path: Path, epochs: int, asked: int | None, configured: int | None, expected: int
) -> None:
    tree = constants(tmp_path, tmp_path, epochs=epochs, early_stopping_patience=configured)
    config = config_from_tree(tree).at({})
    assert _with_patience(config, asked).train.early_stopping_patience == expected


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, synthetic_folder: Path) -> Trained:
    """A training of three epochs, run again with another model's weights as its checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    config = config_from_tree(constants(folder, synthetic_folder))
    out = folder / "out"
    training = plan_training(config, out, TrainOptions(pictures=2))
    first = run_training(training, threads=1)
    before = {path.name: path.read_bytes() for path in out.glob("*.csv")}
    write_checkpoint(out / "last.npz", Checkpoint((), {"model": ["Conv2D of others"]}))
    notes: list[str] = []
    again = run_training(training, threads=1, note=notes.append)
    return Trained(config, out, first, again, before, notes)


def test_a_training_leaves_all_its_files(trained: Trained) -> None:
    left = {path.name for path in trained.out.iterdir()}
    assert left >= {
        *("training.yaml", "metrics.jsonl", "metrics.csv", "train_losses.csv"),
        *("train_metrics.csv", "training.html", "predictions.html", "best.keras", "last.npz"),
    }
    assert not [name for name in left if name.startswith(".")]
    assert len(list(trained.out.glob("predictions/*/epoch-0003.png"))) == 2
    assert len(list(trained.out.glob("tensorboard/events.*"))) == 1
    told = yaml.safe_load((trained.out / "training.yaml").read_text())
    assert told["best_epoch"] == trained.first.epoch
    assert told["scores"]["dice"] == trained.first.dice


def test_weights_of_another_model_are_told_and_the_lost_epoch_comes_again(
    trained: Trained,
) -> None:
    note, onward = trained.notes
    assert "of another model: expected InputLayer" in note
    assert "received Conv2D of others; kept as last.broken.npz" in note
    assert onward.endswith("training goes on after epoch 2")
    assert (trained.out / "last.broken.npz").exists()
    assert trained.again.epoch == trained.first.epoch
    assert trained.again.dice == pytest.approx(trained.first.dice, abs=0.05)
    for name in ("train_losses.csv", "metrics.csv"):
        now = (trained.out / name).read_bytes().splitlines()
        assert len(now) == 4, name  # a head and three epochs
        assert now[:2] == trained.before[name].splitlines()[:2]


def test_final_trains_on_both_splits_and_keeps_the_last_epoch(
    trained: Trained, tmp_path: Path
) -> None:
    out = tmp_path / "final"
    options = TrainOptions(final=True, epochs=2, pictures=1, tensorboard=False)
    training = plan_training(trained.config, out, options)
    store = prepare(trained.config.data)
    images = sum(store.splits[name].count for name in ("train", "valid"))
    assert training.store.splits["train"].count == images
    best = run_training(training, threads=1)
    assert best.epoch == 2
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["validation_loss"] for line in lines] == [None, None]
    # The schedule is over these two epochs; over the three of the config it would be half.
    assert lines[-1]["learning_rate"] < 0.25 * trained.config.at({}).train.learning_rate
    assert (out / "best.keras").exists()
    listing = json.loads((out / "predictions" / "pictures.json").read_text())
    assert listing["split"] == "train"


def test_options_that_do_not_fit_are_refused_together(
    synthetic_folder: Path, tmp_path: Path
) -> None:
    config = config_from_tree(constants(tmp_path, synthetic_folder))
    options = TrainOptions(epochs=3, gpus=3, workers=2)
    with pytest.raises(ConfigError) as caught:
        plan_training(config, tmp_path / "out", options)
    assert "--epochs and --epochs-from: expected --final" in str(caught.value)
    assert "train.batch_size: expected a multiple of 6" in str(caught.value)
    with pytest.raises(ConfigError, match="--address: expected --workers of 2 or more"):
        plan_training(config, tmp_path / "out", TrainOptions(address="auto"))
    assert not (tmp_path / "out").exists()


def test_more_gpus_than_there_are_is_an_error_that_names_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import tensorflow as tf

    found = [SimpleNamespace(name="/physical_device:GPU:0")]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: found)
    assert strategy_of(1) is None
    with pytest.raises(ConfigError, match=r"expected 4 GPUs, found 1: /physical_device:GPU:0"):
        strategy_of(4)


def test_a_searched_field_is_refused_by_name(synthetic_folder: Path, tmp_path: Path) -> None:
    from search.training.train import train_config

    with pytest.raises(ConfigError, match=r"model.num_layers: expected a constant") as caught:
        train_config(tiny_study(tmp_path, synthetic_folder), tmp_path / "out")
    assert "model.base_filters" in str(caught.value)


def test_another_configs_folder_is_refused(synthetic_folder: Path, tmp_path: Path) -> None:
    from search.training.train import train_config

    tree = constants(tmp_path, synthetic_folder)
    out = tmp_path / "out"
    out.mkdir()
    before = config_from_tree(tree | {"model": tree["model"] | {"base_filters": 2}})
    record = {"config": before.to_tree(), "data_fingerprint": "other data"}
    (out / "training.yaml").write_text(yaml.safe_dump(record))
    tree["study"]["seed"] = 6
    with pytest.raises(ConfigError) as caught:
        train_config(config_from_tree(tree), out)

    assert "model.base_filters: expected 2 as in training.yaml, received 4" in str(caught.value)
    assert "study.seed: expected 5" in str(caught.value)
    assert "data_fingerprint: expected 'other data'" in str(caught.value)
