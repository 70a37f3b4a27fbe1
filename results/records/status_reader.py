"""Reads the state of a study, again and again while it runs, without touching anything in it.

Unlike :func:`results.records.study.load_study` this reads the epochs only of the trials that run,
of those that ended lately and of the best ones. What has ended is read once, of the rest only files
that were written since.
"""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from foundation.files import modified, read_json
from results.records import file_names
from results.records.epochs import METRICS, Worker, in_order, read_lines
from results.records.schemas import TrialFile
from results.records.status import (
    RECENT_SECONDS,
    Epochs,
    Holder,
    Status,
    TrialFacts,
    leaders_of,
    status_of,
)
from results.records.study import RecordError, StudyReading, read_header

LEADERS = 12


class StudyWatch:
    """Reads one study directory.

    Args:
        directory: The study directory.
    """

    def __init__(self, directory: Path | str) -> None:
        self._directory = Path(directory)
        self._ended: dict[str, TrialFacts] = {}
        self._epochs: dict[Path, tuple[tuple[int, int], Epochs]] = {}

    def status(self, now: float) -> Status:
        """Return the state of the study.

        Args:
            now: Seconds since 1970.

        Raises:
            RecordError: for a path that is no study directory, or files that cannot be read.
        """
        reading = StudyReading(self._directory)
        header = read_header(reading)
        trials = [] if header is None else self._trials(reading)
        if header is None or reading.problems:
            raise RecordError(self._directory, reading.problems)
        ends = [trial.finished for trial in trials if trial.finished is not None]
        holder = holder_of(self._directory / file_names.LOCK)
        recent = (now if holder else max(ends, default=now)) - RECENT_SECONDS
        trials = [
            self._with_epochs(trial)
            if trial.file.state == "RUNNING" or (trial.finished or 0.0) >= recent
            else trial
            for trial in trials
        ]
        leaders = [self._with_epochs(trial) for trial in leaders_of(header, trials, LEADERS)]
        pipeline = read_json(self._directory / file_names.PIPELINE)
        return status_of(header, self._directory, trials, holder, now, leaders, pipeline)

    def _trials(self, reading: StudyReading) -> list[TrialFacts]:
        folder = self._directory / "trials"
        found: list[TrialFacts] = []
        for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
            trial = self._ended.get(name) or _read_trial(reading, folder / name)
            if trial is None:
                continue
            if trial.file.state != "RUNNING":
                self._ended[name] = trial
            found.append(trial)
        return sorted(found, key=lambda trial: trial.file.number)

    def _with_epochs(self, trial: TrialFacts) -> TrialFacts:
        path = trial.folder / METRICS
        try:
            stat = path.stat()
            signature = stat.st_mtime_ns, stat.st_size
            known = self._epochs.get(path)
            if known is None or known[0] != signature:
                epochs = in_order(read_lines(path.read_bytes()))
                known = self._epochs[path] = signature, Epochs.of(epochs)
        except OSError:  # no epoch yet, or a folder that is just being replaced
            return trial
        return replace(trial, epochs=known[1])


def _read_trial(reading: StudyReading, folder: Path) -> TrialFacts | None:
    path = folder / file_names.TRIAL
    try:
        file = TrialFile.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None  # about to begin, or no trial's folder
    except OSError as error:
        reading.problem(path, f"cannot be read: {error.strerror or error}")
        return None
    except ValidationError as error:
        reading.invalid(path, error)
        return None
    if file.state != "RUNNING":
        return TrialFacts(
            file, folder, finished=seconds_of(file.finished), started=seconds_of(file.started)
        )
    signs = [
        modified(folder / name) for name in (file_names.WORKER, METRICS, file_names.WORKER_LOG)
    ]
    return TrialFacts(
        file,
        folder,
        seen=max((sign for sign in signs if sign is not None), default=None),
        started=seconds_of(file.started),
        worker=Worker.read(folder / file_names.WORKER),
    )


def holder_of(path: Path) -> Holder | None:
    """Return who holds a study by its run.lock (see ``search/storage/lock.py``); None: nobody.

    The file is read only: to try its lock could turn away a driver that starts at this moment.
    """
    beat = modified(path)
    holder = read_json(path)
    if beat is None or not holder:
        return None
    host, pid = holder.get("host"), holder.get("pid")
    here = host == socket.gethostname() and isinstance(pid, int)
    return Holder(host, pid, seconds_of(holder.get("since")), beat, here and not _exists(pid))


def _exists(pid: Any) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        return True
    return True


def seconds_of(time: Any) -> float | None:
    """Return an ISO time as seconds since 1970; without a zone it is this machine's."""
    try:
        return datetime.fromisoformat(time).timestamp()
    except (TypeError, ValueError):
        return None
