"""Pasting what one image shows of a class onto another image, in TensorFlow ops.

Ghiasi et al., Simple copy-paste is a strong data augmentation method for instance segmentation
(CVPR 2021). What is pasted is made as light as its new surroundings, and fades into them.
"""

from __future__ import annotations

import tensorflow as tf

from data_pipeline.augmentation.geometry import Tensor
from data_pipeline.datasets.labels import IGNORE

_SEAM = 2  # pixels around what is pasted in which it fades
_RING = 4  # pixels around it that tell how light its surroundings are
_DARKEST, _LIGHTEST = 0.5, 2.0  # how far its lightness is changed at most, relative


def paste(
    target: tuple[Tensor, Tensor], source: tuple[Tensor, Tensor], label: Tensor, draws: Tensor
) -> tuple[Tensor, Tensor]:
    """Paste all that the source shows of a class onto the target.

    It is mirrored at random and moved to a random place where all of it lies in the image; the
    scale stays. What the target does not count (255), such as the fill of a letterbox, is kept.

    Args:
        target: Image uint8 [H, W, C] and mask uint8 [H, W].
        source: Likewise, of the same shapes.
        label: The class, int64 scalar. A source that does not show it changes nothing.
        draws: float32 [4], in [0, 1).

    Returns:
        A new image and mask of the same shapes and types.
    """
    height, width, _ = target[0].shape
    image, mask = source
    for axis in (0, 1):
        mirrored = draws[axis] < 0.5
        image = tf.where(mirrored, tf.reverse(image, [axis]), image)
        mask = tf.where(mirrored, tf.reverse(mask, [axis]), mask)
    shown = tf.cast(mask, tf.int64) == label
    for axis, side in enumerate((height, width)):
        place = tf.range(side) - _shift(shown, axis, side, draws[2 + axis])
        nearest = tf.clip_by_value(place, 0, side - 1)
        image, mask, shown = (tf.gather(part, nearest, axis=axis) for part in (image, mask, shown))
        inside = tf.equal(place, nearest)
        shown &= inside[:, tf.newaxis] if axis == 0 else inside
    counted = target[1] != IGNORE
    shown &= counted
    # Beyond the class' own pixels the source may show what has another label.
    plain = tf.logical_or(shown, mask == 0)
    over = tf.cast(shown, tf.float32)
    fade = _box(_grown(over, _SEAM), _SEAM) * tf.cast(tf.logical_and(plain, counted), tf.float32)
    ring = (_grown(over, _RING) - over) * tf.cast(tf.logical_and(mask == 0, counted), tf.float32)
    there, here = (tf.cast(part, tf.float32) for part in (target[0], image))
    light = tf.clip_by_value(_mean(there, ring) / _mean(here, ring), _DARKEST, _LIGHTEST)
    mixed = there + fade[..., tf.newaxis] * (light * here - there)
    pasted = tf.cast(tf.round(tf.clip_by_value(mixed, 0.0, 255.0)), tf.uint8)
    return pasted, tf.where(shown, tf.cast(label, tf.uint8), target[1])


def _shift(shown: Tensor, axis: int, side: int, draw: Tensor) -> Tensor:
    """Return by how many pixels an area is moved along an axis, so that all of it stays inside."""
    there = tf.cast(tf.where(tf.reduce_any(shown, axis=1 - axis))[:, 0], tf.int32)

    def drawn() -> Tensor:
        first, last = there[0], there[-1]
        free = tf.cast(side - (last - first), tf.float32)
        return tf.cast(draw * free, tf.int32) - first

    return tf.cond(tf.size(there) > 0, drawn, lambda: tf.zeros([], tf.int32))


def _grown(area: Tensor, by: int) -> Tensor:
    """Grow an area, float32 [H, W] of 0 and 1, by so many pixels to each side."""
    rows = area[tf.newaxis, :, :, tf.newaxis]
    for window in ((2 * by + 1, 1), (1, 2 * by + 1)):  # a side each: several times as fast
        rows = tf.nn.max_pool2d(rows, window, 1, "SAME")
    return rows[0, :, :, 0]


def _box(area: Tensor, by: int) -> Tensor:
    """Blur by a box that reaches so many pixels to each side; borders count as they are."""
    rows = tf.pad(area, [[by, by], [by, by]], "SYMMETRIC")[tf.newaxis, :, :, tf.newaxis]
    for window in ((2 * by + 1, 1), (1, 2 * by + 1)):
        rows = tf.nn.avg_pool2d(rows, window, 1, "VALID")
    return rows[0, :, :, 0]


def _mean(image: Tensor, area: Tensor) -> Tensor:
    """Return the mean of all channels over an area; 1 where it has no pixels."""
    total = tf.reduce_sum(area)
    light = tf.reduce_sum(tf.reduce_mean(image, axis=-1) * area) / tf.maximum(total, 1.0)
    return tf.where(total > 0, tf.maximum(light, 1.0), 1.0)
