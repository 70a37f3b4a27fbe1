"""The folder that ``predict`` writes: masks, overlays, probabilities, and a table of the images."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data_pipeline.config import Color
from data_pipeline.datasets.mask_writer import write_mask
from data_pipeline.datasets.overlays import Overlay
from foundation.files import check_replaceable, whole_file, write_json

MARK = "predict.json"
TABLE = "predictions.csv"
MASKS, OVERLAYS, PROBABILITIES = "masks", "overlays", "probabilities"
_COLUMNS = ("image", "height", "width", "how", "seconds", "error")
_JPEG_QUALITY = 90

Pixels = NDArray[np.uint8]
Probabilities = NDArray[np.float32]


@dataclass
class PredictedImage:
    """What came of one image.

    Attributes:
        image: Its file.
        shape: (height, width); 0 where it could not be read.
        how: whole or tiled; empty without a mask.
        pixels: Class name to pixels.
        seconds: Of decoding, of the model (of a batch its share) and of writing.
        error: Why there is no mask; empty where there is one.
    """

    image: Path
    shape: tuple[int, int] = (0, 0)
    how: str = ""
    pixels: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""


class Folder:
    """Where predictions are written; each file whole or not at all.

    Args:
        out: The folder: a new one, an empty one, or one of earlier predictions, whose files of the
            same names are replaced.
        classes: Names, background first.
        colors: Their RGB colours.

    Raises:
        FileExistsError: where it holds anything else.
    """

    def __init__(self, out: Path, classes: Sequence[str], colors: Sequence[Color]) -> None:
        names = (MARK, TABLE, MASKS, OVERLAYS, PROBABILITIES)
        check_replaceable(out, names, MARK, "earlier predictions")
        self.out = out
        self._classes = tuple(classes)
        self._colors = tuple(colors)

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Write what tells this folder from others: predict.json; and begin predictions.csv."""
        self.out.mkdir(parents=True, exist_ok=True)
        write_json(self.out / MARK, facts)
        with open(self.out / TABLE, "w", encoding="utf-8", newline="") as file:
            # A class may have any name, that of a column too.
            classes = [f"{name} (class)" if name in _COLUMNS else name for name in self._classes]
            csv.writer(file).writerow([*_COLUMNS, *classes])

    def note(self, outcome: PredictedImage) -> None:
        pixels = [outcome.pixels.get(name, "") for name in self._classes]
        row = (str(outcome.image), *outcome.shape, outcome.how, f"{outcome.seconds:.3f}")
        with open(self.out / TABLE, "a", encoding="utf-8", newline="") as file:
            csv.writer(file).writerow([*row, outcome.error, *pixels])

    def write_mask(
        self, name: str, image: Pixels, bands: Iterator[Pixels], overlay: bool
    ) -> dict[str, int]:
        """Write an image's mask as it comes, and the overlay.

        Args:
            name: Of the files, without a suffix.
            image: uint8 [h, w, C].
            bands: uint8 [n, w] each, class indices, from the top; together of the image's height.
            overlay: Whether to write one.

        Returns:
            Class name to pixels.
        """
        shape = (image.shape[0], image.shape[1])
        drawn = Overlay(image, self._colors) if overlay else None
        pixels = np.zeros(len(self._colors), np.int64)

        def seen() -> Iterator[Pixels]:
            for band in bands:
                pixels[:] += np.bincount(band.ravel(), minlength=len(pixels))
                if drawn is not None:
                    drawn.add(band)
                yield band

        write_mask(self._path(MASKS, name, ".png"), shape, self._colors, seen())
        if drawn is not None:
            _write_jpeg(self._path(OVERLAYS, name, ".jpg"), drawn.picture())
        return dict(zip(self._classes, pixels.tolist(), strict=True))

    def keep(
        self, name: str, shape: tuple[int, int], bands: Iterator[Probabilities]
    ) -> Iterator[Probabilities]:
        """Pass on bands of probabilities, and have them in an ``.npy`` file when they end.

        Args:
            name: Of the file, without a suffix.
            shape: (height, width) of all bands together.
            bands: float32 [n, w, classes] each, from the top.
        """
        path = self._path(PROBABILITIES, name, ".npy")
        header = {"descr": "<f4", "fortran_order": False, "shape": (*shape, len(self._classes))}
        # Written one after the other: into a mapped file of a full disk the process would crash.
        with whole_file(path) as temporary, open(temporary, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for band in bands:
                file.write(np.ascontiguousarray(band, "<f4").data)
                yield band

    def _path(self, kind: str, name: str, suffix: str) -> Path:
        path = self.out / kind / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _write_jpeg(path: Path, picture: Pixels) -> None:
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), quality)
    with whole_file(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
