"""Keeps TensorFlow's messages off the terminal of a command."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Hold back what the process writes to stderr; where the block fails it is written after all.

    TensorFlow's C++ code tells of drivers that are not there on every start, past any logging
    setting, among the lines that are meant for the user.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException as error:
            _give_back(terminal)
            if not _speaks(error):
                held.seek(0)
                os.write(2, held.read())
            raise
        else:
            _give_back(terminal)
        finally:
            os.close(terminal)


def start_tensorflow() -> None:
    """Import TensorFlow and let it look for devices: that is when it tells of drivers.

    What it writes later is shown, as nothing could show it after a crash of its own.
    """
    with quiet_tensorflow():
        import tensorflow as tf

        tf.config.list_physical_devices()


def _give_back(terminal: int) -> None:
    sys.stderr.flush()
    os.dup2(terminal, 2)


def _speaks(error: BaseException) -> bool:
    """Tell errors whose message is all that the user needs."""
    return isinstance(error, ValueError | OSError | KeyboardInterrupt)
