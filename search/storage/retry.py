"""Storage that is full, read-only or gone for a while: kept apart from defects, and waited for.

A study outlives such hours: what cannot be written is kept and tried again, and where that lasts
too long the run stops cleanly, to be continued by running it again.
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from foundation.errors import first_line
from results.records import file_names

T = TypeVar("T")

RETRY_SECONDS = 2.0

_PASSING = {
    errno.ENOSPC: "is full",
    errno.EDQUOT: "is over its quota",
    errno.EROFS: "is read-only",
    errno.EIO: "cannot be reached",
    errno.ESTALE: "is gone",
    errno.ENODEV: "is gone",
    errno.ENXIO: "is gone",
    errno.ENOTCONN: "is gone",
    errno.ETIMEDOUT: "does not answer",
    errno.EHOSTDOWN: "does not answer",
    errno.EHOSTUNREACH: "does not answer",
}


class StorageGoneError(OSError):
    """A study directory that is not there any more, such as on a share that is not mounted."""

    def __init__(self, directory: Path) -> None:
        super().__init__(errno.ENODEV, "the study directory is gone", str(directory))


class StorageTroubleError(RuntimeError):
    """Storage that stayed out of reach for longer than a run waits, or while it is to end."""


def storage_trouble(error: BaseException, directory: Path) -> str | None:
    """Say what ails the storage, where that is what an error is about; None for anything else.

    Errors are passing troubles by their number (HDF5 gives its own in words alone), and whatever
    fails while the study directory is not there.
    """
    if not isinstance(error, OSError):
        return None
    in_words = re.search(r"errno = (\d+)", str(error))
    number = error.errno or (int(in_words[1]) if in_words else None)
    if number not in _PASSING:
        return (
            None if _present(directory) else storage_trouble(StorageGoneError(directory), directory)
        )
    where = f"{error.filename}: " if error.filename else ""
    return f"the storage {_PASSING[number]} ({where}{error.strerror or first_line(error)})"


def check_present(directory: Path) -> None:
    """Refuse to write into a study directory that has vanished.

    Below a mount point whose share is gone, writing would begin a second study on the local disk.

    Raises:
        StorageGoneError: where its study.yaml is not there.
    """
    if not _present(directory):
        raise StorageGoneError(directory)


def _present(directory: Path) -> bool:
    return (directory / file_names.STUDY).exists()


class StorageRetry:
    """Does again what a storage refuses, until it works or patience runs out.

    Args:
        directory: The study directory.
        seconds: How long to wait for a storage at a time.
        warn: Called with what the run waits for, and that it goes on.
        mend: Called before each further try.
        stopping: Whether the run is to end; then there is no waiting.
        trouble: Says what ails the storage, as :func:`storage_trouble` does.
    """

    def __init__(
        self,
        directory: Path,
        seconds: float,
        warn: Callable[[str], None],
        mend: Callable[[], None],
        stopping: Callable[[], bool],
        trouble: Callable[[BaseException, Path], str | None] = storage_trouble,
    ) -> None:
        self._directory = directory
        self._seconds = seconds
        self._warn = warn
        self._mend = mend
        self._stopping = stopping
        self._trouble = trouble

    def __call__(self, action: Callable[[], T]) -> T:
        """Return what the action returns.

        Raises:
            StorageTroubleError: where it still fails when patience has run out.
        """
        began: float | None = None
        said = None
        while True:
            try:
                if began is not None:
                    self._mend()
                result = action()
            except Exception as error:
                trouble = self._trouble(error, self._directory)
                if trouble is None:
                    raise
                began = began or time.monotonic()
                if trouble != said:
                    self._warn(f"{trouble}; the search pauses until it can write again")
                    said = trouble
                self._wait(trouble, began, error)
            else:
                if began is not None:
                    self._warn(f"writing again after {time.monotonic() - began:.0f} s")
                return result

    def _wait(self, trouble: str, began: float, error: Exception) -> None:
        end = time.monotonic() + RETRY_SECONDS
        while time.monotonic() < end:
            if self._stopping() or time.monotonic() - began > self._seconds:
                raise StorageTroubleError(trouble) from error
            time.sleep(0.1)
