"""Images larger than a model, tile by tile: where the tiles lie, and how they are blended.

Neighbouring tiles overlap. In the overlap one fades into the other, and what lies nearest to a
tile's edge, where the model saw least around it, counts for nothing. So the tiles of a model that
needs no more context than a quarter of the overlap give, away from the image's border, exactly
what the model gives of the whole image. Blending overlapping tiles by weights: Isensee et al.,
nnU-Net, Nature Methods 18 (2021), whose weights are Gaussian.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data_pipeline.datasets.resize import resize_image, restore

Pixels = NDArray[np.uint8]
Probabilities = NDArray[np.float32]
Ask = Callable[[Pixels], Probabilities]

MOST_ALIGNED = 32
_ROWS = 32  # of a band that are passed on together


@dataclass(frozen=True)
class TileAxis:
    """The tiles along one side of an image, all distances in pixels of the image.

    Attributes:
        length: Of the side.
        window: Of a tile.
        starts: Where the tiles begin; the last one may reach beyond the image.
    """

    length: int
    window: int
    starts: tuple[int, ...]

    @classmethod
    def plan(cls, length: int, window: int, overlap: int, alignment: int = 1) -> TileAxis:
        """Lay tiles over a side.

        Args:
            length: Of the side.
            window: Of a tile.
            overlap: Least that neighbours share, below ``window``.
            alignment: Starts are its multiples, so that pooling meets the pixels as it would in
                the whole image.
        """
        stride = max(alignment, (window - overlap) // alignment * alignment)
        beyond = max(0, length - window)
        last = math.ceil(beyond / alignment) * alignment
        return cls(length, window, (*range(0, last, stride), last))

    def weights(self) -> NDArray[np.float32]:
        """Weigh every pixel of every tile, float32 [tiles, window]; over a pixel they sum to 1.

        A tile's outer quarter of an overlap counts for nothing; between, weights follow a cosine.
        At the image's border, where there is no neighbour, they are even.
        """
        place = np.arange(self.window, dtype=np.float64) + 0.5
        raw = np.ones((len(self.starts), self.window))
        for tile, (first, second) in enumerate(zip(self.starts, self.starts[1:], strict=False)):
            shared = first + self.window - second
            if shared > 0:
                done = np.clip((place / shared - 0.25) * 2, 0, 1)
                rise = (1 - np.cos(np.pi * done)) / 2
                raw[tile + 1] *= rise
                raw[tile] *= rise[::-1]
        total = np.zeros(self.starts[-1] + self.window)
        for start, weight in zip(self.starts, raw, strict=True):
            total[start : start + self.window] += weight
        return np.stack(
            [
                weight / np.maximum(total[start : start + self.window], 1e-12)
                for start, weight in zip(self.starts, raw, strict=True)
            ]
        ).astype(np.float32)


@dataclass(frozen=True)
class Tiling:
    """The tiles of one image.

    Attributes:
        rows: Along its height.
        columns: Along its width.
        tile: (height, width) that the model takes.
    """

    rows: TileAxis
    columns: TileAxis
    tile: tuple[int, int]

    @classmethod
    def plan(
        cls, shape: tuple[int, int], tile: tuple[int, int], overlap: float, scale: float = 1.0
    ) -> Tiling:
        """Lay tiles over an image.

        Args:
            shape: (height, width) of the image.
            tile: (height, width) that the model takes.
            overlap: Least share of a tile that neighbours have in common, 0 to below 1.
            scale: Size at which the model shall see the image, relative to its own: with 0.5 a
                tile shows twice as many pixels a side, made smaller.

        Raises:
            ValueError: for an overlap or scale out of range.
        """
        if not 0 <= overlap < 1:
            raise ValueError(f"expected an overlap of 0 to below 1, received {overlap}")
        if not 0 < scale < math.inf:
            raise ValueError(f"expected a scale above 0, received {scale}")
        axes = [
            _axis(length, side, overlap, scale) for length, side in zip(shape, tile, strict=True)
        ]
        return cls(axes[0], axes[1], tile)

    @property
    def count(self) -> int:
        return len(self.rows.starts) * len(self.columns.starts)


def _axis(length: int, side: int, overlap: float, scale: float) -> TileAxis:
    window = max(1, round(side / scale))
    shared = math.ceil(overlap * window)
    return TileAxis.plan(length, window, shared, _alignment(side, shared) if scale == 1 else 1)


def _alignment(side: int, shared: int) -> int:
    """Return pixels whose multiples tiles begin at.

    A model halves its side once a level but one, so that 2**(levels - 1) divides the side. Which
    power of two it is does not show in a model: the largest that costs little overlap.
    """
    divides = side & -side
    room = min(shared, side - shared) if shared else side
    return min(divides, 1 << int(math.log2(max(room, 1))), MOST_ALIGNED)


def blended(
    image: Pixels,
    tiling: Tiling,
    ask: Ask,
    batch_size: int,
    advance: Callable[[int], None] = lambda tiles: None,
) -> Iterator[Probabilities]:
    """Yield the probabilities of an image, band by band from the top.

    Only one band of the height of a tile is held: float32 [window, width, classes].

    Args:
        image: uint8 [h, w, C].
        tiling: Of the image.
        ask: The model: uint8 [B, H, W, C] to float32 [B, H, W, classes].
        batch_size: Tiles a step.
        advance: Called with the number of tiles after each step.

    Yields:
        float32 [n, w, classes]; all bands together have the image's height.
    """
    rows, columns = tiling.rows, tiling.columns
    weights = columns.weights()
    band: Probabilities | None = None
    for number, (start, fade) in enumerate(zip(rows.starts, rows.weights(), strict=True)):
        for places in _batches(range(len(columns.starts)), batch_size):
            tiles = [_tile(image, tiling, start, columns.starts[place]) for place in places]
            for place, found in zip(places, ask(np.stack(tiles)), strict=True):
                found = restore(found, (rows.window, columns.window), "stretch")
                if band is None:
                    width = columns.starts[-1] + columns.window
                    band = np.zeros((rows.window, width, found.shape[2]), np.float32)
                left = columns.starts[place]
                weight = fade[:, None, None] * weights[place][None, :, None]
                band[:, left : left + columns.window] += weight * found
            advance(len(places))
        if band is None:  # an image has at least one tile
            return
        last = number + 1 == len(rows.starts)
        done = rows.length - start if last else rows.starts[number + 1] - start
        for top in range(0, done, _ROWS):  # few at a time: a copy of all is as large as the band
            yield band[top : min(top + _ROWS, done), : columns.length].copy()
        if not last:
            band[: rows.window - done] = band[done:]  # NumPy minds that they may overlap
            band[rows.window - done :] = 0


def _batches(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _tile(image: Pixels, tiling: Tiling, top: int, left: int) -> Pixels:
    """Cut out one tile, uint8 [H, W, C]; what lies beyond the image is its mirror image."""
    height, width = tiling.rows.window, tiling.columns.window
    cut = image[top : top + height, left : left + width]
    below, right = height - cut.shape[0], width - cut.shape[1]
    while below or right:  # a reflection is at most as long as what it reflects
        steps = min(below, max(cut.shape[0] - 1, 1)), min(right, max(cut.shape[1] - 1, 1))
        border = cv2.BORDER_REFLECT_101 if min(cut.shape[:2]) > 1 else cv2.BORDER_REPLICATE
        cut = cv2.copyMakeBorder(cut, 0, steps[0], 0, steps[1], border)
        below, right = below - steps[0], right - steps[1]
    whole = np.ascontiguousarray(cut).reshape(height, width, image.shape[2])
    return resize_image(whole, tiling.tile, "stretch")


def flipped(ask: Ask, flips: str) -> Ask:
    """Average a model's answers over mirror images, each turned back (test-time augmentation).

    Args:
        ask: The model.
        flips: none, horizontal (two answers) or all (four).

    Raises:
        ValueError: for other flips.
    """
    axes: dict[str, tuple[tuple[int, ...], ...]] = {
        "none": ((),),
        "horizontal": ((), (2,)),
        "all": ((), (1,), (2,), (1, 2)),
    }
    if flips not in axes:
        raise ValueError(f"expected flips of {list(axes)}, received {flips!r}")
    if flips == "none":
        return ask

    def average(images: Pixels) -> Probabilities:
        total = np.zeros((), np.float32)
        for turned in axes[flips]:
            seen = np.ascontiguousarray(np.flip(images, turned))
            total = total + np.flip(ask(seen), turned)
        mean: Probabilities = total / np.float32(len(axes[flips]))
        return mean

    return average
