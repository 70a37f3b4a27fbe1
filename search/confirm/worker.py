"""One training of a confirmation, in a process of Ray: trained as a trial is, then scored."""

from __future__ import annotations

import contextlib
import gc
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from foundation.files import write_json
from results.analysis.confirmation import EVALUATION, MODEL
from results.records import file_names
from results.records.schemas import Flips
from search.config.trial import TrialConfig
from search.data.store_transfer import StoreTransferError, store_here
from search.errors import SupersededError
from search.process.hardware import this_worker
from search.process.memory import give_back_free_memory
from search.process.resources import WorkerResources
from search.process.setup import reason_of, set_up_process
from search.process.stderr_redirect import stderr_to
from search.storage.retry import StorageRetry, StorageTroubleError, check_present, storage_trouble

if TYPE_CHECKING:
    from data_pipeline.stores.store import Store
    from results.records.evaluation import Evaluation

BEGUN = file_names.WORKER
# Touched as the model is scored, which writes no epochs.
SCORING = "scoring"
_WHILE_SCORING = "while its best epoch was scored"


@dataclass(frozen=True)
class ConfirmationJob:
    """What a process needs to know of a training.

    Attributes:
        name: The training's.
        trial, seed, fold: What its counts are to say of it.
        config: What is trained.
        store: Path of the prepared data, or of a fold of them.
        split: Split that is scored.
        flips: Mirror images whose answers are averaged as it is.
        study: The study directory.
        folder: The training's.
        owner: Who trains: whoever claimed the folder before can write no more.
        resources: What the process may take.
    """

    name: str
    trial: int
    seed: int
    fold: int | None
    config: TrialConfig
    store: Path
    split: str
    flips: Flips
    study: Path
    folder: Path
    owner: str
    resources: WorkerResources


@dataclass(frozen=True)
class Ended:
    """What became of a training.

    Attributes:
        failed: Why it failed for good; None where it is done.
        lost: Why it has to be tried again, elsewhere perhaps.
        trouble: Why nothing can be written.
        scoring: Whether it was trained, and failed while it was scored.
    """

    failed: str | None = None
    lost: str | None = None
    trouble: str | None = None
    scoring: bool = False


def train_and_score(job: ConfirmationJob) -> Ended:
    """Train a config to its end, from its last epoch on, and count what its best epoch predicts.

    The counts are written last: where they are, the training is done.
    """
    study, folder = job.study, job.folder
    try:
        check_present(study)
        with stderr_to(folder / file_names.WORKER_LOG):
            write_json(folder / BEGUN, asdict(this_worker()) | {"owner": job.owner})
            return _work(job, study, folder)
    except (StoreTransferError, StorageTroubleError) as error:
        lost = isinstance(error, StoreTransferError)
        return Ended(lost=str(error)) if lost else Ended(trouble=str(error))
    except Exception as error:
        trouble = storage_trouble(error, study)
        if trouble is not None:
            return Ended(trouble=trouble)
        if isinstance(error, SupersededError):  # the folder is another's now
            return Ended(lost=str(error))
        (folder / file_names.ERROR).write_text(traceback.format_exc(), encoding="utf-8")
        scoring = _WHILE_SCORING in getattr(error, "__notes__", ())
        return Ended(failed=reason_of(error), scoring=scoring)
    finally:
        _release()


def _work(job: ConfirmationJob, study: Path, folder: Path) -> Ended:
    # A process that has trained before is set up, and TensorFlow takes no second word.
    if "tensorflow" not in sys.modules:
        set_up_process(job.resources)
    from data_pipeline.stores.store import Store
    from search.training.trial_run import TrialRun

    seconds = 60 * job.resources.storage_patience_minutes
    patient = StorageRetry(study, seconds, _say, lambda: None, lambda: False)
    store = Store.open(store_here(job.store))
    threads = job.resources.threads
    run = TrialRun(job.config, store, folder, threads=threads, owner=job.owner)
    try:
        while not run.done:
            patient(run.step)
    finally:
        run.close()
    if run.best is None:
        return Ended(failed=f"{job.config.objective} was undefined in every epoch")
    try:
        counts = _score(job, store, run.best.epoch)
    except Exception as error:
        error.add_note(_WHILE_SCORING)
        raise
    run.check_owner()
    patient(lambda: counts.save(folder / EVALUATION))
    return Ended()


def _score(job: ConfirmationJob, store: Store, epoch: int) -> Evaluation:
    from search.scoring.model import score_model

    def beat() -> None:
        with contextlib.suppress(OSError):  # no reason to count at another size
            (job.folder / SCORING).touch()

    beat()
    return score_model(
        job.folder / MODEL,
        store,
        job.config.data,
        job.split,
        name=job.name,
        trial=job.trial,
        epoch=epoch,
        seed=job.seed,
        fold=job.fold,
        flips=job.flips,
        batch_size=job.config.validation_batch(store.image_shape),
        threads=job.resources.threads,
        beat=beat,
    )


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")


def _release() -> None:
    """Let go of the model: the process may train another one."""
    if "keras" in sys.modules:
        import keras

        keras.backend.clear_session(free_memory=False)  # it would collect as well
    gc.collect()
    give_back_free_memory()
