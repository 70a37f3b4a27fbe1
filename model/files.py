"""Writes files so that a reader never finds half of one."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Lend a temporary name beside a file; what was written there takes its place at the end.

    When writing fails or is interrupted, an existing file stays as it was.

    Raises:
        OSError: where the folder does not exist or cannot be written.
    """
    temporary = _beside(path)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(folder: Path) -> Iterator[Path]:
    """The same for a folder; one that exists is moved away whole before it is removed.

    Raises:
        OSError: where the parent does not exist or cannot be written.
    """
    temporary, old = _beside(folder), _beside(folder, "old")
    try:
        yield temporary
        if folder.exists():
            os.replace(folder, old)
        try:
            os.replace(temporary, folder)
        except OSError:
            if old.exists():
                os.replace(old, folder)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _beside(path: Path, ending: str = "tmp") -> Path:
    # In the same folder, since a rename is atomic within one file system alone. Two machines that
    # share it may have processes of one number.
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.{ending}")
