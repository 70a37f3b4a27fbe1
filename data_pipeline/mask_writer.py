"""Writes class maps as colour masks, row by row, so that their size does not matter."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import png
from numpy.typing import NDArray

from data_pipeline.config import Color


def write_mask(
    path: Path,
    shape: tuple[int, int],
    colors: Sequence[Color],
    bands: Iterable[NDArray[np.uint8]],
) -> None:
    """Write a mask as a PNG whose palette is the classes' colours: all of it, or nothing.

    Whatever reads RGB sees the colours, whatever reads the palette's numbers the classes.

    Args:
        path: The file; its folder must be there.
        shape: (height, width) in pixels.
        colors: RGB of each class, in index order.
        bands: uint8 [n, width] each, class indices, from the top; together of that height.

    Raises:
        OSError: naming the file, where it cannot be written.
        ValueError: for bands of another size.
    """
    writer = png.Writer(shape[1], shape[0], palette=list(colors), bitdepth=8)
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        try:
            writer.write(file, (row.tobytes() for band in bands for row in band))
        except png.Error as error:
            raise ValueError(f"{path}: {error}") from error


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a file that takes the place of ``path`` when the block ends well, else goes.

    Raises:
        OSError: naming ``path``.
    """
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix
        )
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o644)  # mkstemp makes it private
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None or _is_other(error.filename, path):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _is_other(name: object, path: Path) -> bool:
    """Tell a file that an error names from ``path`` and from what is written in its stead."""
    return name is not None and not Path(os.fsdecode(str(name))).name.startswith(f".{path.name}.")
