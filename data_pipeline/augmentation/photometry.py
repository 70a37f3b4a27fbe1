"""Photometric operations: light, colour and the faults of cameras and files; the image alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.augmentation.geometry import Draws, Tensor, amount, happens, symmetric
from data_pipeline.augmentation.operations import COLOR_ONLY, PHOTOMETRIC

WHITE = 255.0

# RGB to luma and two axes of colour (NTSC): turning the two is a hue, scaling them a saturation.
_TO_YIQ = np.array(
    [[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]],
    np.float32,
)
_FROM_YIQ = np.linalg.inv(_TO_YIQ)

Change = Callable[[Tensor, AugmentConfig, Draws, Tensor], Tensor]


def change_light(image: Tensor, config: AugmentConfig, draws: Draws, seed: Tensor) -> Tensor:
    """Apply every photometric operation that the config names, in the order of the light's way.

    Scene and lamp first (gamma, contrast, brightness, colour), then the camera (sharpening, blur,
    noise), the file (jpeg), and what covers the view (cutout).

    Args:
        image: float32 [H, W, C], 0 to 255; C is 3 for saturation and hue.
        config: The amounts and probabilities.
        draws: Uniform numbers in [0, 1), float32 scalars by name.
        seed: int64 [2], of fields drawn a pixel.

    Returns:
        The same shape and range, not cut at 0 and 255.
    """
    used = [name for name in PHOTOMETRIC if config.uses(name)]
    steps = dict.fromkeys("color" if name in COLOR_ONLY else name for name in used)
    for name in steps:
        image = _CHANGES[name](image, config, draws, seed)
    return image


def _gamma(image: Tensor, config: AugmentConfig, draws: Draws, seed: Tensor) -> Tensor:
    drawn = symmetric(draws["gamma"]) * math.log1p(config.gamma)

    def bent() -> Tensor:
        return WHITE * tf.pow(tf.clip_by_value(image / WHITE, 0.0, 1.0), tf.exp(drawn))

    return _sometimes("gamma", bent, image, config, draws)


def _contrast(image: Tensor, config: AugmentConfig, draws: Draws, seed: Tensor) -> Tensor:
    mean = tf.reduce_mean(image)
    factor = 1.0 + amount(config, "contrast", symmetric(draws["contrast"]), draws)
    return image * factor + mean * (1.0 - factor)


def _brightness(image: Tensor, config: AugmentConfig, draws: Draws, seed: Tensor) -> Tensor:
    return image + WHITE * amount(config, "brightness", symmetric(draws["brightness"]), draws)


def _color(image: Tensor, config: AugmentConfig, draws: Draws, seed: Tensor) -> Tensor:
    strength, angle = tf.ones([]), tf.zeros([])
    if config.saturation:
        strength += amount(config, "saturation", symmetric(draws["saturation"]), draws)
    if config.hue:
        angle = amount(config, "hue", symmetric(draws["hue"]), draws) * (math.pi / 180.0)
    cos, sin = strength * tf.cos(angle), strength * tf.sin(angle)
    turn = tf.reshape(tf.stack([1.0, 0.0, 0.0, 0.0, cos, -sin, 0.0, sin, cos]), [3, 3])
    matrix = tf.matmul(_FROM_YIQ, tf.matmul(turn, _TO_YIQ))
    return tf.tensordot(image, matrix, [[2], [1]])


def _sharpening(image: Tensor, config: AugmentConfig, draws: Draws, seed: Tensor) -> Tensor:
    times = draws["sharpening"] * config.sharpening

    def sharper() -> Tensor:
        return image + times * (image - _blurred(image, tf.ones([]), 1.0))

    return _sometimes("sharpening", sharper, image, config, draws)


def _blur(image: Tensor, config: AugmentConfig, draws: Draws, seed: Tensor) -> Tensor:
    deviation = draws["blur"] * config.blur

    def softer() -> Tensor:
        return _blurred(image, deviation, config.blur)

    return _sometimes("blur", softer, image, config, draws)


def _blurred(image: Tensor, deviation: Tensor, largest: float) -> Tensor:
    """Gaussian, separable, three deviations wide; beyond the border lies the mirror image."""
    reach = max(1, math.ceil(3 * largest))
    reach = min(reach, *(side - 1 for side in image.shape[:2]))
    offsets = tf.range(-reach, reach + 1, dtype=tf.float32)
    weights = tf.nn.softmax(-0.5 * (offsets / tf.maximum(deviation, 1e-3)) ** 2)
    planes = tf.transpose(image, [2, 0, 1])[..., tf.newaxis]
    planes = tf.pad(planes, [[0, 0], [reach, reach], [reach, reach], [0, 0]], "REFLECT")
    for shape in ([-1, 1, 1, 1], [1, -1, 1, 1]):
        planes = tf.nn.conv2d(planes, tf.reshape(weights, shape), 1, "VALID")
    return tf.transpose(planes[..., 0], [1, 2, 0])


def _noise(image: Tensor, config: AugmentConfig, draws: Draws, seed: Tensor) -> Tensor:
    deviation = draws["noise"] * (config.noise * WHITE)

    def grainy() -> Tensor:
        # Its own stream: the scalar draws already consumed the sample's seed.
        own = seed + tf.constant([1, 0], tf.int64)
        return image + deviation * tf.random.stateless_normal(tf.shape(image), own)

    return _sometimes("noise", grainy, image, config, draws)


def _jpeg(image: Tensor, config: AugmentConfig, draws: Draws, seed: Tensor) -> Tensor:
    quality = tf.cast(tf.round(100.0 * (1.0 - draws["jpeg"] * config.jpeg)), tf.int32)

    def packed() -> Tensor:
        pixels = tf.cast(tf.round(tf.clip_by_value(image, 0.0, WHITE)), tf.uint8)
        encoded = tf.raw_ops.EncodeJpegVariableQuality(
            images=pixels, quality=tf.maximum(quality, 1)
        )
        read = tf.io.decode_jpeg(encoded, channels=image.shape[2], dct_method="INTEGER_ACCURATE")
        return tf.ensure_shape(tf.cast(read, tf.float32), image.shape)

    return _sometimes("jpeg", packed, image, config, draws)


def _cutout(image: Tensor, config: AugmentConfig, draws: Draws, seed: Tensor) -> Tensor:
    """DeVries & Taylor, Improved regularization of CNNs with cutout, arXiv:1708.04552."""
    covered = tf.ones([], tf.bool)
    for axis, name in enumerate(("y", "x")):
        side = image.shape[axis]
        length = draws[f"cutout_{name}_side"] * (config.cutout * side)
        begin = draws[f"cutout_{name}"] * (side - length)
        places = tf.range(side, dtype=tf.float32)
        inside = tf.logical_and(places >= begin, places + 1.0 <= begin + length)
        shape = [1, 1, 1]
        shape[axis] = side
        covered = tf.logical_and(covered, tf.reshape(inside, shape))
    covered = tf.logical_and(covered, happens(config, "cutout", draws))
    return tf.where(covered, tf.reduce_mean(image), image)


def _sometimes(
    name: str, changed: Callable[[], Tensor], image: Tensor, config: AugmentConfig, draws: Draws
) -> Tensor:
    """Do costly work only for the samples that it changes."""
    if config.share(name) == 1:
        return changed()
    return tf.cond(happens(config, name, draws), changed, lambda: image)


_CHANGES: dict[str, Change] = {
    "gamma": _gamma,
    "contrast": _contrast,
    "brightness": _brightness,
    "color": _color,
    "sharpening": _sharpening,
    "blur": _blur,
    "noise": _noise,
    "jpeg": _jpeg,
    "cutout": _cutout,
}
