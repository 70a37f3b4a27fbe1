"""Panels of the report: a photograph with what is on it, what a model saw and where it was wrong.

Everything is shown twice, by colour and by outline or hatching, so that it is read without colours.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from results.records.pictures import UNCOUNTED, Pixels
from results.style.palette import class_style

SIDE = 256
QUALITIES = (60, 40, 20)  # the next where a panel is larger than it should be
# Okabe & Ito's, told apart by colour-blind readers too, on grey.
MISSED, INVENTED, CONFUSED = "#d55e00", "#56b4e9", "#f0e442"

_FILL = 0.5
_HATCH = 7  # pixels from line to line
_MARGIN = 1
_MOST_BYTES = 8_000

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Scene:
    """A photograph with its truth, of one size.

    Attributes:
        photograph: [H, W, 3] blue, green, red; the longer side is ``SIDE``.
        truth: [H, W] class indices, 255 where nothing is counted.
    """

    photograph: Pixels
    truth: Pixels


def scene(photograph: Pixels, truth: Pixels) -> Scene:
    """Bring a photograph and its truth to the panels' size."""
    height, width = photograph.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return Scene(cv2.resize(photograph, size, interpolation=way), _labels(truth, size))


def _labels(labels: Pixels, size: tuple[int, int]) -> Pixels:
    fitted: Pixels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT)
    return fitted


def labelled(shown: Scene, labels: Pixels) -> Pixels:
    """Draw a label map over its photograph: each class's colour, with an outline of it.

    Args:
        shown: The scene.
        labels: [h, w] class indices of any size; 0 is left bare, 255 is hatched grey.
    """
    height, width = shown.truth.shape
    fitted = _labels(labels, (width, height))
    drawn = shown.photograph.copy()
    for label in np.unique(fitted).tolist():
        if label == UNCOUNTED:
            _hatch(drawn, fitted == label, (150, 150, 150), (1,))
        elif label > 0:
            color = _bgr(class_style(label)[0])
            _tint(drawn, fitted == label, color, _FILL)
            # Lighter than the fill, so that a dark photograph does not swallow it.
            _outline(drawn, fitted == label, [(part + 255) // 2 for part in color])
    return drawn


def mistaken(shown: Scene, predicted: Pixels) -> Pixels:
    """Draw where a prediction is wrong over its photograph, which is paled.

    Missed: a class in truth, background predicted; lines rising. Invented: a class predicted where
    truth is background; lines falling. Confused: one class predicted for another; both. The truth
    is outlined in white.

    Args:
        shown: The scene.
        predicted: [h, w] class indices of any size.
    """
    height, width = shown.truth.shape
    truth, seen = shown.truth, _labels(predicted, (width, height))
    grey = cv2.cvtColor(shown.photograph, cv2.COLOR_BGR2GRAY) // 2 + 40
    drawn: Pixels = np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)
    counted = truth != UNCOUNTED
    _outline(drawn, counted & (truth > 0), (255, 255, 255))
    missed, invented, confused = kinds(truth, seen)
    _hatch(drawn, missed, _bgr(MISSED), (1,))
    _hatch(drawn, invented, _bgr(INVENTED), (-1,))
    _hatch(drawn, confused, _bgr(CONFUSED), (1, -1))
    return drawn


def kinds(truth: Pixels, seen: Pixels) -> tuple[Mask, Mask, Mask]:
    """Return where a class is missed, invented and confused with another: three [H, W] masks."""
    counted = truth != UNCOUNTED
    true, found = counted & (truth > 0), counted & (seen > 0)
    return true & ~found, found & ~true, true & found & (truth != seen)


def data_uri(panel: Pixels) -> str:
    """Encode a panel as a WebP inside an address of its own: nothing is fetched."""
    for quality in QUALITIES:
        _, data = cv2.imencode(".webp", panel, [cv2.IMWRITE_WEBP_QUALITY, quality])
        if len(data) <= _MOST_BYTES:
            break
    return "data:image/webp;base64," + base64.b64encode(data.tobytes()).decode()


def _tint(drawn: Pixels, mask: Mask, color: Sequence[int], share: float) -> None:
    drawn[mask] = ((1 - share) * drawn[mask] + share * np.array(color)).astype(np.uint8)


def _hatch(drawn: Pixels, mask: Mask, color: Sequence[int], slopes: Sequence[int]) -> None:
    """Fill a mask with a colour, and lines in the dark across it, rising (1) or falling (-1)."""
    if not mask.any():
        return
    drawn[mask] = color
    y, x = np.nonzero(mask)
    for slope in slopes:
        on = (x + slope * y) % _HATCH < 1
        drawn[y[on], x[on]] = (43, 33, 23)


def _outline(drawn: Pixels, mask: Mask, color: Sequence[int]) -> None:
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, found, -1, tuple(color), _MARGIN)


def _bgr(color: str) -> tuple[int, int, int]:
    return int(color[5:7], 16), int(color[3:5], 16), int(color[1:3], 16)
