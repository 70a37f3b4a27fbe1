"""Training one config for production: the same code path as a trial, in a folder of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from results.records.epochs import Epoch
from search.config.errors import ConfigError
from search.config.schema import StudyConfig
from search.process.resources import WorkerResources
from search.process.setup import set_up_process
from search.process.stderr_redirect import stderr_to
from search.training.folder import only_here
from search.training.loop import Note, OnEpoch, run_training
from search.training.plan import TrainOptions, plan_training


def train_config(
    config: StudyConfig,
    out_dir: Path,
    options: TrainOptions | None = None,
    *,
    on_epoch: OnEpoch = lambda epoch: None,
    progress: Callable[[int, int], None] | None = None,
    note: Note = lambda message: None,
) -> Epoch:
    """Train a config of constants with early stopping; continue what is in the folder.

    Args:
        config: Without distributions.
        out_dir: For training.yaml, train.log, metrics.jsonl, last.npz, best.keras and the rest of
            docs/how-to/train.md.
        options: How to train; None: the defaults.
        on_epoch: Called with each new epoch.
        progress: Called with (images done, images in all) while the data are prepared.
        note: Told what the user should know, such as a checkpoint that is damaged.

    Returns:
        The epoch that best.keras is of.

    Raises:
        ConfigError: listing the searched fields, or what differs from the folder's own config; for
            options that do not go together, or that this machine cannot serve.
        data_pipeline.problems.DataError: listing every bad file.
        model.training.NonFiniteLoss: where the training diverges.
        OSError: where the folder cannot be written, or its disk stays full.
    """
    options = options or TrainOptions()
    if options.workers > 1:
        from search.training.distributed import train_on_workers

        return train_on_workers(
            config,
            out_dir,
            options,
            workers=options.workers,
            address=options.address,
            on_epoch=on_epoch,
            progress=progress,
            note=note,
        )
    training = plan_training(config, out_dir, options, progress)
    resources = WorkerResources(cpus=os.cpu_count() or 1, gpus=1)
    with only_here(out_dir), stderr_to(out_dir / "train.log"):
        set_up_process(resources)
        return run_training(
            training,
            threads=resources.threads,
            on_epoch=on_epoch,
            note=note,
            strategy=strategy_of(options.gpus),
        )


def strategy_of(gpus: int | None) -> Any:
    """Return the strategy for several GPUs of this machine; None for a single device."""
    if gpus is None:
        return None
    import tensorflow as tf

    found = [device.name for device in tf.config.list_physical_devices("GPU")]
    if len(found) < gpus:
        listed = f": {', '.join(found)}" if found else ""
        raise ConfigError("--gpus", [f"expected {gpus} GPUs, found {len(found)}{listed}"])
    if gpus == 1:
        return None
    from model.distribution import make_strategy

    return make_strategy([f"GPU:{number}" for number in range(gpus)])
