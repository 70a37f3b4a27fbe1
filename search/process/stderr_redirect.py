"""Keeps what TensorFlow's C++ code writes off the terminal, where no logging setting reaches it."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from search.process.tensorflow_import import import_tensorflow


@contextlib.contextmanager
def stderr_to(path: Path) -> Iterator[None]:
    """Send what the process writes to stderr, TensorFlow's C++ messages too, to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab", buffering=0) as file, _redirected(file.fileno()):
        yield


@contextlib.contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Hold back what the process writes to stderr; where the block fails it is written after all.

    TensorFlow tells of drivers that are not there on every start, among the lines that are meant
    for the user.
    """
    with tempfile.TemporaryFile() as held:
        try:
            with _redirected(held.fileno()):
                yield
        except BaseException as error:
            if not _speaks(error):
                held.seek(0)
                os.write(2, held.read())
            raise


def start_tensorflow() -> None:
    """Import TensorFlow and let it look for devices: that is when it tells of drivers.

    What it writes later is shown, as nothing could show it after a crash of its own.
    """
    with quiet_tensorflow():
        import_tensorflow().config.list_physical_devices()


@contextlib.contextmanager
def _redirected(descriptor: int) -> Iterator[None]:
    sys.stderr.flush()
    terminal = os.dup(2)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(terminal, 2)
        os.close(terminal)


def _speaks(error: BaseException) -> bool:
    """Tell errors whose message is all that the user needs."""
    return isinstance(error, ValueError | OSError | KeyboardInterrupt)
