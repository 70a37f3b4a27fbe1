"""The study's journal as one process writes it: many lines at a time, made durable where it counts.

Optuna's own backend locks, opens, writes and syncs the file for each of the sixteen or so lines
that a trial takes, since others may write in between. Here the process holds the study (see
``search/storage/lock.py``), so that lines which belong together share a lock and, where they must
outlast
a power cut, a sync. The file is the same: whatever reads Optuna's journals reads it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Container, Generator, Iterator
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

# What a power cut may take of what was reported; what a kill takes is nothing. A lost line costs
# no more than the report of an epoch or an end, which the trial's own folder still has.
SYNC_SECONDS = 1.0


class StudyJournal(JournalFileBackend):
    """A journal file with one writer."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._depth = 0
        self._dirty = False
        self._synced = time.monotonic()

    @contextlib.contextmanager
    def together(self, durable: bool) -> Iterator[None]:
        """Write what is written within under one lock.

        Args:
            durable: Whether it is on the disk afterwards; else within a second of writing, or with
                the next lines that must be.
        """
        if self._depth:
            yield
            return
        self._lock.acquire()
        self._depth += 1
        try:
            yield
            if durable or time.monotonic() - self._synced > SYNC_SECONDS:
                self.sync()
        finally:
            self._depth -= 1
            # Gone with a storage that has vanished: who writes next will be told of that.
            with contextlib.suppress(RuntimeError):
                self._lock.release()

    def sync(self) -> None:
        """Wait until all that was written is on the disk."""
        if not self._dirty:
            return
        descriptor = os.open(self._file_path, os.O_WRONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._dirty, self._synced = False, time.monotonic()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append lines; by themselves they are durable at once."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with self.together(durable=True):
            self._dirty = True
            with open(self._file_path, "ab") as file:
                file.write(lines.encode("utf-8"))

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Yield the lines from a number on; without opening the file where there are none."""
        read = self._log_number_offset.get(log_number_from)
        if read is None or os.stat(self._file_path).st_size != read:
            yield from super().read_logs(log_number_from)


class StudyStorage(JournalStorage):
    """A journal that looks at none of the trials that have ended to list a study's trials."""

    def __init__(self, backend: StudyJournal) -> None:
        super().__init__(backend)
        self.journal = backend
        self._known: dict[int, list[FrozenTrial]] = {}  # of each study, by number
        self._open: dict[int, list[int]] = {}  # numbers of those that have not ended

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials in the states, by number."""
        if deepcopy:
            return super().get_all_trials(study_id, deepcopy, states)
        with self._thread_lock:
            self._sync_with_backend()
            known, unended = self._refreshed(study_id)
            if states is None:
                return list(known)
            ended = any(state in states for state in TrialState if state.is_finished())
            trials = known if ended else [known[number] for number in unended]
            return [trial for trial in trials if trial.state in states]

    def _refreshed(self, study_id: int) -> tuple[list[FrozenTrial], list[int]]:
        """Return a study's trials, and the numbers of those that have not ended.

        A trial that has ended stays as it is; the others are read from the journal anew.
        """
        replay = self._replay_result
        replay.get_study(study_id)
        ids = replay._study_id_to_trial_ids[study_id]
        known = self._known.setdefault(study_id, [])
        numbers = [*self._open.get(study_id, ()), *range(len(known), len(ids))]
        for number in numbers:
            known[number : number + 1] = [replay.get_trial(ids[number])]
        unended = [number for number in numbers if not known[number].state.is_finished()]
        self._open[study_id] = unended
        return known, unended


def journal_of(storage: BaseStorage) -> StudyJournal | None:
    """Return the journal of a storage that is one."""
    return storage.journal if isinstance(storage, StudyStorage) else None


def together(study: optuna.Study, durable: bool) -> contextlib.AbstractContextManager[None]:
    """Write to a study as :meth:`StudyJournal.together`; a database needs no such care."""
    journal = journal_of(study._storage)
    return contextlib.nullcontext() if journal is None else journal.together(durable)
