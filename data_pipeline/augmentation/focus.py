"""Where in an image a sample is centred: the place of its window, and what a crop zooms in on."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.augmentation.geometry import Draws, Tensor, happens
from data_pipeline.datasets.labels import IGNORE

Focus = tuple[Tensor, Tensor]
"""(y, x) in the input of the output's centre, float32, pixel centres at whole numbers."""

_OWN_SEED = 4  # two of the sample's are those of the elastic grids
# Pixels of a window that lies anywhere are tried until one is not the fill of a letterbox.
_TRIED = 8
# How far from the window's centre, of its side, the pixel may lie that it is to hold: so near
# that a turn about the centre does not lose it.
_OFF_CENTER = 0.25


def window_focus(
    config: AugmentConfig, mask: Tensor, shape: tuple[int, int, int], num_classes: int, seed: Tensor
) -> Focus:
    """Choose the place of a sample's window.

    With probability ``patch_focus`` it holds a pixel of a foreground class that the image shows,
    each class equally often; else, and where the image shows none, any pixel that is counted.

    Args:
        config: How often it is to hold such a pixel.
        mask: uint8 [H, W] of the whole image.
        shape: (H, W, C) of the window, no larger than the image.
        num_classes: Classes, the background being the first.
        seed: The sample's, int64 [2].

    Returns:
        Its centre; the window lies inside the image, on whole pixels.
    """
    draws = tf.random.stateless_uniform([5], seed + tf.constant([_OWN_SEED, 0], tf.int64))

    def anywhere() -> Tensor:
        tried = tf.random.stateless_uniform(
            [_TRIED, 2], seed + tf.constant([_OWN_SEED + 1, 0], tf.int64)
        )
        places = tf.cast(tried * tf.constant(tuple(mask.shape), tf.float32), tf.int32)
        counted = tf.gather_nd(mask, places) != IGNORE
        return tf.cast(places[tf.argmax(counted)], tf.float32)

    def of_a_class() -> Tensor:
        shown = _shown(mask, num_classes)
        return tf.cond(
            tf.size(shown) > 0, lambda: _pixel_of(mask, shown, draws[1], draws[2]), anywhere
        )

    place = tf.cond(draws[0] < config.patch_focus, of_a_class, anywhere)
    centers = []
    for axis in (0, 1):
        side, whole = shape[axis], mask.shape[axis]
        off = (2.0 * draws[3 + axis] - 1.0) * _OFF_CENTER * side
        first = tf.round(place[axis] + off - (side - 1) / 2.0)
        centers.append(tf.clip_by_value(first, 0.0, whole - side) + (side - 1) / 2.0)
    return centers[0], centers[1]


def crop_focus(
    config: AugmentConfig,
    mask: Tensor,
    shape: tuple[int, int, int],
    num_classes: int,
    label: int | None,
    draws: Draws,
    otherwise: Focus,
) -> tuple[Focus, Tensor]:
    """Choose what a crop zooms in on.

    Args:
        config: Its amount and probability.
        mask: uint8 [H, W] of the whole image.
        shape: (H, W, C) of the output.
        num_classes: Classes, the background being the first.
        label: The class to look for; None: any but the background, each equally often.
        draws: The sample's.
        otherwise: The focus where there is nothing to zoom in on.

    Returns:
        The focus, kept so that what is seen lies inside the image, and the share of the output's
        side that is seen: 1 where there is nothing to zoom in on.
    """
    shown = (
        _shown(mask, num_classes) if label is None else tf.fill([1], tf.constant(label, tf.int64))
    )

    def nothing() -> tuple[Tensor, Tensor, Tensor]:
        return (*otherwise, tf.ones([]))

    def zoom() -> tuple[Tensor, Tensor, Tensor]:
        place = _pixel_of(mask, shown, draws["crop_class"], draws["crop_pixel"])
        window = 1.0 - config.crop * draws["crop"]
        y, x = (_inside(place[axis], mask.shape[axis], shape[axis] * window) for axis in (0, 1))
        return y, x, window

    found: Callable[[], Tensor] = (
        (lambda: tf.size(shown) > 0) if label is None else (lambda: tf.reduce_any(mask == label))
    )
    wanted = tf.logical_and(happens(config, "crop", draws), found())
    y, x, window = tf.cond(wanted, zoom, nothing)
    return (y, x), window


def _shown(mask: Tensor, num_classes: int) -> Tensor:
    """Return the foreground classes that a mask shows, int64 [n]."""
    counts = tf.math.bincount(tf.cast(mask, tf.int32), minlength=256)[1:num_classes]
    return tf.where(counts > 0)[:, 0] + 1


def _pixel_of(mask: Tensor, labels: Tensor, which: Tensor, pixel: Tensor) -> Tensor:
    """Return (y, x), float32, of a pixel of one of the labels, by two numbers in [0, 1)."""
    number = tf.cast(tf.cast(tf.size(labels), tf.float32) * which, tf.int32)
    places = tf.where(tf.cast(mask, tf.int64) == labels[number])
    number = tf.cast(tf.cast(tf.shape(places)[0], tf.float32) * pixel, tf.int32)
    return tf.cast(places[number], tf.float32)


def _inside(position: Tensor, side: int, seen: Tensor) -> Tensor:
    margin = (seen - 1.0) / 2.0
    return tf.clip_by_value(position, margin, side - 1.0 - margin)
