from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from model.metrics import Statistics, batch_statistics

pytestmark = pytest.mark.processor


def example(classes: int, seed: int = 0, images: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    masks = random.choice([*range(classes), 255], size=(images, 7, 5)).astype(np.uint8)
    probabilities = random.dirichlet(np.ones(classes), (images, 7, 5)).astype(np.float32)
    return masks, probabilities


def by_hand(masks: np.ndarray, probabilities: np.ndarray) -> Statistics:
    classes = probabilities.shape[-1]
    counts = np.zeros((classes, 3), np.int64)
    soft = np.zeros((classes, 3))
    pixels = 0
    for true, p in zip(masks.ravel(), probabilities.reshape(-1, classes), strict=True):
        if true == 255:
            continue
        pixels += 1
        predicted = max(range(classes), key=lambda c: p[c])
        for c in range(classes):
            counts[c] += [true == c == predicted, true != c == predicted, true == c != predicted]
            soft[c] += [p[c] * (true == c), p[c], true == c]
    return Statistics(counts, soft, pixels, float(soft[:, 0].sum()))


def assert_equal(found: Statistics, expected: Statistics) -> None:
    np.testing.assert_array_equal(found.counts, expected.counts)
    np.testing.assert_allclose(found.soft, expected.soft, rtol=1e-6)
    assert found.pixels == expected.pixels
    assert found.true_probability == pytest.approx(expected.true_probability, rel=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 6])
@pytest.mark.parametrize("traced", [False, True])
def test_counts_are_those_of_a_plain_loop(classes: int, traced: bool) -> None:
    masks, probabilities = example(classes)
    count = tf.function(batch_statistics) if traced else batch_statistics

    batch = count(tf.constant(masks), tf.constant(probabilities))

    assert batch["counts"].dtype == tf.int64
    assert batch["soft"].dtype == tf.float64
    assert_equal(Statistics.from_batch(batch), by_hand(masks, probabilities))


def test_a_sigmoid_channel_counts_as_two_classes() -> None:
    masks, probabilities = example(2)

    one = Statistics.from_batch(batch_statistics(masks, probabilities[..., 1:]))

    assert_equal(one, by_hand(masks, probabilities))


def test_batches_add_up_to_the_split() -> None:
    masks, probabilities = example(4, images=5)

    parts = [slice(0, 2), slice(2, 4), slice(4, 5)]
    total = Statistics.empty(4)
    for part in parts:
        total += Statistics.from_batch(batch_statistics(masks[part], probabilities[part]))

    assert_equal(total, by_hand(masks, probabilities))


def test_masks_without_counted_pixels_count_nothing() -> None:
    _, probabilities = example(3)

    found = Statistics.from_batch(batch_statistics(np.full((3, 7, 5), 255), probabilities))

    assert_equal(found, Statistics.empty(3))


def test_pooled_dice_is_the_references_metric() -> None:
    masks, probabilities = example(3)
    masks[masks == 255] = 0
    truth = np.eye(3)[masks]

    found = Statistics.from_batch(batch_statistics(masks, probabilities)).pooled_dice

    pooled = 2 * (truth * probabilities).sum() / (truth.sum() + probabilities.sum())
    assert found == pytest.approx(pooled, rel=1e-6)
    assert np.isnan(Statistics.empty(3).pooled_dice)


def test_large_images_are_counted_exactly() -> None:
    masks = np.zeros((2, 512, 512), np.uint8)
    masks[:, 0, 0] = 1
    probabilities = np.tile(np.float32([0.9, 0.1]), (2, 512, 512, 1))

    found = Statistics.from_batch(batch_statistics(masks, probabilities))

    assert found.counts.tolist() == [[2 * 512**2 - 2, 2, 0], [0, 0, 2]]
    np.testing.assert_allclose(found.soft[:, 1], [2 * 512**2 * 0.9, 2 * 512**2 * 0.1], rtol=1e-5)
