"""Reading an image and its mask at the same places of a sampling field, in TensorFlow ops."""

from __future__ import annotations

import tensorflow as tf

from data_pipeline.augmentation.geometry import Tensor


def warp(
    image: Tensor, mask: Tensor, y: Tensor, x: Tensor, outside: int | None = None
) -> tuple[Tensor, Tensor]:
    """Read the image bilinearly and the mask at the nearest pixel.

    Args:
        image: uint8 [H, W, C].
        mask: uint8 [H, W].
        y: Where to read, float32 [h, w], pixel centres at whole numbers; finite.
        x: Likewise.
        outside: The mask's label beyond the border, the image being black there. None: both are
            reflected (the border pixel is repeated once), so a reflected defect keeps its label.

    Returns:
        float32 [h, w, C] and uint8 [h, w].
    """
    height, width, _ = image.shape
    inside = None
    if outside is not None:
        inside = _within(y, height) & _within(x, width)
    y, x = _reflected(y, height), _reflected(x, width)
    moved = _bilinear(image, y, x)
    near = tf.cast(tf.floor(y + 0.5) * width + tf.floor(x + 0.5), tf.int32)
    labels = tf.gather(tf.reshape(mask, [-1]), near)
    if inside is not None:
        moved = tf.where(inside[..., tf.newaxis], moved, 0.0)
        labels = tf.where(inside, labels, tf.constant(outside, tf.uint8))
    return moved, labels


def _within(position: Tensor, side: int) -> Tensor:
    return (position >= -0.5) & (position < side - 0.5)


def _reflected(position: Tensor, side: int) -> Tensor:
    """Return folds positions into [0, side - 1]; exact to two sides away, the border's beyond.

    By absolute values: a remainder takes TensorFlow ten times as long.
    """
    folded = side - tf.abs(side - tf.abs(position + 0.5)) - 0.5
    return tf.clip_by_value(folded, 0.0, side - 1.0)


def _bilinear(image: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Read between four pixels; y and x lie in the image.

    Two gathers instead of four: a gather costs TensorFlow some ten times an arithmetic operation,
    whatever it fetches. So a pixel and the one below it share a float32 as upper + 256 lower,
    which holds both exactly.
    """
    channels = image.shape[-1]
    image, y, x = _read_part(image, y, x)
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    padded = tf.pad(tf.cast(image, tf.float32), [[0, 1], [0, 1], [0, 0]], "SYMMETRIC")
    table = tf.reshape(padded[:-1] + 256.0 * padded[1:], [height * (width + 1), channels])
    above, before = tf.floor(y), tf.floor(x)
    down, right = (y - above)[..., tf.newaxis], (x - before)[..., tf.newaxis]
    place = tf.cast(above, tf.int32) * (width + 1) + tf.cast(before, tf.int32)
    first, second = (_between(tf.gather(table, place + step), down) for step in (0, 1))
    return first + (second - first) * right


def _read_part(image: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the part of an image that is read, and where in it; all of it where most is."""
    height, width, _ = image.shape
    field = tf.broadcast_static_shape(y.shape, x.shape)
    if None in field or 2 * field.num_elements() > height * width:
        return image, y, x
    top, left = tf.floor(tf.reduce_min(y)), tf.floor(tf.reduce_min(x))
    # The pixel after the last one too, which a position between two reads.
    rows, columns = (
        slice(tf.cast(first, tf.int32), tf.cast(tf.reduce_max(position), tf.int32) + 2)
        for first, position in ((top, y), (left, x))
    )
    return image[rows, columns], y - top, x - left


def _between(pair: Tensor, down: Tensor) -> Tensor:
    lower = tf.floor(pair * (1.0 / 256.0))
    upper = pair - 256.0 * lower
    return upper + (lower - upper) * down
