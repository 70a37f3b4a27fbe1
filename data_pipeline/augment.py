"""Augmentation of one image and its mask in TensorFlow ops: one warp for both, then light.

Every draw is stateless, so an augmented sample is a pure function of the sample and its seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from data_pipeline.config import AugmentConfig

Tensor = Any
"""A tensor of TensorFlow, which ships no types."""

Augment = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]

# One uniform number in [0, 1) a sample for each of these. The order is part of what a seed
# means: append new draws at the end, and what the older ones drew stays as it was.
_DRAWS = (
    "horizontal_flip",
    "vertical_flip",
    "quarter_turns",
    "rotation",
    "scale",
    "shift_y",
    "shift_x",
    "brightness",
    "contrast",
    "noise",
)

# Rows of (cos, sin), exact: a turn by 90 degrees must not blur the image.
_QUARTERS = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))


def build_augment(config: AugmentConfig, image_shape: tuple[int, int, int]) -> Augment:
    """Builds the augmentation of one sample.

    Args:
        config: What is drawn and how far; sampling is not looked at here.
        image_shape: (H, W, C) of the images.

    Returns:
        `augment(image, mask, seed)`: image uint8 [H, W, C], mask uint8 [H, W] and seed int64 [2]
        to a new image and mask of the same shapes and types. Equal arguments give equal results;
        settings of zero give the input back exactly.

    Raises:
        ValueError: for quarter turns of images that are not square.
    """
    height, width, _ = image_shape
    if config.quarter_turns and height != width:
        raise ValueError(
            f"expected square images with quarter_turns, received {height} x {width} pixels"
        )

    def augment(image: Tensor, mask: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        values = tf.unstack(tf.random.stateless_uniform([len(_DRAWS)], seed))
        draws = dict(zip(_DRAWS, values, strict=True))
        if moves(config):
            image, mask = _warp(image, mask, sampling_matrix(config, image_shape, draws))
        if relights(config):
            image = _relight(tf.cast(image, tf.float32), config, draws, seed)
        if image.dtype != tf.uint8:
            image = tf.cast(tf.round(tf.clip_by_value(image, 0.0, 255.0)), tf.uint8)
        return tf.ensure_shape(image, image_shape), tf.ensure_shape(mask, image_shape[:2])

    return augment


def moves(config: AugmentConfig) -> bool:
    """Tells whether any geometric change is switched on."""
    switches = (config.horizontal_flip, config.vertical_flip, config.quarter_turns)
    return any(switches) or any((config.rotation, config.scale, config.shift))


def relights(config: AugmentConfig) -> bool:
    """Tells whether any photometric change is switched on."""
    return any((config.brightness, config.contrast, config.noise))


def sampling_matrix(
    config: AugmentConfig, image_shape: tuple[int, int, int], draws: dict[str, Tensor]
) -> Tensor:
    """Composes flips, quarter turns, rotation, scale and shift into one matrix.

    With c the image's centre and t the shift, an output pixel p reads the input at
    A (p - c - t) + c, where A = flips * rotation * quarter turn / scale.
    A positive rotation turns the picture anticlockwise as it is seen (y points down).

    Args:
        config: The amounts; an amount of zero leaves its part out exactly.
        image_shape: (H, W, C).
        draws: Uniform numbers in [0, 1), float32 scalars by name.

    Returns:
        float32 [8], the output-to-input transform (a0 a1 a2 b0 b1 b2 c0 c1) of
        ImageProjectiveTransformV3: x' = a0 x + a1 y + a2, y' = b0 x + b1 y + b2.
    """
    height, width, _ = image_shape
    angle = _symmetric(draws["rotation"]) * (config.rotation * math.pi / 180.0)
    cos, sin = tf.cos(angle), tf.sin(angle)
    if config.quarter_turns:
        turn = tf.gather(_QUARTERS, tf.cast(draws["quarter_turns"] * 4.0, tf.int32))
        cos, sin = cos * turn[0] - sin * turn[1], sin * turn[0] + cos * turn[1]
    zoom = 1.0 + _symmetric(draws["scale"]) * config.scale
    flip_x = _sign(draws["horizontal_flip"]) if config.horizontal_flip else 1.0
    flip_y = _sign(draws["vertical_flip"]) if config.vertical_flip else 1.0
    a0, a1 = flip_x * cos / zoom, -flip_x * sin / zoom
    b0, b1 = flip_y * sin / zoom, flip_y * cos / zoom
    center_x, center_y = (width - 1) / 2.0, (height - 1) / 2.0
    from_x = center_x + _symmetric(draws["shift_x"]) * (config.shift * width)
    from_y = center_y + _symmetric(draws["shift_y"]) * (config.shift * height)
    a2 = center_x - a0 * from_x - a1 * from_y
    b2 = center_y - b0 * from_x - b1 * from_y
    return tf.stack([a0, a1, a2, b0, b1, b2, tf.zeros([]), tf.zeros([])])


def _symmetric(draw: Tensor) -> Tensor:
    """From [0, 1) to [-1, 1)."""
    return 2.0 * draw - 1.0


def _sign(draw: Tensor) -> Tensor:
    """-1 or 1 with equal probability."""
    return tf.where(draw < 0.5, -1.0, 1.0)


def _warp(image: Tensor, mask: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Reads image (bilinear, to float32) and mask (nearest) at the same places.

    The place for elastic, barrel and pincushion: a displacement field, composed with the matrix,
    takes the place of this one projective read; both reads change together here or not at all.
    Outside the picture both are reflected, so a reflected defect keeps its label.
    """
    moved_image = _read(tf.cast(image, tf.float32), matrix, "BILINEAR")
    moved_mask = _read(mask[..., tf.newaxis], matrix, "NEAREST")
    return moved_image, moved_mask[..., 0]


def _read(picture: Tensor, matrix: Tensor, interpolation: str) -> Tensor:
    read = tf.raw_ops.ImageProjectiveTransformV3(
        images=picture[tf.newaxis],
        transforms=matrix[tf.newaxis],
        output_shape=picture.shape[:2],
        fill_value=0.0,
        interpolation=interpolation,
        fill_mode="REFLECT",
    )
    return read[0]


def _relight(
    image: Tensor, config: AugmentConfig, draws: dict[str, Tensor], seed: Tensor
) -> Tensor:
    """Contrast around the image's mean, brightness, Gaussian noise; float32 [H, W, C] in 0-255."""
    if config.contrast:
        mean = tf.reduce_mean(image)
        image = (image - mean) * (1.0 + _symmetric(draws["contrast"]) * config.contrast) + mean
    if config.brightness:
        image += _symmetric(draws["brightness"]) * (config.brightness * 255.0)
    if config.noise:
        # Its own stream: the scalar draws above already consumed the sample's seed.
        field_seed = seed + tf.constant([1, 0], tf.int64)
        deviation = draws["noise"] * (config.noise * 255.0)
        image += deviation * tf.random.stateless_normal(tf.shape(image), field_seed)
    return image
