"""Training state in one ``.npz`` file, written so that a reader never finds half of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foundation.files import whole_file

FORMAT = 1
_HEADER = "header"


class CheckpointError(ValueError):
    """A checkpoint that cannot be restored; the text names the file and the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        arrays: Values of all variables, in the order of the model and then of the optimizer.
        header: JSON values: ``model`` (what the arrays belong to), ``state`` and ``extra``.
    """

    arrays: tuple[npt.NDArray[Any], ...]
    header: Mapping[str, Any]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint: all of it or, when interrupted, nothing.

    Raises:
        OSError: where the folder does not exist or cannot be written.
        TypeError: for a header that is not JSON.
    """
    header = json.dumps({**checkpoint.header, "format": FORMAT}).encode()
    arrays = {f"{i:05d}": array for i, array in enumerate(checkpoint.arrays)}
    arrays[_HEADER] = np.frombuffer(header, np.uint8)
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint whole.

    Raises:
        CheckpointError: where there is no file, or it is torn or not a checkpoint.
    """
    try:
        # Opened here, since NumPy does not close what it finds to be torn.
        with open(path, "rb") as file:
            arrays = dict(np.load(file, allow_pickle=False).items())
        header = json.loads(arrays.pop(_HEADER).tobytes())
    except OSError as error:
        raise CheckpointError(path, error.strerror or str(error)) from error
    # A cut or damaged file makes NumPy, zipfile and json fail in more ways than can be listed.
    except Exception as error:
        raise CheckpointError(path, f"torn, or not a checkpoint: {error}") from error
    if header.get("format") != FORMAT:
        raise CheckpointError(path, f"expected format {FORMAT}, received {header.get('format')}")
    return Checkpoint(tuple(arrays[name] for name in sorted(arrays)), header)


def first_difference(expected: Sequence[str], received: Sequence[str]) -> str | None:
    """Say where two descriptions of a model differ first; None if they do not."""
    for ours, theirs in zip(expected, received, strict=False):
        if ours != theirs:
            return f"expected {ours}, received {theirs}"
    if len(expected) != len(received):
        return f"expected {len(expected)} entries, received {len(received)}"
    return None
