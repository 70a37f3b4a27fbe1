"""Resizes inside a TensorFlow graph as ``data_pipeline.datasets.resize`` does with OpenCV.

For models that take images of any size, where no OpenCV is at hand. A side that shrinks is
averaged by area, one that grows is read linearly, both with half-pixel centres; a letterbox is
filled by reflection and cut off on the way back.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import tensorflow as tf

Resize = Literal["stretch", "letterbox"]


class Layout(NamedTuple):
    """Where the scaled image lies in the model's one: int32 scalars, in pixels.

    Attributes:
        height, width: Of the scaled image.
        top, left: Border before it; what is left of the model's size is the border after it.
    """

    height: tf.Tensor
    width: tf.Tensor
    top: tf.Tensor
    left: tf.Tensor


def layout(shape: tuple[tf.Tensor, tf.Tensor], size: tuple[int, int], resize: Resize) -> Layout:
    """Lay out images of a shape, (height, width), in the model's size."""
    if resize == "stretch":
        zero = tf.constant(0)
        return Layout(tf.constant(size[0]), tf.constant(size[1]), zero, zero)
    # In float64, as Python has it: a half must round to the same side.
    sides = tf.cast(tf.stack(shape), tf.float64)
    limits = tf.constant(size, tf.float64)
    scaled = tf.round(sides * tf.reduce_min(limits / sides))
    height, width = tf.unstack(tf.cast(tf.clip_by_value(scaled, 1, limits), tf.int32))
    return Layout(height, width, (size[0] - height) // 2, (size[1] - width) // 2)


def to_model(images: tf.Tensor, size: tuple[int, int], resize: Resize) -> tf.Tensor:
    """Bring images to the model's size.

    Args:
        images: uint8 [B, h, w, C], of any h and w.
        size: Height and width of the model's images.
        resize: stretch, or letterbox to keep the aspect.

    Returns:
        float32 [B, height, width, C], whole numbers 0-255.
    """
    shape = _sides(images)
    at = layout(shape, size, resize)
    smaller = (tf.minimum(at.height, shape[0]), tf.minimum(at.width, shape[1]))
    # Rounded twice, as OpenCV's images are of bytes in between.
    scaled = _shrink(tf.cast(images, tf.float32), smaller)
    scaled = tf.where(_halves(shape, smaller), _half_up(scaled), tf.round(scaled))
    scaled = _half_up(_grow(scaled, (at.height, at.width)))
    if resize == "letterbox":
        scaled = tf.gather(scaled, _reflected(at.height, at.top, size[0]), axis=1)
        scaled = tf.gather(scaled, _reflected(at.width, at.left, size[1]), axis=2)
    return tf.ensure_shape(scaled, [None, *size, images.shape[-1]])


def from_model(
    probabilities: tf.Tensor, shape: tuple[tf.Tensor, tf.Tensor], resize: Resize
) -> tf.Tensor:
    """Bring probabilities back to the size of the images that were resized for the model.

    Args:
        probabilities: float32 [B, H, W, classes].
        shape: Height and width of the images, scalars.
        resize: As they were resized.

    Returns:
        float32 [B, h, w, classes]; the classes of a pixel still sum to 1.
    """
    height, width = probabilities.shape[1:3]
    at = layout(shape, (height, width), resize)
    scaled = probabilities[:, at.top : at.top + at.height, at.left : at.left + at.width]
    smaller = (tf.minimum(at.height, shape[0]), tf.minimum(at.width, shape[1]))
    return _grow(_shrink(scaled, smaller), shape)


def _half_up(values: tf.Tensor) -> tf.Tensor:
    """Round a half up, as OpenCV does where it counts in whole numbers; elsewhere to even."""
    return tf.floor(values + 0.5)


def _halves(before: tuple[tf.Tensor, tf.Tensor], after: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """Tell whether both sides are halved, which OpenCV does in whole numbers."""
    return tf.reduce_all(tf.equal(tf.stack(before), 2 * tf.stack(after)))


def _sides(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    shape = tf.shape(images)
    return shape[1], shape[2]


def _shrink(images: tf.Tensor, size: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """Average by area, one side after the other.

    A product with a matrix of shares: TensorFlow's own ``ResizeArea`` has no kernel for GPUs.
    """
    height, width = _sides(images)
    images = tf.cond(
        tf.equal(size[0], height),
        lambda: images,
        lambda: tf.einsum("oh,bhwc->bowc", _shares(height, size[0]), images),
    )
    return tf.cond(
        tf.equal(size[1], width),
        lambda: images,
        lambda: tf.einsum("ow,bhwc->bhoc", _shares(width, size[1]), images),
    )


def _shares(before: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
    """Share of each pixel before in each one after: float32 [after, before], rows sum to 1."""
    scale = tf.cast(before, tf.float64) / tf.cast(after, tf.float64)
    start = tf.cast(tf.range(after), tf.float64)[:, None] * scale
    pixel = tf.cast(tf.range(before), tf.float64)[None]
    overlap = tf.minimum(pixel + 1, start + scale) - tf.maximum(pixel, start)
    return tf.cast(tf.maximum(overlap, 0) / scale, tf.float32)


def _grow(images: tf.Tensor, size: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    height, width = _sides(images)
    same = tf.logical_and(tf.equal(size[0], height), tf.equal(size[1], width))
    return tf.cond(
        same, lambda: images, lambda: tf.image.resize(images, tf.stack(size), method="bilinear")
    )


def _reflected(inner: tf.Tensor, before: tf.Tensor, size: int) -> tf.Tensor:
    """Pixel of the scaled side that each pixel of the model's side shows: int32 [size].

    Mirrored at the outermost pixels, which are not repeated, as often as it takes.
    """
    period = tf.maximum(2 * (inner - 1), 1)
    place = tf.math.floormod(tf.range(size) - before, period)
    return tf.minimum(tf.minimum(place, period - place), inner - 1)
