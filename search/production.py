"""Training one config for production: the same code path as a trial, in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from data_pipeline.prepare import prepare
from search.config import ConfigError, StudyConfig
from search.preflight import check_data
from search.record import git_revision, versions
from search.study import write_text
from search.worker import set_up_process, threads_of


def train_config(
    config: StudyConfig,
    out_dir: Path,
    *,
    patience: int | None = None,
    on_epoch: Callable[[Mapping[str, Any]], None] = lambda record: None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Train a config of constants with early stopping; continue what stands in the folder.

    Args:
        config: Without distributions.
        out_dir: For training.yaml, train.log, metrics.jsonl, last.npz and best.keras.
        patience: Epochs without a better objective; None: the config's, else a quarter of its
            epochs, at least 10.
        on_epoch: Called with each new epoch's record.
        progress: Called with (images done, images in all) while the data are prepared.

    Returns:
        The best epoch's record.

    Raises:
        ConfigError: listing the searched fields, or what differs from the folder's own config.
        data_pipeline.problems.DataError: listing every bad file.
        model.training.NonFiniteLoss: where the training diverges.
    """
    constants = config.at({})
    patience = (
        patience or constants.train.early_stopping_patience or max(10, constants.train.epochs // 4)
    )
    constants = constants.model_copy(
        update={"train": constants.train.model_copy(update={"early_stopping_patience": patience})}
    )
    store = prepare(config.data, progress=progress)
    check_data(config, store)
    _record_training(config, store.fingerprint, out_dir)
    resources = config.resources.model_dump(mode="json") | {
        "cpus_per_trial": os.cpu_count() or 1,
        "gpus_per_trial": 1,
    }
    with stderr_to(out_dir / "train.log"):
        set_up_process(resources)
        from search.objective import TrialRun

        run = TrialRun(constants, store, out_dir, threads=threads_of(resources))
        while not run.done:
            on_epoch(run.step())
    if run.best is None:
        raise ConfigError(
            str(out_dir), [f"{constants.objective}: expected a defined value, received none"]
        )
    return run.best


@contextlib.contextmanager
def stderr_to(path: Path) -> Iterator[None]:
    """Send what the process writes to stderr, TensorFlow's C++ messages too, to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    terminal = os.dup(2)
    with open(path, "ab", buffering=0) as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(terminal, 2)
        os.close(terminal)


def _record_training(config: StudyConfig, fingerprint: str, out_dir: Path) -> None:
    """Write training.yaml, or refuse to continue another training."""
    path = out_dir / "training.yaml"
    record = {
        "config": config.to_tree(),
        "data_fingerprint": fingerprint,
        "versions": versions(),
        "git_revision": git_revision(),
    }
    if path.exists():
        before = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(before, dict) or not isinstance(before.get("config"), dict):
            raise ConfigError(str(path), ["expected the fields config and data_fingerprint"])
        old, new = _trained(before), _trained(record)
        problems = [
            f"{name}: expected {old.get(name)!r} as in {path.name}, received {value!r}"
            for name, value in new.items()
            if old.get(name) != value
        ]
        if problems:
            raise ConfigError(str(out_dir), [*problems, "choose another OUT_DIR"])
    out_dir.mkdir(parents=True, exist_ok=True)
    write_text(path, yaml.safe_dump(record, sort_keys=False, allow_unicode=True))


def _trained(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a training depends on, by dotted name; where the data lie is not of it."""
    config = record["config"]
    places = {"data.source", "data.store_path"}
    fields = {
        f"{section}.{name}": value
        for section in ("data", "augment", "model", "train")
        for name, value in config.get(section, {}).items()
    }
    return {name: value for name, value in fields.items() if name not in places} | {
        "study.seed": config.get("study", {}).get("seed"),
        "search.objective": config.get("search", {}).get("objective"),
        "search.class_weights": config.get("search", {}).get("class_weights"),
        "data_fingerprint": record.get("data_fingerprint"),
    }
