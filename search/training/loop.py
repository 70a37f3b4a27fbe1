"""A planned training, run in this process: its epochs, its files, a disk that fills."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from results.records.epochs import Epoch
from search.config.errors import ConfigError
from search.training.epoch_pictures import EpochPictures
from search.training.files import TrainingFiles
from search.training.folder import bytes_needed, is_full, record_result, space_problem
from search.training.plan import Training

if TYPE_CHECKING:
    from search.training.trial_run import TrialRun

T = TypeVar("T")
OnEpoch = Callable[[Epoch], None]
Note = Callable[[str], None]

DISK_SECONDS = 600.0  # a full disk may get room meanwhile; the epoch is in memory
DISK_RETRY_SECONDS = 2.0


def run_training(
    training: Training,
    *,
    threads: int,
    on_epoch: OnEpoch = lambda epoch: None,
    note: Note = lambda message: None,
    strategy: Any = None,
    writes: bool = True,
) -> Epoch:
    """Train what is planned, in this process, to its end.

    Args:
        training: From :func:`plan_training`; of several workers, the same in each.
        threads: CPU threads of the input pipeline.
        on_epoch: Called with each new epoch.
        note: Told what the user should know.
        strategy: What shares the batches among devices or workers; None: a single device.
        writes: Whether this process writes the folder; of several workers only one does.

    Returns:
        The epoch that best.keras is of.

    Raises:
        ConfigError: where no epoch has a defined objective.
        model.training.NonFiniteLoss: where the training diverges.
        OSError: where the folder cannot be written, or its disk stays full.
    """
    from search.training.trial_run import TrialRun

    config, out_dir, options = training.config, training.out_dir, training.options
    if options.deterministic:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    run = TrialRun(
        config,
        training.store,
        out_dir,
        threads=threads,
        validate=not options.final,
        strategy=strategy,
        writes=writes,
    )
    for message in run.notes:
        note(message)
    files = _files(training, run, writes)
    needed = bytes_needed(run.cost.parameters, config.train)
    try:
        files.begin(run.epochs)
        while not run.done:
            epoch = with_room(run.step, out_dir, needed, note)
            with_room(lambda: files.epoch_ended(run.epochs), out_dir, needed, note)
            on_epoch(epoch)
        if run.best is None:
            raise ConfigError(
                str(out_dir), [f"{config.objective}: expected a defined value, received none"]
            )
        if writes:
            record_result(out_dir, config.objective, run.best)
            with_room(files.write_pages, out_dir, needed, note)
    finally:
        files.close()
        run.close()
    return run.best


def _files(training: Training, run: TrialRun, writes: bool) -> TrainingFiles:
    options, store = training.options, training.store
    pictures = None
    if options.pictures:
        split = "train" if options.final else "valid"
        pictures = EpochPictures(
            training.out_dir, store, split, options.pictures, options.pictures_every, writes
        )
    return TrainingFiles(
        training.out_dir,
        store.classes,
        run.predict,
        pictures,
        tensorboard=options.tensorboard,
        writes=writes,
    )


def with_room(action: Callable[[], T], out_dir: Path, needed: int, note: Note) -> T:
    """Do what writes; where the disk is full, wait for room and do it again.

    Args:
        action: What may be done again, such as the writing of an epoch that is in memory.
        out_dir: On the disk.
        needed: Bytes, of all that the training writes, which tell what is needed.
        note: Told what is waited for.

    Raises:
        OSError: where it is still full after ``DISK_SECONDS``, with what is needed.
    """
    began: float | None = None
    while True:
        try:
            return action()
        except OSError as error:
            if not is_full(error):
                raise
            problem = space_problem(needed, shutil.disk_usage(out_dir).free)
            where = error.filename or str(out_dir)
            if began is None:
                began = time.monotonic()
                note(f"{where}: {problem}; the epoch is kept in memory and tried again")
            if time.monotonic() - began >= DISK_SECONDS:
                raise OSError(
                    errno.ENOSPC, f"{problem} and run the same command again", where
                ) from error
        time.sleep(min(DISK_RETRY_SECONDS, DISK_SECONDS))
