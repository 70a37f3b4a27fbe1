"""Losses for sparse masks, from probabilities, with weighted classes and uncounted pixels.

Symbols, the same in every formula: p_c(x) is the predicted probability of class c at pixel x,
y_c(x) is 1 where the mask says c and else 0, w_c is the weight of class c. Sums over x run over
all counted pixels of the batch, those whose label is below the number of classes; the label 255
is never counted. t(x) is the true class of x. Multiplying all weights by one number changes no
loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.config import TrainConfig

# log(p + _TINY) rather than log(max(p, 1e-7)): the gradient of the latter is zero below 1e-7, so
# a confidently wrong pixel would never be corrected.
_TINY = 1e-30
# Keeps powers below 1 away from their infinite slope at 0.
_SMALL = 1e-7
_SMOOTH = 1.0
# 1/gamma with the gamma = 4/3 of the focal Tversky paper.
_FOCAL_TVERSKY_EXPONENT = 0.75


class Loss(Protocol):
    """A loss of one batch, to be minimised."""

    def __call__(self, masks: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        """Compute the loss.

        Args:
            masks: [B, H, W], integer labels; 255 is not counted.
            probabilities: float32 [B, H, W, C], or [B, H, W, 1] of a sigmoid, which stands for
                the two classes [1 - p, p].

        Returns:
            A float32 scalar; 0 where no pixel is counted.
        """


@dataclass(frozen=True)
class Pixels:
    """One batch as the losses see it.

    Attributes:
        truth: y, float32 [B, H, W, C], all zero at pixels that are not counted.
        probabilities: p, float32 [B, H, W, C].
        weights: w, float32 [C].
    """

    truth: tf.Tensor
    probabilities: tf.Tensor
    weights: tf.Tensor

    def true_probability(self) -> tf.Tensor:
        """Probability of the true class, [B, H, W]; 0 at pixels that are not counted."""
        return tf.reduce_sum(self.truth * self.probabilities, axis=-1)

    def pixel_mean(self, values: tf.Tensor) -> tf.Tensor:
        """Mean of values [B, H, W] over the counted pixels, each weighted by its true class."""
        weights = tf.linalg.matvec(self.truth, self.weights)
        return tf.math.divide_no_nan(tf.reduce_sum(weights * values), tf.reduce_sum(weights))

    def class_mean(self, values: tf.Tensor) -> tf.Tensor:
        """Mean of values [C] over the classes, weighted."""
        return tf.reduce_sum(self.weights * values) / tf.reduce_sum(self.weights)

    def sums(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Sum of p*y, of p and of y over the counted pixels, each [C]."""
        counted = tf.reduce_sum(self.truth, axis=-1, keepdims=True)
        parts = (self.truth * self.probabilities, counted * self.probabilities, self.truth)
        # Row by row first: in one go, a float32 sum over a large batch is off by 0.2 %.
        both, predicted, true = (
            tf.reduce_sum(tf.reduce_sum(part, axis=2), axis=(0, 1)) for part in parts
        )
        return both, predicted, true


def cross_entropy(pixels: Pixels, config: TrainConfig) -> tf.Tensor:
    """Weighted categorical cross-entropy: - sum_x w_t log p_t / sum_x w_t.

    Source: Ronneberger et al., "U-Net" (2015), eq. 1, with weights by class and their sum as the
    divisor, so that the loss does not shrink where the common classes weigh little.
    """
    return pixels.pixel_mean(-tf.math.log(pixels.true_probability() + _TINY))


def focal(pixels: Pixels, config: TrainConfig) -> tf.Tensor:
    """Focal loss: - sum_x w_t (1 - p_t)**gamma log p_t / sum_x w_t, gamma = ``focal_gamma``.

    Source: Lin et al., "Focal Loss for Dense Object Detection" (2017), eq. 5, with alpha_t = w_t.
    With gamma 0 it is ``cross_entropy``.
    """
    true = pixels.true_probability()
    focus = tf.maximum(1.0 - true, _SMALL) ** config.focal_gamma
    return pixels.pixel_mean(-focus * tf.math.log(true + _TINY))


def dice(pixels: Pixels, config: TrainConfig) -> tf.Tensor:
    """Soft Dice loss: 1 - sum_c w_c D_c / sum_c w_c.

    D_c = (2 sum_x p_c y_c + s) / (sum_x p_c + sum_x y_c + s), s = 1 pixel, sums over the whole
    batch: a class that is absent from it gains by vanishing and is otherwise left alone.

    Source: Milletari et al., "V-Net" (2016), eq. 2, without squares in the denominator, for
    several classes as in Sudre et al., "Generalised Dice overlap" (2017).
    """
    both, predicted, true = pixels.sums()
    score = (2.0 * both + _SMOOTH) / (predicted + true + _SMOOTH)
    return 1.0 - pixels.class_mean(score)


def _tversky_index(pixels: Pixels, config: TrainConfig) -> tf.Tensor:
    both, predicted, true = pixels.sums()
    false_positives = predicted - both
    false_negatives = true - both
    wrong = config.tversky_alpha * false_positives + config.tversky_beta * false_negatives
    return (both + _SMOOTH) / (both + wrong + _SMOOTH)


def tversky(pixels: Pixels, config: TrainConfig) -> tf.Tensor:
    """Tversky loss: 1 - sum_c w_c T_c / sum_c w_c.

    T_c = (TP_c + s) / (TP_c + alpha FP_c + beta FN_c + s) of the soft counts TP = sum_x p y,
    FP = sum_x p (1 - y), FN = sum_x (1 - p) y; s = 1 pixel.

    Source: Salehi et al., "Tversky loss function for image segmentation" (2017), eq. 1. With
    alpha = beta = 0.5 it is ``dice`` with s = 2.
    """
    return 1.0 - pixels.class_mean(_tversky_index(pixels, config))


def focal_tversky(pixels: Pixels, config: TrainConfig) -> tf.Tensor:
    """Focal Tversky loss: sum_c w_c (1 - T_c)**(3/4) / sum_c w_c, T_c as in ``tversky``.

    Source: Abraham and Khan, "A novel focal Tversky loss function" (2019), eq. 4, with the
    paper's gamma = 4/3; ``focal_gamma`` is not used.
    """
    missing = tf.maximum(1.0 - _tversky_index(pixels, config), _SMALL)
    return pixels.class_mean(missing**_FOCAL_TVERSKY_EXPONENT)


def cross_entropy_dice(pixels: Pixels, config: TrainConfig) -> tf.Tensor:
    """``cross_entropy`` + ``dice``, the sum of nnU-Net: Isensee et al. (2021)."""
    return cross_entropy(pixels, config) + dice(pixels, config)


def focal_dice(pixels: Pixels, config: TrainConfig) -> tf.Tensor:
    """``focal`` + ``dice``, as in AnatomyNet: Zhu et al. (2019), eq. 3, with both parts at 1."""
    return focal(pixels, config) + dice(pixels, config)


LOSSES: Mapping[str, Callable[[Pixels, TrainConfig], tf.Tensor]] = MappingProxyType(
    {
        "cross_entropy": cross_entropy,
        "dice": dice,
        "cross_entropy_dice": cross_entropy_dice,
        "focal": focal,
        "focal_dice": focal_dice,
        "tversky": tversky,
        "focal_tversky": focal_tversky,
    }
)


def class_weights_from(config: TrainConfig, class_pixels: Sequence[int]) -> npt.NDArray[np.float64]:
    """Compute the weight of each class.

    Args:
        config: Says how (``class_weighting``).
        class_pixels: Pixels of each class in the training split, background first, [C].

    Returns:
        float64 [C]: ones for ``none``; 1/sqrt(share of the pixels), scaled to a mean of 1, for
        ``inverse_sqrt_frequency``; ``class_weights`` for ``given``.

    Raises:
        ValueError: where a class has no pixels to weigh it by, or the given weights are not one a
            class or all zero.
    """
    match config.class_weighting:
        case "none":
            return np.ones(len(class_pixels))
        case "given":
            return _given_weights(config.class_weights or (), len(class_pixels))
        case "inverse_sqrt_frequency":
            return _inverse_sqrt_frequency(np.asarray(class_pixels, np.float64))


def _given_weights(weights: Sequence[float], count: int) -> npt.NDArray[np.float64]:
    if len(weights) != count or not any(weights):
        raise ValueError(
            f"expected train.class_weights with one weight for each of {count} classes, not all "
            f"zero, received {list(weights)}"
        )
    return np.asarray(weights, np.float64)


def _inverse_sqrt_frequency(pixels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if not (pixels > 0).all():
        raise ValueError(
            "expected pixels of every class in the training split for class_weighting "
            f"'inverse_sqrt_frequency', received none of class {np.flatnonzero(pixels <= 0)}"
        )
    weights = 1 / np.sqrt(pixels / pixels.sum())
    return np.asarray(weights / weights.mean(), np.float64)


def two_channels(probabilities: tf.Tensor) -> tf.Tensor:
    """Turn a sigmoid's [..., 1] into [..., 2] = [1 - p, p]; leave a softmax as it is."""
    if probabilities.shape[-1] != 1:
        return probabilities
    return tf.concat([1.0 - probabilities, probabilities], axis=-1)


def make_loss(config: TrainConfig, class_weights: Sequence[float]) -> Loss:
    """Make the loss that a config names.

    Args:
        config: ``loss`` and its numbers.
        class_weights: w, one a class; two of them for a sigmoid output.
    """
    term = LOSSES[config.loss]
    # NumPy, not a tensor: a tensor made here could not be used in a function traced elsewhere.
    weights = np.asarray(class_weights, np.float32)

    def loss(masks: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        # one_hot gives all zeros for 255, which no class has.
        truth = tf.one_hot(tf.cast(masks, tf.int32), len(weights), dtype=tf.float32)
        return term(Pixels(truth, two_channels(probabilities), tf.constant(weights)), config)

    return loss
