"""Trainings in several processes: real ones, on a Ray of several nodes on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from model.checkpoint import read_checkpoint
from search.config.settings import ResourceSettings
from search.errors import RunError
from search.training.distributed import _bundle, _check_shares
from tests.search.nodes import ROOT, cluster_of
from tests.search.tiny import tiny_tree

EPOCHS, MANY = 3, 15


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with cluster_of(2) as cluster:
        yield str(cluster.address)


def config_of(folder: Path, source: Path, **train: Any) -> Path:
    """A training whose loss is a mean over images, and which draws nothing by device."""
    tree = tiny_tree(folder / "studies", source)
    tree["model"] |= {"num_layers": 2, "base_filters": 4, "normalization": "none"}
    tree["train"] |= {
        "epochs": EPOCHS,
        "learning_rate": 0.01,
        "loss": "cross_entropy",
        "class_weighting": "none",
    } | train
    tree["augment"] = {"preset": "none"}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def train(config: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    quick = ["--pictures", "0", "--no-tensorboard", "--deterministic"]
    command = [sys.executable, "-m", "search", "train", str(config), str(out), *quick, *options]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )


def end(process: subprocess.Popen[str], code: int = 0) -> str:
    text, _ = process.communicate(timeout=150)
    assert process.returncode == code, text
    return text


def epochs(out: Path) -> list[int]:
    path = out / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line)["epoch"] for line in lines]


def process_of(log: Path) -> int:
    """The process that writes a log, among those that may be looked at."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(folder / "fd" / "2") == str(log):
                return int(folder.name)
        except OSError:
            continue
    raise AssertionError(f"nobody writes {log}")


def weights(out: Path) -> list[np.ndarray]:
    return list(read_checkpoint(out / "last.npz").arrays)


@pytest.mark.soak
def test_two_workers_train_as_one_and_a_lost_one_costs_an_epoch(
    address: str, synthetic_folder: Path, tmp_path: Path
) -> None:
    # Epochs enough that the training is not over when the worker is killed.
    config = config_of(
        tmp_path,
        synthetic_folder,
        epochs=MANY,
        early_stopping_patience=MANY,
        weight_averaging=0.9,
    )
    out, alone = tmp_path / "out", tmp_path / "one"
    two = ("--workers", "2", "--address", address)

    process = train(config, out, *two)
    began, log = time.monotonic(), out / "train.worker-1.log"
    while len(epochs(out)) < 1:
        assert process.poll() is None, end(process)
        assert time.monotonic() - began < 120
        time.sleep(0.02)
    os.kill(process_of(log), signal.SIGKILL)

    text = end(process, 75)
    assert "lost one" in text
    assert "run the same command again" in text
    before = epochs(out)
    assert before == list(range(1, len(before) + 1))
    assert 1 <= len(before) < MANY

    text = end(train(config, out, *two))
    assert f"epoch {len(before)}/{MANY}:" not in text
    assert epochs(out) == list(range(1, MANY + 1))
    end(train(config, alone))
    for x, y in zip(weights(out), weights(alone), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5)


@pytest.mark.parametrize(
    ("batch_size", "workers", "gpus", "message"),
    [
        (6, 4, 0, "multiple of 4, since 4 workers of a CPU each"),
        (6, 2, 2, "multiple of 4, since 2 workers of 2 GPUs each"),
    ],
)
def test_a_batch_that_devices_cannot_share_is_refused(
    batch_size: int, workers: int, gpus: int, message: str
) -> None:
    with pytest.raises(RunError, match=message):
        _check_shares(batch_size, workers, gpus)


@pytest.mark.parametrize(
    ("gpus", "asked", "expected"),
    [(0.5, None, {"CPU": 3, "GPU": 1}), (0, None, {"CPU": 3}), (0, 2, {"CPU": 3, "GPU": 2})],
)
def test_a_worker_gets_whole_gpus(
    gpus: float, asked: int | None, expected: dict[str, float]
) -> None:
    assert _bundle(ResourceSettings(cpus_per_trial=3, gpus_per_trial=gpus), asked) == expected


@pytest.mark.soak
def test_more_workers_than_there_is_room_for_are_refused(
    address: str, synthetic_folder: Path, tmp_path: Path
) -> None:
    config = config_of(tmp_path, synthetic_folder, batch_size=6)

    text = end(train(config, tmp_path / "out", "--workers", "3", "--address", address), 2)

    assert "expected nodes with room for 3 workers" in text
    assert "Traceback" not in text


@pytest.mark.soak
def test_a_training_killed_within_an_epoch_ends_bit_for_bit_as_one_that_was_not(
    synthetic_folder: Path, tmp_path: Path
) -> None:
    config = config_of(
        tmp_path,
        synthetic_folder,
        steps_per_epoch=60,
        accumulation_steps=4,
        weight_averaging=0.9,
    )
    tree = yaml.safe_load(config.read_text(encoding="utf-8"))
    tree["model"] |= {"normalization": "batch", "dropout_rate": 0.2}
    tree["augment"] = {}
    config.write_text(yaml.safe_dump(tree), encoding="utf-8")
    killed, whole = tmp_path / "killed", tmp_path / "whole"

    process = train(config, killed)
    while len(epochs(killed)) < 1:
        assert process.poll() is None, end(process)
        time.sleep(0.01)
    time.sleep(0.1)
    process.kill()
    end(process, -signal.SIGKILL)
    assert len(epochs(killed)) < EPOCHS
    end(train(config, killed))
    end(train(config, whole))

    assert epochs(killed) == epochs(whole) == list(range(1, EPOCHS + 1))
    for x, y in zip(weights(killed), weights(whole), strict=True):
        np.testing.assert_array_equal(x, y)
