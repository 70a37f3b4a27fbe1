"""Predicted masks laid over their images, for looking at: small enough for a viewer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from data_pipeline.config import Color

Pixels = NDArray[np.uint8]

LARGEST_SIDE = 4096
_OPACITY = 0.4
_ROWS = 256


class Overlay:
    """The picture of one image, whose mask comes band by band.

    Args:
        image: uint8 [h, w, C], C being 1 or 3 (RGB).
        colors: Of the classes, RGB; of the background nothing is seen.
    """

    def __init__(self, image: Pixels, colors: Sequence[Color]) -> None:
        self._image = image
        self._colors = colors
        # Pixels of the image a side of one of the picture.
        self._step = math.ceil(max(image.shape[:2]) / LARGEST_SIDE)
        height, width = (math.ceil(side / self._step) for side in image.shape[:2])
        self._labels = np.zeros((height, width), np.uint8)
        self._row = 0

    def add(self, band: Pixels) -> None:
        """Take the next rows of the mask, uint8 [n, w]; a pixel shows a class that any of its has.

        A thin crack would be lost where one pixel stood for all.
        """
        if self._step == 1:
            self._labels[self._row : self._row + len(band)] = band
        else:
            rows = (np.arange(len(band)) + self._row) // self._step
            columns = np.arange(0, band.shape[1], self._step)
            narrow = np.maximum.reduceat(band, columns, axis=1)
            np.maximum.at(self._labels, rows, narrow)
        self._row += len(band)

    def picture(self) -> Pixels:
        """Return the image under the classes' colours, outlined: uint8 [H, W, 3], RGB."""
        size = (self._labels.shape[1], self._labels.shape[0])
        picture = self._image
        if self._step > 1:
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        if picture.ndim == 2 or picture.shape[2] == 1:
            picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
        return self._blended(picture, self._edges(max(1, round(max(size) / 800))))

    def _edges(self, thickness: int) -> NDArray[np.bool_]:
        """Return where a pixel of a class is so near to another class, bool [H, W].

        By neighbourhoods, not by contours: of a noisy mask those took gigabytes.
        """
        window = np.ones((2 * thickness + 1, 2 * thickness + 1), np.uint8)
        lowest, highest = cv2.erode(self._labels, window), cv2.dilate(self._labels, window)
        edges: NDArray[np.bool_] = (lowest != highest) & (self._labels > 0)
        return edges

    def _blended(self, picture: Pixels, edges: NDArray[np.bool_]) -> Pixels:
        """Lay the classes' colours over a picture, some rows at a time for the sake of memory."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self._colors)] = self._colors
        drawn = np.empty_like(picture)
        for top in range(0, len(picture), _ROWS):
            rows = slice(top, top + _ROWS)
            labels = self._labels[rows]
            colors = table[labels]
            blend = cv2.addWeighted(picture[rows], 1 - _OPACITY, colors, _OPACITY, 0)
            drawn[rows] = np.where(labels[:, :, None] > 0, blend, picture[rows])
            drawn[rows][edges[rows]] = colors[edges[rows]]
        return drawn
