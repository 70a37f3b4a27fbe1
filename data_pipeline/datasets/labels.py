"""Masks: from colours, indices or one-hot arrays to class indices, and back to colours."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from data_pipeline.config import Color
from data_pipeline.datasets.headers import Header
from data_pipeline.datasets.reading import Pixels, read_bytes, read_pixels
from data_pipeline.problems import BadFileError

# How a mask was read. "empty" reads as background either way, as indices or as grey colours.
Kind = Literal["colors", "grey colors", "indices", "one-hot", "empty"]

_UNKNOWN = 255
_EDGE = 13  # side of the window, in pixels, in which an edge's two classes are looked for
_FAR = np.iinfo(np.int16).max
_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


@dataclass(frozen=True, eq=False)
class Mask:
    """A mask as read.

    Attributes:
        labels: uint8 [height, width], class indices.
        kind: How the file encodes them.
    """

    labels: NDArray[np.uint8]
    kind: Kind


class LabelMap:
    """Reads masks of one data set.

    Attributes:
        classes: Class name to RGB colour, in index order.
        tolerance: Largest distance per channel from a pixel to its class colour.
    """

    def __init__(self, classes: Mapping[str, Color], tolerance: int):
        self.classes = dict(classes)
        self.tolerance = tolerance
        self._bgr = np.array([color[::-1] for color in classes.values()], np.int16)
        greys = (self._bgr == self._bgr[:, :1]).all(axis=1)
        self._grey_colors = int(greys.sum()) >= 2

    def read(self, path: Path) -> Mask:
        """Read a mask file.

        Args:
            path: A png, bmp or tif of class colours or of class indices, or an npz whose array
                `mask` is one-hot.

        Raises:
            BadFileError: for a file that cannot be read, labels that are no class, or a mask
                that can be read in two ways.
        """
        data = read_bytes(path)
        if path.suffix.lower() == ".npz":
            return Mask(_from_one_hot(data, len(self.classes)), "one-hot")
        pixels, header = read_pixels(data)
        if header.format == "jpeg":
            raise BadFileError("a JPEG mask, whose compression changes labels; save masks as PNG")
        if header.color == "palette":
            return self._from_palette(pixels, header)
        if pixels.ndim == 2:
            return self._from_grey(pixels, header.bits)
        if pixels.dtype != np.uint8:
            raise BadFileError("expected colours of 8 bit, received 16 bit")
        return Mask(self.from_colors(pixels.astype(np.uint8, copy=False)), "colors")

    def from_colors(self, bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return class index of each pixel of a coloured mask.

        A pixel of exactly a class colour is of that class. Others, as of an anti-aliased edge,
        are given to a class near by (within 6 pixels) whose colour is within the tolerance; then,
        lying near the line between the colours of two classes near by, to the nearer of them;
        then to the class nearest in colour within the tolerance.

        Args:
            bgr: uint8 [height, width, 3] in the order blue, green, red.

        Returns:
            uint8 [height, width].

        Raises:
            BadFileError: when colours remain, with their number and the most frequent of them.
        """
        labels = np.zeros(bgr.shape[:2], np.uint8)
        known = np.zeros(bgr.shape[:2], np.uint8)
        left = labels.size
        for index, color in enumerate(self._bgr.tolist()):
            hit = cv2.inRange(bgr, tuple(color), tuple(color))
            found = cv2.countNonZero(hit)
            if found:
                labels |= hit & np.uint8(index)
                known |= hit
                left -= found
            if not left:
                return labels
        soft = np.nonzero(known == 0)
        labels[soft] = _UNKNOWN
        labels[soft] = self._resolve(bgr[soft], labels, soft)
        wrong = labels[soft] == _UNKNOWN
        if wrong.any():
            raise BadFileError(_strange_colors(bgr[soft][wrong]))
        return labels

    def _resolve(
        self,
        colors: NDArray[np.uint8],
        exact: NDArray[np.uint8],
        where: tuple[NDArray[np.int64], ...],
    ) -> NDArray[np.uint8]:
        """Return classes of the m pixels `where`, of colours [m, 3], in `exact` [height, width]."""
        values = colors.astype(np.int16)
        distance = np.stack([np.abs(values - c).max(axis=1) for c in self._bgr], axis=1)
        result: NDArray[np.uint8] = distance.argmin(axis=1).astype(np.uint8)
        result[distance.min(axis=1) > self.tolerance] = _UNKNOWN
        solid, about = self._classes_near(exact, result, where)
        mixed = self._mixtures(values, solid)
        result = np.where(mixed == _UNKNOWN, result, mixed)
        close = np.where(solid, distance, _FAR)
        plain = close.min(axis=1) <= self.tolerance
        result[plain] = close.argmin(axis=1)[plain]
        left = np.flatnonzero(result == _UNKNOWN)  # as of thin lines, nowhere solid
        if left.size:
            result[left] = self._mixtures(values[left], about[left])
        return result

    def _classes_near(
        self,
        exact: NDArray[np.uint8],
        nearest: NDArray[np.uint8],
        where: tuple[NDArray[np.int64], ...],
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return classes in the window around each pixel, bool [m, C]: solid ones, and any of the
        colour.

        Solid is a pixel of exactly the colour, or one inside an area of about that colour: a
        mask whose red is (254, 0, 0) throughout counts, the ramp of an edge does not.
        """
        about = exact.copy()
        about[where] = nearest
        found = np.zeros((2, len(nearest), len(self.classes)), np.bool_)
        window = np.ones((_EDGE, _EDGE), np.uint8)
        for label in np.unique(about[about != _UNKNOWN]):
            area = (about == label).astype(np.uint8)
            solid = cv2.erode(area, _CROSS) | (exact == label)
            found[0, :, label] = cv2.dilate(solid, window)[where] > 0
            found[1, :, label] = cv2.dilate(area, window)[where] > 0
        return found[0], found[1]

    def _mixtures(self, values: NDArray[np.int16], near: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Return the class nearest to each of m colours that mix two classes near by, or three.

        Args:
            values: Colours, int16 [m, 3].
            near: bool [m, C], the classes that may be mixed.

        Returns:
            uint8 [m], 255 where the colour is further than the tolerance from every mixture.
        """
        nearest = np.full(len(values), _UNKNOWN, np.uint8)
        present = np.flatnonzero(near.any(axis=0)).tolist()
        for size in (2, 3):
            best = np.full(len(values), self.tolerance + 1.0)
            open_ = nearest == _UNKNOWN
            for group in combinations(present, size):
                rows = np.flatnonzero(open_ & near[:, group].all(axis=1))
                parts, off = _unmix(values[rows], self._bgr[list(group)])
                better = off < best[rows]
                nearest[rows[better]] = np.array(group)[parts.argmax(axis=1)[better]]
                best[rows[better]] = off[better]
        return nearest

    def _from_grey(self, pixels: Pixels, bits: int) -> Mask:
        """Return class indices where all values are; else grey class colours."""
        values = pixels if bits >= 8 else pixels // np.uint8(255 // (2**bits - 1))
        largest = int(values.max())
        if largest < len(self.classes):
            labels = values.astype(np.uint8)
            return Mask(
                labels, "empty" if not largest and self._black_is_background() else "indices"
            )
        if not self._grey_colors or pixels.dtype != np.uint8:
            strange = np.unique(values[values >= len(self.classes)])
            listed = ", ".join(str(v) for v in strange[:5]) + (" ..." if strange.size > 5 else "")
            raise BadFileError(
                f"expected class indices 0..{len(self.classes) - 1}, received values {listed}"
            )
        return Mask(self.from_colors(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)), "grey colors")

    def _black_is_background(self) -> bool:
        return not self._grey_colors or int(np.abs(self._bgr).max(axis=1).argmin()) == 0

    def _from_palette(self, bgr: Pixels, header: Header) -> Mask:
        """By the palette's colours, unless these may be mere decoration of class indices."""
        if bgr.ndim == 2 or (bgr == bgr[:, :, :1]).all():
            grey: Pixels = bgr if bgr.ndim == 2 else np.ascontiguousarray(bgr[:, :, 0])
            used = np.unique(grey)
            plain = all(v < len(header.palette) and header.palette[v] == (v,) * 3 for v in used)
            if plain or not self._grey_colors:
                return self._from_grey(grey, 8)
        if bgr.ndim == 2:
            bgr = cv2.cvtColor(bgr, cv2.COLOR_GRAY2BGR)
        self._refuse_decoration(bgr, header)
        return Mask(self.from_colors(bgr.astype(np.uint8, copy=False)), "colors")

    def _refuse_decoration(self, bgr: Pixels, header: Header) -> None:
        """Refuse palettes of colours only near a class's, when their numbers say otherwise."""
        packed = bgr.astype(np.int32) @ np.array([1, 256, 65536])
        used = [(v >> 16, v >> 8 & 255, v & 255) for v in np.unique(packed).tolist()]
        exact = set(self.classes.values())
        if all(color in exact for color in used) or not header.palette:
            return
        table = np.array([color[::-1] for color in used], np.int16)
        distance = np.abs(table[:, np.newaxis] - self._bgr).max(axis=2)
        numbers = [header.palette.index(c) if c in header.palette else -1 for c in used]
        if max(numbers) < len(self.classes) and (distance.argmin(axis=1) != numbers).any():
            raise BadFileError(
                "a paletted mask that can be read in two ways: by its palette's colours, which "
                f"are not the classes' ({_listed(used)}), or by its numbers; save it as RGB by "
                "the class colours or as a single channel of class indices"
            )


def _unmix(
    values: NDArray[np.int16], colors: NDArray[np.int16]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return parts of k colours in each of m values, and how far, per channel, the value is from
    them.

    Args:
        values: [m, 3].
        colors: [k, 3], k of 2 or 3.

    Returns:
        Parts [m, k], each 0 to 1 and together 1 (least squares, then clipped); distances [m].
    """
    base, spans = colors[0].astype(np.float64), (colors[1:] - colors[0]).astype(np.float64)
    parts = np.linalg.lstsq(spans.T, (values - base).T, rcond=None)[0].T
    parts = np.column_stack([1 - parts.sum(axis=1), parts]).clip(0, None)
    parts /= parts.sum(axis=1, keepdims=True)
    off: NDArray[np.float64] = np.abs(values - parts @ colors).max(axis=1, initial=0)
    return parts, off


def colorize(labels: NDArray[np.uint8], colors: Sequence[Color]) -> NDArray[np.uint8]:
    """Return the RGB picture of a mask.

    Args:
        labels: uint8 [height, width], class indices; 255, not counted, becomes mid grey.
        colors: RGB colour of each class.

    Returns:
        uint8 [height, width, 3] in the order red, green, blue.
    """
    table = np.full((256, 3), 128, np.uint8)
    table[: len(colors)] = colors
    picture: NDArray[np.uint8] = table[labels]
    return picture


_UNREADABLE = (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error)


def _from_one_hot(data: bytes, num_classes: int) -> NDArray[np.uint8]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            mask = file["mask"]
    except KeyError:
        raise BadFileError("expected an array named 'mask' in the npz, found none") from None
    except _UNREADABLE as error:
        raise BadFileError(f"damaged: cannot be read as npz: {error}") from None
    if mask.ndim != 3 or mask.shape[2] != num_classes or mask.dtype.kind not in "biuf":
        raise BadFileError(
            f"expected a one-hot array [height, width, {num_classes}], received {mask.dtype} "
            f"{list(mask.shape)}"
        )
    ones = mask == 1
    if not (ones | (mask == 0)).all() or not (ones.sum(axis=2) == 1).all():
        raise BadFileError("expected one-hot: a single 1 a pixel and 0 elsewhere")
    labels: NDArray[np.uint8] = ones.argmax(axis=2).astype(np.uint8)
    return labels


def _strange_colors(bgr: NDArray[np.uint8]) -> str:
    colors, counts = np.unique(bgr, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:3]
    listed = ", ".join(f"rgb{tuple(colors[i][::-1].tolist())} x {counts[i]}" for i in order)
    return f"{len(bgr)} pixels of {len(colors)} colours that are no class: {listed}"


def _listed(colors: Sequence[tuple[int, ...]]) -> str:
    return ", ".join(f"rgb{color}" for color in colors[:3]) + (" ..." if len(colors) > 3 else "")


IGNORE = 255  # mask label that no loss and no score counts
