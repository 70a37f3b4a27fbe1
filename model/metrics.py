"""What one needs to count of a prediction so that every score derives from the counts.

The formulas of the scores are in ``results/analysis/scores.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.losses import two_channels


@dataclass(frozen=True)
class Statistics:
    """Counts of predictions against masks; pixels with label 255 are in none of them.

    Add two of them for the statistics of both sets of images.

    Attributes:
        counts: int64 [C, 3]: true positives, false positives and false negatives of the argmax,
            in pixels of each class.
        soft: float64 [C, 3]: sums of p*y, p and y over the pixels, of each class.
        pixels: Number of counted pixels.
        true_probability: Sum over the counted pixels of the true class' probability.
    """

    counts: npt.NDArray[np.int64]
    soft: npt.NDArray[np.float64]
    pixels: int
    true_probability: float

    @classmethod
    def empty(cls, num_classes: int) -> Statistics:
        return cls(np.zeros((num_classes, 3), np.int64), np.zeros((num_classes, 3)), 0, 0.0)

    @classmethod
    def from_batch(cls, batch: Mapping[str, tf.Tensor]) -> Statistics:
        counts = np.asarray(batch["counts"], np.int64)
        soft = np.asarray(batch["soft"], np.float64)
        return cls(counts, soft, int(counts[:, [0, 2]].sum()), float(soft[:, 0].sum()))

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(
            self.counts + other.counts,
            self.soft + other.soft,
            self.pixels + other.pixels,
            self.true_probability + other.true_probability,
        )

    @property
    def pooled_dice(self) -> float:
        """Dice over all classes pooled, background included; NaN without pixels.

        That is 2 sum p*y / (sum p + sum y) with both sums over all classes and pixels: the mean
        probability of the true class. It is the reference's "dice_coef_multiclass", reported for
        comparison alone, since predicting nothing but background scores about 0.9.
        """
        return self.true_probability / self.pixels if self.pixels else float("nan")


def batch_statistics(masks: tf.Tensor, probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
    """Count one batch, in TensorFlow operations.

    Args:
        masks: [B, H, W], integer labels; labels from C on (255) are not counted.
        probabilities: float32 [B, H, W, C], or [B, H, W, 1] of a sigmoid, counted as the two
            classes [1 - p, p].

    Returns:
        ``counts`` int64 [C, 3] and ``soft`` float64 [C, 3], as in ``Statistics``.
    """
    probabilities = two_channels(probabilities)
    num_classes = probabilities.shape[-1]
    labels = tf.cast(masks, tf.int32)
    predicted = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
    confusion = _confusion(labels, predicted, num_classes)
    both = tf.linalg.diag_part(confusion)
    counts = [both, tf.reduce_sum(confusion, 0) - both, tf.reduce_sum(confusion, 1) - both]
    return {
        "counts": tf.stack(counts, axis=-1),
        "soft": tf.stack(_soft_sums(labels, probabilities, num_classes), axis=-1),
    }


def _confusion(labels: tf.Tensor, predicted: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Count pairs of true class (row) and predicted class (column), int64 [C, C]."""
    cells = num_classes * num_classes
    counted = labels < num_classes
    # bincount drops what is not below maxlength, so an uncounted pixel gets such a value.
    pairs = tf.where(counted, labels * num_classes + predicted, cells)
    counts = tf.math.bincount(tf.reshape(pairs, [-1]), minlength=cells, maxlength=cells)
    return tf.reshape(tf.cast(counts, tf.int64), [num_classes, num_classes])


def _soft_sums(labels: tf.Tensor, probabilities: tf.Tensor, num_classes: int) -> list[tf.Tensor]:
    truth = tf.one_hot(labels, num_classes, dtype=tf.float32)
    counted = tf.reduce_sum(truth, axis=-1, keepdims=True)
    # Rows in float32, then float64: a float32 sum over a whole 512 px image is off by 0.2 %.
    parts = (truth * probabilities, counted * probabilities, truth)
    rows = [tf.cast(tf.reduce_sum(part, axis=2), tf.float64) for part in parts]
    return [tf.reduce_sum(row, axis=(0, 1)) for row in rows]
