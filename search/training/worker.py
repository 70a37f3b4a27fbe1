"""One of the processes that train one config together: an actor of Ray."""

from __future__ import annotations

import hashlib
import os
import queue
import socket
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

from data_pipeline.stores.merge_splits import join_store
from data_pipeline.stores.store import Store
from foundation.errors import UserError, named_line
from results.records import file_names
from results.records.epochs import Epoch
from search.cluster.inspector import Inspector
from search.config.trial import TrialConfig
from search.data.store_transfer import StoreTransferError, store_here
from search.process.resources import WorkerResources
from search.process.setup import set_up_process
from search.process.stderr_redirect import stderr_to
from search.training.loop import run_training
from search.training.plan import Training, TrainOptions

NEWS_SECONDS = 2.0
_LAST = file_names.LAST

News = Epoch | str
"""An epoch that has ended, or what the user should know."""


@dataclass(frozen=True)
class TrainingJob:
    """A planned training, as it travels: the data by their place.

    Attributes:
        config: The constants.
        store: Where the driver sees the prepared data.
        out_dir: The training's folder, absolute.
        options: As :class:`search.training.plan.Training` has them.
    """

    config: TrialConfig
    store: Path
    out_dir: Path
    options: TrainOptions

    @classmethod
    def of(cls, training: Training) -> TrainingJob:
        out_dir = training.out_dir.absolute()
        store = training.store.path.absolute()
        return cls(training.config, store, out_dir, training.options)

    def open(self) -> Training:
        """Unpack it where it is trained; the data are copied there where it has none."""
        store = Store.open(store_here(self.store))
        if self.options.final:
            store = join_store(store)
        return Training(self.config, store, self.out_dir, self.options)


@dataclass(frozen=True)
class WorkerResult:
    """What a worker's training came to.

    Attributes:
        best: The epoch of the model; None where it failed.
        failed: Why it failed.
        lost: Whether another worker was out of reach: for a reason of its own.
        exit_code: What the command is to end with.
    """

    best: Epoch | None
    failed: str = ""
    lost: bool = False
    exit_code: int = 2


class TrainingWorker:
    """Trains its part of every batch, in lockstep with the others.

    Its calls run beside each other, so that it can report its epochs while it trains.

    Args:
        resources: What the process may take.
    """

    def __init__(self, resources: WorkerResources) -> None:
        self._threads = resources.threads
        self._news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._listener: socket.socket | None = None
        set_up_process(resources)

    def address(self, host: str) -> str:
        """Return host with a port that is kept free until the training begins."""
        self._listener = socket.socket()
        self._listener.bind(("", 0))
        return f"{host}:{self._listener.getsockname()[1]}"

    def look(self, folder: str, token: str) -> tuple[str | None, str | None]:
        """Say whether the driver's folder is seen here.

        Returns:
            What hinders it, or None; and the sha256 of its checkpoint, None without one.
        """
        problem = Inspector().read(folder, [token]).get(token)
        return problem, checkpoint_digest(Path(folder))

    def news(self, wait: float = NEWS_SECONDS) -> list[News]:
        """Return what has happened since the last call, after waiting so long for the first."""
        found: list[News] = []
        try:
            found.append(self._news.get(timeout=wait))
            while True:
                found.append(self._news.get_nowait())
        except queue.Empty:
            return found

    def train(self, job: TrainingJob, addresses: tuple[str, ...], rank: int) -> WorkerResult:
        """Train to the end; the first worker writes the folder, the others follow it.

        Args:
            job: What is trained.
            addresses: HOST:PORT of all workers, in the order of their ranks.
            rank: Which of them this is.
        """
        name = "train.log" if rank == 0 else f"train.worker-{rank}.log"
        with stderr_to(job.out_dir / name):
            try:
                return WorkerResult(self._train(job, addresses, rank))
            except Exception as error:
                sys.stderr.write(traceback.format_exc())
                outcome = outcome_of(error)
                if outcome is None:
                    raise
                return outcome

    def _train(self, job: TrainingJob, addresses: tuple[str, ...], rank: int) -> Epoch:
        from model.distribution import WorkerSpec, make_strategy

        training = job.open()
        if self._listener is not None:
            self._listener.close()
        first = rank == 0
        return run_training(
            training,
            threads=self._threads,
            on_epoch=self._epoch_ended if first else lambda epoch: None,
            note=self._note if first else lambda message: None,
            strategy=make_strategy(workers=WorkerSpec(addresses, rank)),
            writes=first,
        )

    def _epoch_ended(self, epoch: Epoch) -> None:
        self._news.put(epoch)

    def _note(self, message: str) -> None:
        self._news.put(message)


def checkpoint_digest(folder: Path) -> str | None:
    """Return the sha256 of a training's last checkpoint, hexadecimal; None without one."""
    try:
        with open(folder / _LAST, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def outcome_of(error: Exception) -> WorkerResult | None:
    """Return how a training ends by an error; None for a defect, whose traceback is wanted."""
    import tensorflow as tf

    out_of_reach = (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
        tf.errors.InternalError,
    )
    where = f"worker on {os.uname().nodename}"
    if isinstance(error, out_of_reach):
        return WorkerResult(None, f"{where}: {named_line(error)}", lost=True, exit_code=75)
    if isinstance(error, UserError):
        return WorkerResult(None, str(error), exit_code=error.exit_code)
    if isinstance(error, OSError):
        return WorkerResult(None, str(error))
    if isinstance(error, StoreTransferError):
        return WorkerResult(None, f"{where}: {error}")
    return None
