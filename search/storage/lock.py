"""Who runs a study: one process at a time, known by name, and replaced when it is dead.

The holder writes itself down where the study lies and beats every few seconds; whoever wants the
study watches whether it does. In a folder that is ``run.lock``, held by ``flock`` too, which goes
with the process however that ends; in an object store, which knows no locks, an object of this name
that changes with every beat.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol

from results.records import file_names
from search.errors import TRY_AGAIN, RunError
from search.process.stop import Stop
from search.storage.object_store import RemoteFolder

LOCK = file_names.LOCK
HEARTBEAT_SECONDS = 2.0
# So many heartbeats may be late, on a loaded machine or a slow share, before one counts as dead.
MISSED_BEATS = 4
# Of two processes that come to an object store at once, the later one is seen by then.
SETTLE_SECONDS = 1.0

Holder = Mapping[str, Any]


class Lock(Protocol):
    """Where the holder of a study is written down."""

    def acquire(self, take_over: bool) -> None:
        """Take the lock; raise RunError, naming the holder, where another process has it."""

    def read(self) -> Holder | None:
        """Return the holder; empty where it is not known, None where the last one left it."""

    def write(self, holder: Holder) -> None:
        """Write the holder down."""

    def beat(self, holder: Holder) -> None:
        """Give a sign of life."""

    def clear(self) -> None:
        """Leave the lock in order: the next process need not wonder."""

    def close(self) -> None:
        """Let go of it."""


def study_lock(
    directory: Path, stop: Stop, take_over: bool = False
) -> contextlib.AbstractContextManager[None]:
    """Hold a study in a folder, which is made where it is missing: see :func:`held`."""
    directory.mkdir(parents=True, exist_ok=True)
    return held(FileLock(directory / LOCK), stop, take_over)


def remote_lock(
    url: str, stop: Stop, take_over: bool = False
) -> contextlib.AbstractContextManager[None]:
    """Hold a study in an object store: see :func:`held`."""
    return held(RemoteLock(url), stop, take_over)


@contextlib.contextmanager
def held(lock: Lock, stop: Stop, take_over: bool) -> Iterator[None]:
    """Hold a study against other processes.

    Args:
        lock: Where the holder is written down.
        stop: Told when another process has taken the study over.
        take_over: Take it from a process of another machine, or one that no longer moves.

    Raises:
        RunError: naming the process that holds it, and what may be done.
        OSError: where the lock cannot be written.
    """
    lock.acquire(take_over)
    holder = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "boot": _boot(),
        "run": stop.run_id,
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    done = threading.Event()
    beat = threading.Thread(target=_beat, args=(lock, holder, stop, done), name="lock", daemon=True)
    try:
        lock.write(holder)
        beat.start()
        yield
    except Exception as error:
        # Whatever fails in a process that slept while another took its study: that is why.
        with contextlib.suppress(OSError):  # of a storage that is away, nothing is known
            _check_ours(lock, stop)
        if stop.superseded:
            raise RunError(f"stopped: {stop.reason}", TRY_AGAIN) from error
        raise
    finally:
        done.set()
        if beat.ident is not None:
            beat.join()
        if not stop.superseded:
            with contextlib.suppress(OSError):
                lock.clear()
        lock.close()


def _beat(lock: Lock, holder: Holder, stop: Stop, done: threading.Event) -> None:
    while not done.wait(HEARTBEAT_SECONDS):
        with contextlib.suppress(OSError):  # a storage in trouble is waited for elsewhere
            with contextlib.suppress(FileNotFoundError):  # removed by hand: written anew
                if not done.is_set() and not _check_ours(lock, stop):
                    return
            lock.beat(holder)


def _check_ours(lock: Lock, stop: Stop) -> bool:
    """Return whether this run holds the lock still; tell the run where it does not."""
    found = lock.read()
    ours = found is not None and found.get("run") == stop.run_id
    if not ours:
        stop.supersede(f"another process has taken the study over: {_name(found)}")
    return ours


class FileLock:
    """The file ``run.lock``, held by ``flock``; its time is the heartbeat."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def acquire(self, take_over: bool) -> None:
        file = open(self._path, "a+", encoding="utf-8")  # noqa: SIM115  (held for the whole run)
        try:
            locked = _flock(file)
            holder = self.read()
            free = holder is None or holder.get("host") == socket.gethostname()
            # The lock of a process on this machine ends with it.
            if not (locked and free):
                _check_dead(self._path.parent, holder, self._stamp, take_over)
        except BaseException:
            file.close()
            raise
        self._file = file if locked else self._replaced(file)

    def _replaced(self, file: IO[str]) -> IO[str]:
        """Leave a lock that its owner will not give back with the old file."""
        file.close()
        self._path.unlink()
        file = open(self._path, "a+", encoding="utf-8")  # noqa: SIM115
        if not _flock(file):
            file.close()
            raise RunError(f"{self._path.parent} was taken over by another process at this moment")
        return file

    def _stamp(self) -> object:
        # The file's own times: clocks differ between machines.
        return self._path.stat().st_mtime_ns

    def read(self) -> Holder | None:
        return _parsed(self._path.read_bytes())

    def write(self, holder: Holder) -> None:
        if self._file is not None:
            self._file.seek(0)
            self._file.truncate()
            self._file.write(json.dumps(holder))
            self._file.flush()

    def beat(self, holder: Holder) -> None:
        os.utime(self._path)

    def clear(self) -> None:
        if self._file is not None:
            self._file.truncate(0)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class RemoteLock:
    """The object ``run.lock`` in a store; it is written again with each beat."""

    def __init__(self, url: str) -> None:
        self._folder = RemoteFolder(url)
        self._beats = 0

    def acquire(self, take_over: bool) -> None:
        with contextlib.suppress(FileNotFoundError):  # the first run of the study
            holder = self.read()
            if holder is not None and not _is_gone(holder):
                _check_dead(self._folder.url, holder, self.read, take_over)

    def read(self) -> Holder | None:
        return _parsed(self._folder.read(LOCK))

    def write(self, holder: Holder) -> None:
        self.beat(holder)
        time.sleep(SETTLE_SECONDS)
        found = self.read()
        if found is None or found.get("run") != holder["run"]:
            raise RunError(
                f"{self._folder.url} is being run by {_name(found)}, which has just begun"
            )

    def beat(self, holder: Holder) -> None:
        self._folder.write(LOCK, json.dumps({**holder, "beats": self._beats}).encode())
        self._beats += 1

    def clear(self) -> None:
        self._folder.write(LOCK, b"")

    def close(self) -> None:
        """Do nothing."""


class _Stamp(Protocol):
    def __call__(self) -> object:
        """Return what changes with every beat."""


def _check_dead(where: object, holder: Holder | None, stamp: _Stamp, take_over: bool) -> None:
    """Refuse a study whose holder lives; and one whose holder is silent, without ``take_over``."""
    end = time.monotonic() + MISSED_BEATS * HEARTBEAT_SECONDS
    first = stamp()
    while time.monotonic() < end:
        time.sleep(HEARTBEAT_SECONDS / 10)
        if stamp() != first:
            raise RunError(f"{where} is being run by {_name(holder)}, which is alive")
    if not take_over:
        raise RunError(
            f"{where} is held by {_name(holder)}, which gives no sign of life; if it is dead, "
            "run or confirm with --take-over takes the study over"
        )


def _flock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _parsed(content: bytes) -> Holder | None:
    if not content.strip():
        return None
    try:
        holder = json.loads(content)
    except ValueError:
        holder = {}
    return holder if isinstance(holder, dict) else {}


def _name(holder: Holder | None) -> str:
    if not holder:
        return "another process"
    return f"process {holder.get('pid')} on {holder.get('host')}"


def _is_gone(holder: Holder) -> bool:
    """Return whether the holder was a process of this very boot, and is there no more."""
    if holder.get("host") != socket.gethostname() or holder.get("boot") != _boot():
        return False
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, KeyError):
        return False
    return False


def _boot() -> str:
    """Return what tells this boot of this machine, and this container's processes, from others."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return ""
