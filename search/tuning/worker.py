"""The process a trial runs in: its threads, its share of a GPU, its log, its reuse.

A fresh process pays seconds for Python and TensorFlow, so Ray Tune hands the same one trial after
trial (``reuse_actors``). Nothing here imports TensorFlow before the process is set up.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict
from ray import tune

from foundation.files import write_json
from results.records import file_names
from search.data.store_transfer import StoreTransferError, store_here
from search.errors import SupersededError
from search.interfaces.messages import TrialJob, TrialReport
from search.process.hardware import this_worker
from search.process.memory import (
    give_back_free_memory,
    own_bytes,
)
from search.process.resources import WorkerResources
from search.process.setup import keep_imports, reason_of, set_up_process
from search.storage.mirror import TrialCopy, worker_folder
from search.storage.retry import RETRY_SECONDS, check_present, storage_trouble

if TYPE_CHECKING:
    from search.training.folded_run import FoldedRun
    from search.training.trial_run import TrialRun


class WorkerRecycledError(RuntimeError):
    """A process that has grown too large to begin another trial; a fresh one takes its place."""


class TrialWorker(tune.Trainable):  # type: ignore[misc]
    """A Ray Tune trainable: one step is one epoch of a :class:`search.training.trial_run.TrialRun`.

    What a trial raises becomes a result with its reason, and its traceback is in the trial's
    folder: the process lives on for the next trial. Where the storage refuses to be written, the
    step returns that it waits, and the next one tries again.
    """

    _job: TrialJob
    _run: TrialRun | FoldedRun | None = None
    _copy: TrialCopy | None = None
    _unpushed = False
    _reported = 0  # epochs
    _failure: str | None = None

    def setup(self, config: dict[str, Any]) -> None:
        """Limit the process to its share and take the first trial."""
        self._take(config["trial"])
        self.set_up_process(self._job.resources)
        # In worker.log: tells a fresh process from one that has trained before.
        sys.stderr.write(f"process started: {os.uname().nodename}, pid {os.getpid()}\n")

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial in the same process.

        Raises:
            WorkerRecycledError: where the process has grown past its limit.
        """
        self._release()
        limit = new_config["trial"].resources.memory_limit_gb
        resident = own_bytes() / 1e9
        if limit is not None and resident > limit:
            raise WorkerRecycledError(f"the process holds {resident:.1f} GB, its limit is {limit}")
        self._take(new_config["trial"])
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch and report it, or the reason why there is none."""
        report = self._step()
        # One opaque value: Tune flattens nested results with '/', which class names may contain.
        return {"report": report, "epoch": self._reported, "done": report.done}

    def _step(self) -> TrialReport:
        try:
            if self._failure is None:
                return self._epoch()
        except Exception as error:
            trouble = storage_trouble(error, self._directory)
            if isinstance(error, StoreTransferError):  # a full disk, which may get room
                trouble = str(error)
            if trouble is not None:
                time.sleep(RETRY_SECONDS)
                return TrialReport(waiting=trouble)
            self._fail(error)
        return TrialReport(done=True, failed=self._failure)

    def cleanup(self) -> None:
        """Let go of the model before the process ends."""
        self._release()

    def set_up_process(self, resources: WorkerResources) -> None:
        """Prepare the process for trials of these resources."""
        set_up_process(resources)
        import search.training.folded_run
        import search.training.trial_run  # noqa: F401

        keep_imports()

    def begin(self, job: TrialJob) -> TrialRun | FoldedRun:
        """Build the trial's training, continued from its last checkpoint."""
        from data_pipeline.stores.store import Store
        from search.training.folded_run import FoldedRun
        from search.training.trial_run import TrialRun

        if job.folds:
            stores = [Store.open(store_here(path)) for path in job.folds]
            return FoldedRun(job.config, stores, job.folder, job.resources.threads, job.owner)
        return TrialRun(
            job.config,
            Store.open(store_here(job.store)),
            job.folder,
            threads=job.resources.threads,
            owner=job.owner,
            shared=job.pipeline,
        )

    def _take(self, job: TrialJob) -> None:
        if job.remote is not None:
            job = replace(job, folder=worker_folder(job.remote, job.number))
        self._job = job
        self._failure = None
        self._unpushed = False
        self._reported = 0
        with contextlib.suppress(OSError):  # the first step says it, and waits
            self._log_to(self._folder())
            # For who asks where a trial is being trained: see results/records/status.py.
            write_json(self._folder() / file_names.WORKER, asdict(this_worker()))

    def _folder(self) -> Path:
        """Return the trial's folder, made where the study directory is there."""
        check_present(self._directory)
        self._job.folder.mkdir(exist_ok=True)
        return self._job.folder

    @property
    def _directory(self) -> Path:
        return self._job.folder.parents[1]

    def _epoch(self) -> TrialReport:
        self._folder()
        job = self._job
        if self._run is None:
            if job.remote is not None:
                self._copy = TrialCopy(job.remote.url, job.folder, job.owner)
            self._run = self.begin(job)
        run = self._run
        # A trial may be adopted after its last epoch, before it was told.
        if not run.done and not self._unpushed:
            run.step()
            self._unpushed = self._copy is not None
        self._push()
        new = tuple(run.epochs[self._reported :])
        self._reported = len(run.epochs)
        return TrialReport(run.done, new, run.best, run.costs)

    def _push(self) -> None:
        """Push what the trial has written to the object store that keeps the study."""
        if self._copy is not None:
            self._copy.push()
        self._unpushed = False

    def _fail(self, error: Exception) -> None:
        self._failure = reason_of(error)
        self._drop_run()
        if isinstance(error, SupersededError):  # the folder is another's now
            return
        with contextlib.suppress(OSError):
            (self._folder() / file_names.ERROR).write_text(traceback.format_exc(), encoding="utf-8")
            self._push()

    def _drop_run(self) -> None:
        if self._run is not None:
            self._run.close()
        self._run = None

    def _release(self) -> None:
        self._drop_run()
        if self._copy is not None:
            self._copy.close()
            self._copy = None
        if "keras" in sys.modules:
            import keras

            keras.backend.clear_session(free_memory=False)  # it would collect as well
        gc.collect()
        give_back_free_memory()

    @staticmethod
    def _log_to(folder: Path) -> None:
        """Send the process' output, TensorFlow's C++ messages too, to the trial's worker.log."""
        with open(folder / file_names.WORKER_LOG, "ab", buffering=0) as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
