"""Opens a model for a command: TensorFlow set up and quiet, and what the model is for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from search.config.errors import ConfigError
from search.process.stderr_redirect import quiet_tensorflow, start_tensorflow

if TYPE_CHECKING:
    from model.runtimes import Runtime
    from search.inference.model_metadata import ModelMetadata


def open_model(
    path: Path, config: Path | None, threads: int, device: str = "auto"
) -> tuple[Runtime, ModelMetadata]:
    """Open a model of any exported format; for the first use of TensorFlow in a process.

    Args:
        path: Of the model.
        config: The file to believe about it; None: what lies beside it.
        threads: CPU threads, of TensorFlow and of the other runtimes.
        device: auto, cpu (GPUs are left alone) or gpu (there has to be one).

    Raises:
        model.inference.ModelError: where it is no model.
        ConfigError: where there is no GPU that is asked for, or the config describes another model.
    """
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    start_tensorflow()
    import tensorflow as tf

    from model.runtimes import open_predictor
    from search.inference.model_metadata import facts_of
    from search.process.resources import WorkerResources
    from search.process.setup import set_up_process

    set_up_process(WorkerResources(cpus=threads, gpus=1))
    if device == "gpu" and not tf.config.list_physical_devices("GPU"):
        raise ConfigError("--device gpu", ["expected a GPU that TensorFlow sees, found none"])
    with quiet_tensorflow():  # LiteRT tells of what it computes by
        opened = open_predictor(path, threads=threads)
    return opened, facts_of(path, config, opened)
