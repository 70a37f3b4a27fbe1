"""What one training is to do: planned from a config before anything heavy is started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data_pipeline.stores.merge_splits import join_store
from data_pipeline.stores.prepare import prepare
from data_pipeline.stores.store import Store
from model.cost import estimate_cost
from search.config.errors import ConfigError
from search.config.schema import StudyConfig
from search.config.trial import TrialConfig
from search.data.preflight import check_data
from search.training.final import final_epochs
from search.training.folder import bytes_needed, check_folder, check_space, record_training


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
        gpus: GPUs to train on at once, of this machine or of each worker; None: one where there
            is one.
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
        options: What it was asked for.
    """

    config: TrialConfig
    store: Store
    out_dir: Path
    options: TrainOptions


def plan_training(
    config: StudyConfig,
    out_dir: Path,
    options: TrainOptions,
    progress: Callable[[int, int], None] | None = None,
) -> Training:
    """Check a config, prepare its data and record the training in its folder.

    Raises:
        ConfigError, data_pipeline.problems.DataError, OSError: as :func:`train_config`.
    """
    constants = config.at({})
    _check_options(constants, options)
    if options.final:
        # Schedules go over them, so that the learning rate is at its end when the training is.
        epochs = final_epochs(config, options.epochs, options.epochs_from)
        train = constants.train.model_copy(update={"epochs": epochs})
        constants = constants.model_copy(update={"train": train})
    check_folder(out_dir)
    store = prepare(config.data, progress=progress)
    check_data(config, store)
    record_training(
        config,
        store,
        out_dir,
        final_epochs=constants.train.epochs if options.final else None,
        deterministic=options.deterministic,
    )
    cost = estimate_cost(constants.model, store.image_shape, len(store.classes))
    check_space(out_dir, bytes_needed(cost.parameters, constants.train))
    return Training(
        _with_patience(constants, options.patience),
        join_store(store) if options.final else store,
        out_dir,
        options,
    )


def _check_options(config: TrialConfig, options: TrainOptions) -> None:
    problems = []
    if not options.final and (options.epochs is not None or options.epochs_from is not None):
        problems.append(
            "--epochs and --epochs-from: expected --final with them; without it the epochs are "
            "train.epochs, as by --set train.epochs=N"
        )
    if options.address is not None and options.workers == 1:
        problems.append("--address: expected --workers of 2 or more with it, received 1")
    parts = (options.gpus or 1) * options.workers
    if config.train.batch_size % parts:
        problems.append(
            f"train.batch_size: expected a multiple of {parts}, the devices that share each batch "
            f"(--workers {options.workers}, --gpus {options.gpus or 1}), received "
            f"{config.train.batch_size}"
        )
    if problems:
        raise ConfigError("train", problems)


def _with_patience(config: TrialConfig, asked: int | None) -> TrialConfig:
    train = config.train
    patience = asked or train.early_stopping_patience or max(10, train.epochs // 4)
    return config.model_copy(
        update={"train": train.model_copy(update={"early_stopping_patience": patience})}
    )
