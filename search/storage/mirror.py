"""A study in an object store: the driver's copy of it, and the workers' copies of trials.

Everybody works on local copies and pushes what changed. The driver's copy is thrown away for the
store's whenever a run starts; what the driver must not lose (a trial's start and its end) it
pushes before it goes on, and epochs every few seconds. A worker pushes each epoch before it reports
it, in an order that a kill may interrupt: model, checkpoint, the rest, metrics.jsonl.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from results.records import file_names
from search.config.locations import copy_of, joined
from search.config.schema import StudyConfig
from search.errors import TRY_AGAIN, RunError, SupersededError
from search.process.stop import Stop
from search.storage.files import trial_folder
from search.storage.lock import LOCK, remote_lock, study_lock
from search.storage.object_store import Entry, RemoteFolder, RemoteTroubleError, fetch

OWNER = "owner"
PUSH_SECONDS = 5.0

# The driver's part of a study. A trial's other files are its worker's.
_DRIVERS = (
    file_names.STUDY,
    file_names.DATA,
    file_names.PIPELINE,
    file_names.REFUSED,
    file_names.DUPLICATES,
    file_names.JOURNAL,
    "trials/*/trial.json",
    "tensorboard/*/*",
)


@contextlib.contextmanager
def hold_study(config: StudyConfig, stop: Stop, take_over: bool) -> Iterator[StudyCopy | None]:
    """Hold a study, wherever it is kept; of one in a store, with the driver's copy of it.

    Raises:
        RunError: where another process holds it, or the store is out of reach at the end.
        search.storage.object_store.RemoteTroubleError: where it is at the beginning.
    """
    with study_lock(config.directory, stop, take_over):
        if config.origin is None:
            yield None
            return
        with remote_lock(config.origin, stop, take_over):
            copy = StudyCopy(config.origin, config.directory)
            copy.pull()
            yield copy
            if not stop.superseded:
                try:
                    copy.push()
                    copy.refresh()
                except RemoteTroubleError as error:
                    raise RunError(
                        f"stopped: {error}; the same command continues the study", TRY_AGAIN
                    ) from error


class StudyCopy:
    """The driver's copy of a study.

    Args:
        url: The study's own URL, its name included.
        copy: The local folder.
    """

    def __init__(self, url: str, copy: Path) -> None:
        self.origin = RemoteFolder(url)
        self._copy = copy
        self._pushed: dict[str, tuple[int, int]] = {}
        self._last = float("-inf")

    def pull(self) -> None:
        """Throw the copy away for what the store holds."""
        lock = self._copy / LOCK  # this process holds it
        if self._copy.exists():
            for path in self._copy.iterdir():
                if path != lock:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.refresh()
        self._pushed = {name: _stamp(self._copy / name) for name in self._names()}

    def refresh(self) -> None:
        """Fetch what the workers have written meanwhile."""
        fetch(self.origin, self._copy, but=set(self._names()), logs=True)

    def push(self, urgent: bool = True) -> None:
        """Push what changed; unless urgent, at most every few seconds.

        Raises:
            search.storage.object_store.RemoteTroubleError: what is not pushed yet is, the next
                time.
        """
        if not urgent and time.monotonic() - self._last < PUSH_SECONDS:
            return
        # The journal last: a trial that it tells of has its trial.json.
        for name in sorted(self._names(), key=lambda name: name == file_names.JOURNAL):
            stamp = _stamp(self._copy / name)
            if self._pushed.get(name) != stamp:
                self.origin.upload(self._copy / name, name)
                self._pushed[name] = stamp
        self._last = time.monotonic()

    def _names(self) -> list[str]:
        return [
            str(path.relative_to(self._copy))
            for pattern in _DRIVERS
            for path in self._copy.glob(pattern)
        ]


@dataclass(frozen=True)
class RemoteTrial:
    """Where a trial lies whose study is in an object store.

    Attributes:
        url: The trial's folder in the store.
        storage_path, name, cache_path: The study's, by which a worker has a folder of its own.
    """

    url: str
    storage_path: str
    name: str
    cache_path: Path | None


def place_in_store(config: StudyConfig, number: int) -> RemoteTrial | None:
    """Return where a trial lies in the object store that keeps its study.

    None where the study lies in a folder.
    """
    origin, study = config.origin, config.study
    if origin is None:
        return None
    folder = trial_folder(config.directory, number).relative_to(config.directory)
    url = joined(origin, *folder.parts)
    return RemoteTrial(url, study.storage_path, study.name, study.cache_path)


class TrialCopy:
    """A worker's copy of a trial's folder: claimed and fetched at its beginning.

    Args:
        url: The trial's folder in the store.
        folder: The local folder; what an earlier trial has left there is removed.
        owner: Who trains here; whoever claims the folder later may push, this one no more.
    """

    def __init__(self, url: str, folder: Path, owner: str) -> None:
        self._origin = RemoteFolder(url)
        self._folder = folder
        self._owner = owner
        # First of all: from here on, a worker that was cut off can change nothing.
        self._origin.write(OWNER, owner.encode())
        for path in folder.iterdir():
            if path.stem != "worker":
                path.unlink()
        kept = [e for e in self._origin.list() if not self._is_others(e)]
        for entry in kept:
            self._origin.download(entry.name, folder / entry.name)
        self._pushed = {entry.name: _stamp(folder / entry.name) for entry in kept}

    @staticmethod
    def _is_others(entry: Entry) -> bool:
        return "/" in entry.name or entry.name in (OWNER, *_DRIVERS_AND_LOG)

    def push(self) -> None:
        """Push the files that changed.

        Raises:
            search.errors.SupersededError: where another worker has claimed the trial.
            search.storage.object_store.RemoteTroubleError: the next call goes on.
        """
        owner = self._origin.read(OWNER).decode()
        if owner != self._owner:
            raise SupersededError(f"expected {self._origin.url} to be ours; it is {owner}'s")
        for name in sorted(self._names(), key=_order):
            stamp = _stamp(self._folder / name)
            if self._pushed.get(name) == stamp:
                continue
            if name == file_names.LAST and name in self._pushed:
                self._origin.copy(name, file_names.PREVIOUS)
            self._origin.upload(self._folder / name, name)
            self._pushed[name] = stamp

    def close(self) -> None:
        """Remove the local folder: the store has it all."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _names(self) -> list[str]:
        return [
            path.name
            for path in self._folder.iterdir()
            if path.is_file() and not path.name.startswith(".") and path.name not in _NOT_PUSHED
        ]


_DRIVERS_AND_LOG = (file_names.TRIAL, file_names.WORKER_LOG, file_names.WORKER)
_NOT_PUSHED = (OWNER, file_names.PREVIOUS, file_names.TRIAL)


def worker_folder(remote: RemoteTrial, number: int) -> Path:
    """Make the folder on this machine of a trial whose study is in a store; return it."""
    # Not in the driver's copy, which may be on this machine, too.
    study = copy_of(remote.storage_path, remote.name, remote.cache_path)
    folder = trial_folder(study.with_name(f"{study.name}.scratch"), number)
    folder.mkdir(parents=True, exist_ok=True)
    (folder.parents[1] / file_names.STUDY).touch()  # it is there: see search/storage/retry.py
    return folder


def _order(name: str) -> tuple[int, str]:
    ranks = {".keras": 0, ".npz": 1, ".jsonl": 3}
    return ranks.get(Path(name).suffix, 2), name


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size
