"""Resizes images and masks to the size of the records, and predictions back."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from data_pipeline.datasets.labels import IGNORE

Mode = Literal["stretch", "letterbox"]

# OpenCV averages by area no more at once, unless the ratio is whole.
_MOST_CHANNELS = 4


def resize_image(image: NDArray[np.uint8], size: tuple[int, int], mode: Mode) -> NDArray[np.uint8]:
    """Resize an image: a side that shrinks by area averaging, one that grows linearly.

    Args:
        image: uint8 [h, w, C].
        size: Height and width wanted.
        mode: stretch scales both sides independently; letterbox keeps the aspect and fills the
            border by reflection, which neither adds an edge nor shifts the mean.

    Returns:
        uint8 [height, width, C].
    """
    inner, border = _layout(image.shape[:2], size, mode)
    shape = (min(inner[0], image.shape[0]), min(inner[1], image.shape[1]))
    scaled = _scale(_scale(image, shape, cv2.INTER_AREA), inner, cv2.INTER_LINEAR)
    if any(border):
        scaled = cv2.copyMakeBorder(scaled, *border, cv2.BORDER_REFLECT_101)
    resized: NDArray[np.uint8] = scaled.reshape(*size, image.shape[2])
    return resized


def resize_mask(mask: NDArray[np.uint8], size: tuple[int, int], mode: Mode) -> NDArray[np.uint8]:
    """Resize a mask by the nearest pixel; a letterbox's border is labelled 255, not counted.

    Args:
        mask: uint8 [h, w], class indices.
        size: Height and width wanted.
        mode: As for the image.

    Returns:
        uint8 [height, width].
    """
    inner, border = _layout(mask.shape[:2], size, mode)
    # INTER_NEAREST takes the pixel up and left of the centre: half a pixel off the image.
    scaled: NDArray[np.uint8] = _scale(mask, inner, cv2.INTER_NEAREST_EXACT)
    if any(border):
        scaled = cv2.copyMakeBorder(scaled, *border, cv2.BORDER_CONSTANT, value=IGNORE)
    return scaled


def restore(
    probabilities: NDArray[np.float32], shape: tuple[int, int], mode: Mode
) -> NDArray[np.float32]:
    """Bring a model's probabilities back to the size of the image that was resized for it.

    The way back of `resize_image`: a letterbox's border is cut off, then a side that shrinks is
    averaged by area and one that grows is read linearly. Probabilities, not classes: the argmax
    comes after it. The classes of a pixel still sum to 1.

    Args:
        probabilities: float32 [H, W, C], of the resized image.
        shape: Height and width of the image itself.
        mode: As it was resized.

    Returns:
        float32 [h, w, C].
    """
    size = (probabilities.shape[0], probabilities.shape[1])
    inner, (top, _, left, _) = _layout(shape, size, mode)
    scaled = probabilities[top : top + inner[0], left : left + inner[1]]
    smaller = (min(inner[0], shape[0]), min(inner[1], shape[1]))
    scaled = _scale(_scale(scaled, smaller, cv2.INTER_AREA), shape, cv2.INTER_LINEAR)
    restored: NDArray[np.float32] = scaled.reshape(*shape, probabilities.shape[2])
    return restored


def _layout(
    shape: tuple[int, ...], size: tuple[int, int], mode: Mode
) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """Size of the scaled picture and its border: top, bottom, left, right."""
    if mode == "stretch":
        return size, (0, 0, 0, 0)
    scale = min(size[0] / shape[0], size[1] / shape[1])
    height, width = (max(1, min(s, round(o * scale))) for s, o in zip(size, shape, strict=True))
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return (height, width), (top, size[0] - height - top, left, size[1] - width - left)


def _scale(picture: Any, shape: tuple[int, int], interpolation: int) -> Any:
    if picture.shape[:2] == shape:
        return picture
    size = (shape[1], shape[0])
    if interpolation != cv2.INTER_AREA or picture.shape[2] <= _MOST_CHANNELS:
        return cv2.resize(picture, size, interpolation=interpolation)
    starts = range(0, picture.shape[2], _MOST_CHANNELS)
    parts = [np.ascontiguousarray(picture[..., i : i + _MOST_CHANNELS]) for i in starts]
    scaled = [cv2.resize(part, size, interpolation=interpolation) for part in parts]
    return np.concatenate([part.reshape(*shape, -1) for part in scaled], axis=2)
