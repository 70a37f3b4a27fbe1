"""Training one config for production: the same code path as a trial, in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from data_pipeline.prepare import prepare
from data_pipeline.store import Store
from search.config import ConfigError, StudyConfig, TrialConfig
from search.preflight import check_data
from search.record import git_revision, versions
from search.study import write_text
from search.worker import set_up_process, threads_of


@dataclass(frozen=True)
class TrainOptions:
    """What ``train`` is asked for beside the config.

    Attributes:
        patience: Epochs without a better early-stopping metric; None: the config's, else a quarter
            of its epochs, at least 10.
        final: Whether to train on the training and the validation images, for a number of epochs
            that is known, without validation.
        epochs: That number; None: what the config's provenance or ``epochs_from`` tells.
        epochs_from: An earlier training's folder, whose best epoch it is.
        gpus: GPUs of this machine to train on at once; None: one where there is one.
        workers: Processes to train in, on one node each where there are as many.
        address: The Ray cluster of the workers; None: the config's.
        deterministic: Whether TensorFlow may use only operations that give the same bits again.
        pictures: Validation images that are predicted after an epoch; 0: none.
        pictures_every: Epochs from one such prediction to the next.
        tensorboard: Whether TensorBoard's event files are written.
    """

    patience: int | None = None
    final: bool = False
    epochs: int | None = None
    epochs_from: Path | None = None
    gpus: int | None = None
    workers: int = 1
    address: str | None = None
    deterministic: bool = False
    pictures: int = 4
    pictures_every: int = 1
    tensorboard: bool = True


@dataclass(frozen=True, eq=False)
class Training:
    """A training that is checked and recorded, to be run by this process or by several.

    Attributes:
        config: The constants, the options' patience among them.
        store: The data it is trained on.
        out_dir: Its folder.
    """

    config: TrialConfig
    store: Store
    out_dir: Path


def train_config(
    config: StudyConfig,
    out_dir: Path,
    options: TrainOptions | None = None,
    *,
    on_epoch: Callable[[Mapping[str, Any]], None] = lambda record: None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Train a config of constants with early stopping; continue what stands in the folder.

    Args:
        config: Without distributions.
        out_dir: For training.yaml, train.log, metrics.jsonl, last.npz and best.keras.
        options: How to train; None: the defaults.
        on_epoch: Called with each new epoch's record.
        progress: Called with (images done, images in all) while the data are prepared.

    Returns:
        The best epoch's record.

    Raises:
        ConfigError: listing the searched fields, or what differs from the folder's own config.
        data_pipeline.problems.DataError: listing every bad file.
        model.training.NonFiniteLoss: where the training diverges.
    """
    training = plan_training(config, out_dir, options or TrainOptions(), progress)
    resources = config.resources.model_dump(mode="json") | {
        "cpus_per_trial": os.cpu_count() or 1,
        "gpus_per_trial": 1,
    }
    with stderr_to(out_dir / "train.log"):
        set_up_process(resources)
        return run_training(training, threads=threads_of(resources), on_epoch=on_epoch)


def plan_training(
    config: StudyConfig,
    out_dir: Path,
    options: TrainOptions,
    progress: Callable[[int, int], None] | None = None,
) -> Training:
    """Check a config, prepare its data and record the training in its folder.

    Raises:
        ConfigError, data_pipeline.problems.DataError: as :func:`train_config`.
    """
    constants = config.at({})
    train = constants.train
    patience = options.patience or train.early_stopping_patience or max(10, train.epochs // 4)
    constants = constants.model_copy(
        update={"train": train.model_copy(update={"early_stopping_patience": patience})}
    )
    store = prepare(config.data, progress=progress)
    check_data(config, store)
    _record_training(config, store.fingerprint, out_dir)
    return Training(constants, store, out_dir)


def run_training(
    training: Training,
    *,
    threads: int,
    on_epoch: Callable[[Mapping[str, Any]], None] = lambda record: None,
    **distribution: Any,
) -> dict[str, Any]:
    """Train what is planned, in this process, to its end.

    Args:
        training: From :func:`plan_training`; of several workers, the same in each.
        threads: CPU threads of the input pipeline.
        on_epoch: Called with each new epoch's record.
        distribution: ``strategy`` and ``writes``, as TrialRun takes them.

    Returns:
        The best epoch's record.

    Raises:
        ConfigError: where no epoch has a defined objective.
        model.training.NonFiniteLoss: where the training diverges.
    """
    from search.objective import TrialRun

    config, out_dir = training.config, training.out_dir
    run = TrialRun(config, training.store, out_dir, threads=threads, **distribution)
    while not run.done:
        on_epoch(run.step())
    if run.best is None:
        raise ConfigError(
            str(out_dir), [f"{config.objective}: expected a defined value, received none"]
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
