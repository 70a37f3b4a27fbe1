"""Writes class maps as colour masks, row by row, so that their size does not matter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import png
from numpy.typing import NDArray

from data_pipeline.config import Color
from foundation.files import whole_file


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
