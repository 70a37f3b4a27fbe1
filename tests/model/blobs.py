"""Random blobs of two classes on noise: a segmentation task that is learnt in seconds."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

CLASSES = 3


def blobs(
    count: int, size: int = 32, seed: int = 0, channels: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Draw images uint8 [count, size, size, channels] and masks uint8 [count, size, size].

    One bright disc of class 1 and one dark disc of class 2 in each; a column of uncounted pixels.
    """
    random = np.random.default_rng(seed)
    images = random.normal(100, 15, (count, size, size, channels))
    masks = np.zeros((count, size, size), np.uint8)
    y, x = np.mgrid[:size, :size]
    for image, mask in zip(images, masks, strict=True):
        for label, light in ((1, 60), (2, -50)):
            row, column = random.integers(size // 5, size - size // 5, 2)
            disc = (y - row) ** 2 + (x - column) ** 2 < (size * random.uniform(0.12, 0.2)) ** 2
            mask[disc] = label
            image[disc] += light
    masks[:, :, 0] = 255
    return np.clip(images, 0, 255).astype(np.uint8), masks


def stream(images: np.ndarray, masks: np.ndarray, batch: int, skip: int = 0) -> tf.data.Dataset:
    """Batches without end, in order; skip leaves out that many images of the stream."""
    dataset = tf.data.Dataset.from_tensor_slices((images, masks))
    return dataset.repeat().skip(skip).batch(batch, drop_remainder=True)


def class_pixels(masks: np.ndarray) -> list[int]:
    return [int((masks == label).sum()) for label in range(CLASSES)]


def dice(counts: np.ndarray) -> np.ndarray:
    """2TP / (2TP + FP + FN) of counts [C, 3], one a class."""
    true, false_positives, false_negatives = counts.T
    return 2 * true / (2 * true + false_positives + false_negatives)
