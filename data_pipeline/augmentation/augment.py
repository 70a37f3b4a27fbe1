"""Augmentation of one image and its mask in TensorFlow ops: one warp for both, then light.

Every draw is stateless, so an augmented sample is a pure function of the sample and its seed.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.augmentation.focus import Focus, crop_focus, window_focus
from data_pipeline.augmentation.geometry import (
    Draws,
    Tensor,
    border_label,
    sampling_field,
    sampling_matrix,
)
from data_pipeline.augmentation.operations import (
    COLOR_ONLY,
    DRAWS,
    GEOMETRIC,
    IGNORE,
    PHOTOMETRIC,
)
from data_pipeline.augmentation.photometry import change_light
from data_pipeline.augmentation.warp import warp

Augment = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def build_augment(
    config: AugmentConfig, image_shape: tuple[int, int, int], classes: tuple[str, ...] = ()
) -> Augment:
    """Build the augmentation of one sample.

    Args:
        config: What is drawn and how far; sampling is not looked at here.
        image_shape: (H, W, C) of the images.
        classes: Names of the mask's labels, background first; for crops and the border's class.

    Returns:
        `augment(image, mask, seed)`: image uint8 [H, W, C], mask uint8 [H, W] and seed int64 [2]
        to a new image and mask of the same types, as large as the window of the config
        (`AugmentConfig.window_shape`). Equal arguments give equal results; settings of zero give
        the input, or its window, back exactly.

    Raises:
        ValueError: listing what the images or classes do not allow (:func:`unfit`).
    """
    problems = unfit(config, image_shape, classes)
    if problems:
        raise ValueError("; ".join(problems))

    window = config.window_shape(image_shape)

    def augment(image: Tensor, mask: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        draws = _draw(seed)
        if config.uses(*GEOMETRIC):
            image, mask = _move(config, image, mask, classes, draws, seed)
        elif window != image_shape:
            image, mask = _cut(config, image, mask, classes, seed)
        if config.uses(*PHOTOMETRIC):
            image = change_light(tf.cast(image, tf.float32), config, draws, seed)
        if image.dtype != tf.uint8:
            image = tf.cast(tf.round(tf.clip_by_value(image, 0.0, 255.0)), tf.uint8)
        return tf.ensure_shape(image, window), tf.ensure_shape(mask, window[:2])

    return augment


def unfit(
    config: AugmentConfig, image_shape: tuple[int, int, int], classes: tuple[str, ...]
) -> list[str]:
    """Return what keeps a policy from such images, a sentence each; empty where it fits."""
    height, width, channels = config.window_shape(image_shape)
    problems = []
    if config.uses("quarter_turns") and height != width:
        problems.append(
            f"expected square images with quarter_turns, received {height} x {width} pixels"
        )
    if config.uses(*COLOR_ONLY) and channels != 3:
        problems.append(
            f"expected images of 3 channels with saturation or hue, received {channels}"
        )
    if config.uses("crop") and config.crop_class not in (None, *classes):
        problems.append(
            f"expected crop_class to be one of {', '.join(classes)}, received {config.crop_class!r}"
        )
    if config.border == "constant" and config.border_class not in (IGNORE, *classes):
        problems.append(
            f"expected border_class to be {IGNORE} or one of {', '.join(classes)}, received "
            f"{config.border_class!r}"
        )
    return problems


def _draw(seed: Tensor) -> Draws:
    values = tf.unstack(tf.random.stateless_uniform([len(DRAWS)], seed))
    return dict(zip(DRAWS, values, strict=True))


def _move(
    config: AugmentConfig,
    image: Tensor,
    mask: Tensor,
    classes: tuple[str, ...],
    draws: Draws,
    seed: Tensor,
) -> tuple[Tensor, Tensor]:
    shape = config.window_shape(tuple(image.shape))
    focus, share = None, 1.0
    if shape != tuple(image.shape):
        focus = window_focus(config, mask, shape, len(classes), seed)
    if config.uses("crop"):
        label = None if config.crop_class is None else classes.index(config.crop_class)
        center = focus or _center(shape)
        focus, share = crop_focus(config, mask, shape, len(classes), label, draws, center)
    matrix = sampling_matrix(config, shape, draws, focus, share)
    outside = border_label(config, classes) if config.border == "constant" else None
    y, x = sampling_field(config, shape, matrix, draws, seed)
    return warp(image, mask, y, x, outside)


def _center(shape: tuple[int, int, int]) -> Focus:
    return tf.constant((shape[0] - 1) / 2.0), tf.constant((shape[1] - 1) / 2.0)


def _cut(
    config: AugmentConfig, image: Tensor, mask: Tensor, classes: tuple[str, ...], seed: Tensor
) -> tuple[Tensor, Tensor]:
    """Return a window as it is."""
    height, width, _ = shape = config.window_shape(tuple(image.shape))
    y, x = window_focus(config, mask, shape, len(classes), seed)
    top, left = tf.cast(y - (height - 1) / 2.0, tf.int32), tf.cast(x - (width - 1) / 2.0, tf.int32)
    rows, columns = slice(top, top + height), slice(left, left + width)
    return image[rows, columns], mask[rows, columns]
