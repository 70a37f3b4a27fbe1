"""Who runs a study: one process at a time, known by name, and replaced when it is dead.

The lease is the file ``run.lock`` in the study directory, held by ``flock``: it goes with the
process, however that ends. Where the lock of another machine does not reach, or outlives it, the
file's heartbeat tells the living from the dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from search.errors import RunError
from search.process.stop import TRY_AGAIN, Stop

HEARTBEAT_SECONDS = 2.0
# So many heartbeats may be late, on a loaded machine or a slow share, before one counts as dead.
MISSED_BEATS = 4


@contextlib.contextmanager
def study_lease(directory: Path, stop: Stop, take_over: bool = False) -> Iterator[None]:
    """Hold a study against other processes.

    Args:
        directory: The study directory, made where it is missing.
        stop: Told when another process has taken the study over.
        take_over: Take it from a process of another machine, or one that no longer moves.

    Raises:
        RunError: naming the process that holds it, and what may be done.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "run.lock"
    file = _acquire(path, take_over)
    done = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, stop, done), name="lease", daemon=True)
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        holder = {"host": _host(), "pid": os.getpid(), "run": stop.run_id, "since": since}
        _write(file, holder)
        beat.start()
        yield
    except Exception as error:
        # Whatever fails in a process that slept while another took its study: that is why.
        with contextlib.suppress(OSError):  # of a storage that is away, nothing is known
            if not _is_ours(path, stop):
                stop.supersede(_superseded(path))
        if stop.superseded:
            raise RunError(f"stopped: {stop.reason}", TRY_AGAIN) from error
        raise
    finally:
        done.set()
        if beat.ident is not None:
            beat.join()
        if not stop.superseded:
            with contextlib.suppress(OSError):
                file.truncate(0)  # left in order: the next process need not wonder
        file.close()


def _acquire(path: Path, take_over: bool) -> IO[str]:
    file = open(path, "a+", encoding="utf-8")  # noqa: SIM115  (held for the whole run)
    try:
        locked = _lock(file)
        holder = _read(path)
        if locked and (holder is None or holder.get("host") == _host()):
            return file  # the lock of a process on this machine ends with it
        if _beats(path):
            raise RunError(f"{path.parent} is being run by {_name(holder)}, which is alive")
        if not take_over:
            raise RunError(
                f"{path.parent} is held by {_name(holder)}, which gives no sign of life; if it is "
                "dead, take the study over with --take-over"
            )
        if locked:
            return file
    except BaseException:
        file.close()
        raise
    file.close()
    # A lock that its owner will not give back stays with the old file.
    path.unlink()
    file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
    if not _lock(file):
        file.close()
        raise RunError(f"{path.parent} was taken over by another process at this moment")
    return file


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _host() -> str:
    return socket.gethostname()


def _write(file: IO[str], holder: dict[str, Any]) -> None:
    file.seek(0)
    file.truncate()
    file.write(json.dumps(holder))
    file.flush()


def _read(path: Path) -> dict[str, Any] | None:
    """Return who holds the lease; None where the last holder has left in order."""
    text = path.read_text(encoding="utf-8").strip()
    if not text:
        return None
    try:
        holder = json.loads(text)
    except ValueError:
        holder = None
    return holder if isinstance(holder, dict) else {}


def _name(holder: dict[str, Any] | None) -> str:
    if not holder:
        return "another process"
    return f"process {holder.get('pid')} on {holder.get('host')}"


def _beats(path: Path) -> bool:
    """Watch for a heartbeat; by the file's own times, since clocks differ between machines."""
    end = time.monotonic() + MISSED_BEATS * HEARTBEAT_SECONDS
    first = path.stat().st_mtime_ns
    while time.monotonic() < end:
        time.sleep(HEARTBEAT_SECONDS / 10)
        if path.stat().st_mtime_ns != first:
            return True
    return False


def _beat(path: Path, stop: Stop, done: threading.Event) -> None:
    while not done.wait(HEARTBEAT_SECONDS):
        with contextlib.suppress(OSError):  # a storage in trouble is waited for elsewhere
            if _is_ours(path, stop):
                os.utime(path)
            elif not done.is_set():
                stop.supersede(_superseded(path))
                return


def _is_ours(path: Path, stop: Stop) -> bool:
    holder = _read(path)
    return holder is not None and holder.get("run") == stop.run_id


def _superseded(path: Path) -> str:
    return f"another process has taken the study over: {_name(_read(path))}"
