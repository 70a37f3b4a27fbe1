"""The resizing of a SavedModel against that of the data pipeline, which training images pass."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf

from data_pipeline.datasets.resize import Mode, resize_image, restore
from model.resampling import from_model, to_model

pytestmark = pytest.mark.processor

SIZE = (32, 48)
SHRINKING = [(64, 96), (100, 131), (64, 100), (128, 192), (301, 48)]
GROWING = [(16, 24), (20, 31), (10, 200), (200, 10), (3, 2), (1, 1)]


@tf.function(
    input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)],
    autograph=False,
    reduce_retracing=True,
)
def stretched(images: tf.Tensor) -> tf.Tensor:
    return to_model(images, SIZE, "stretch")


@tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)], autograph=False)
def letterboxed(images: tf.Tensor) -> tf.Tensor:
    return to_model(images, SIZE, "letterbox")


def picture(height: int, width: int) -> np.ndarray:
    """Blobs of some pixels: neither flat nor noise."""
    random = np.random.default_rng(height + width)
    coarse = random.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(
        height, width, 3
    )


@pytest.mark.parametrize("mode", ["stretch", "letterbox"])
@pytest.mark.parametrize("shape", [SIZE, *SHRINKING, *GROWING])
def test_images_reach_the_model_as_in_training(shape: tuple[int, int], mode: Mode) -> None:
    image = picture(*shape)
    resize = stretched if mode == "stretch" else letterboxed
    resized = resize(tf.constant(image[None])).numpy()[0]
    expected = resize_image(image, SIZE, mode).astype(np.float32)

    off = np.abs(resized - expected)
    assert off.max() <= 1
    # What lies next to a half may be rounded otherwise; where it grows bytes, OpenCV cuts off bits.
    assert np.mean(off > 0) < (0.15 if shape in GROWING else 0.003)


@pytest.mark.parametrize("mode", ["stretch", "letterbox"])
@pytest.mark.parametrize("shape", [SIZE, *SHRINKING, *GROWING])
def test_probabilities_come_back_as_in_scoring(shape: tuple[int, int], mode: Mode) -> None:
    random = np.random.default_rng(0)
    probabilities = random.dirichlet([0.3, 0.3, 0.3], (2, *SIZE)).astype(np.float32)
    sides = (tf.constant(shape[0]), tf.constant(shape[1]))
    restored = from_model(tf.constant(probabilities), sides, mode).numpy()

    for one, before in zip(restored, probabilities, strict=True):
        np.testing.assert_allclose(one, restore(before, shape, mode), atol=1e-5)
