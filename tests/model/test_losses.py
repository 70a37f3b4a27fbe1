from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import tensorflow as tf

from model.config import Loss as LossName
from model.config import TrainConfig
from model.losses import LOSSES, class_weights_from, make_loss

pytestmark = pytest.mark.processor

NAMES = sorted(LOSSES)
WEIGHTS = np.array([0.3, 1.0, 1.7])


def example(seed: int = 0, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Draw masks [2, 8, 6] with uncounted pixels, and probabilities [2, 8, 6, channels]."""
    random = np.random.default_rng(seed)
    masks = random.choice([0, 1, 2, 255], p=[0.5, 0.2, 0.2, 0.1], size=(2, 8, 6)).astype(np.uint8)
    scores = np.exp(random.normal(0, 1.5, (2, 8, 6, channels)))
    return masks, (scores / scores.sum(-1, keepdims=True)).astype(np.float32)


def value(name: str, masks: np.ndarray, probabilities: np.ndarray, **config: Any) -> float:
    weights = config.pop("weights", WEIGHTS)
    result = make_loss(TrainConfig(loss=name, **config), list(weights))(masks, probabilities)
    assert result.shape == ()
    assert result.dtype == tf.float32
    return float(result)


def by_hand(name: str, masks: np.ndarray, probabilities: np.ndarray, w: np.ndarray) -> float:
    """The formulas of the docstrings once more, pixel by pixel in float64."""
    pixels = [
        (int(label), p.astype(np.float64))
        for label, p in zip(masks.ravel(), probabilities.reshape(-1, len(w)), strict=True)
        if label != 255
    ]
    total = sum(w[t] for t, _ in pixels)
    both = np.array([sum(p[c] for t, p in pixels if t == c) for c in range(len(w))])
    predicted = np.array([sum(p[c] for _, p in pixels) for c in range(len(w))])
    true = np.array([sum(t == c for t, _ in pixels) for c in range(len(w))])
    tversky = (both + 1) / (both + 0.3 * (predicted - both) + 0.7 * (true - both) + 1)
    cross_entropy = -sum(w[t] * np.log(p[t]) for t, p in pixels) / total
    focal = -sum(w[t] * (1 - p[t]) ** 2 * np.log(p[t]) for t, p in pixels) / total
    dice = 1 - np.average((2 * both + 1) / (predicted + true + 1), weights=w)
    return {
        "cross_entropy": cross_entropy,
        "focal": focal,
        "dice": dice,
        "cross_entropy_dice": cross_entropy + dice,
        "focal_dice": focal + dice,
        "tversky": 1 - np.average(tversky, weights=w),
        "focal_tversky": np.average((1 - tversky) ** 0.75, weights=w),
    }[name]


def test_every_loss_of_the_config_is_there() -> None:
    assert set(LOSSES) == set(get_args(LossName))


@pytest.mark.parametrize("name", NAMES)
def test_formula(name: str) -> None:
    masks, probabilities = example()

    expected = by_hand(name, masks, probabilities, WEIGHTS)

    assert value(name, masks, probabilities) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_formula_is_documented_with_its_source(name: str) -> None:
    documentation = LOSSES[name].__doc__ or ""

    assert "(20" in documentation, "expected the year of a paper"


@pytest.mark.parametrize("name", NAMES)
def test_uncounted_pixels_weigh_nothing(name: str) -> None:
    masks, probabilities = example()
    changed = probabilities.copy()
    changed[masks == 255] = [1, 0, 0]

    with tf.GradientTape() as tape:
        tensor = tf.constant(probabilities)
        tape.watch(tensor)
        loss = make_loss(TrainConfig(loss=name), list(WEIGHTS))(masks, tensor)
    gradient = tape.gradient(loss, tensor).numpy()

    assert value(name, masks, changed) == pytest.approx(value(name, masks, probabilities))
    assert not gradient[masks == 255].any()
    assert gradient[masks != 255].any()


@pytest.mark.parametrize("name", NAMES)
def test_without_any_counted_pixel_there_is_nothing_to_learn(name: str) -> None:
    _, probabilities = example()
    masks = np.full((2, 8, 6), 255, np.uint8)

    assert value(name, masks, probabilities) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_scale_of_the_weights_does_not_matter(name: str) -> None:
    masks, probabilities = example()

    once, thrice = (value(name, masks, probabilities, weights=k * WEIGHTS) for k in (1, 3))

    assert once == pytest.approx(thrice, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_heavier_class_counts_more(name: str) -> None:
    masks = np.array([[[0, 1] * 20]], np.uint8)
    right = np.where(masks[..., None] == 0, [0.9, 0.1], [0.9, 0.1]).astype(np.float32)

    light, heavy = (value(name, masks, right, weights=[1.0, w]) for w in (0.2, 5.0))

    assert light < heavy


@pytest.mark.parametrize("name", NAMES)
def test_better_predictions_lose_less(name: str) -> None:
    masks, _ = example()
    truth = np.eye(3, dtype=np.float32)[np.where(masks == 255, 0, masks)]
    losses = [value(name, masks, q * truth + (1 - q) / 3) for q in (0.0, 0.3, 0.6, 0.9, 0.999)]

    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.02


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("right", [True, False])
def test_gradients_stay_finite_for_certain_predictions(
    name: str, gamma: float, right: bool
) -> None:
    masks, _ = example()
    labels = np.where(masks == 255, 0, masks)
    logits = tf.constant(200 * np.eye(3, dtype=np.float32)[labels if right else (labels + 1) % 3])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        config = TrainConfig(loss=name, focal_gamma=gamma)
        loss = make_loss(config, list(WEIGHTS))(masks, tf.nn.softmax(logits))

    assert np.isfinite(loss)
    assert np.isfinite(tape.gradient(loss, logits)).all()


@pytest.mark.parametrize(
    "name",
    ["cross_entropy", "focal", "cross_entropy_dice", "focal_dice"],
)
def test_a_confident_mistake_is_still_corrected(name: str) -> None:
    masks = np.zeros((1, 1, 1), np.uint8)
    logits = tf.constant([[[[0.0, 40.0]]]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = make_loss(TrainConfig(loss=name), [1.0, 1.0])(masks, tf.nn.softmax(logits))

    # Keras' crossentropy on clipped probabilities has no gradient here.
    np.testing.assert_allclose(tape.gradient(loss, logits)[0, 0, 0], [-1, 1], atol=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_a_sigmoid_channel_stands_for_two_classes(name: str) -> None:
    masks, probabilities = example(channels=2)
    masks[masks == 2] = 1
    weights = [0.4, 1.6]

    one = value(name, masks, probabilities[..., 1:], weights=weights)

    assert one == pytest.approx(value(name, masks, probabilities, weights=weights), rel=1e-5)


def test_focal_with_gamma_zero_is_cross_entropy() -> None:
    masks, probabilities = example()

    focal = value("focal", masks, probabilities, focal_gamma=0.0)

    assert focal == pytest.approx(value("cross_entropy", masks, probabilities), rel=1e-5)


def test_tversky_weighs_the_two_kinds_of_mistake() -> None:
    masks = np.array([[[0, 0, 1, 1]]], np.uint8).repeat(8, axis=1)
    everything = np.tile(np.float32([0.1, 0.9]), (1, 8, 4, 1))

    strict, lenient = (
        value("tversky", masks, everything, weights=[0.0, 1.0], tversky_alpha=a, tversky_beta=1 - a)
        for a in (0.9, 0.1)
    )

    assert strict > 1.5 * lenient


@pytest.mark.parametrize(
    ("config", "pixels", "expected"),
    [
        ({"class_weighting": "none"}, [90, 9, 0], [1, 1, 1]),
        ({"class_weighting": "inverse_sqrt_frequency"}, [900, 100, 25], [0.3, 0.9, 1.8]),
        ({"class_weighting": "given", "class_weights": (1.0, 0.0, 7.0)}, [9, 0, 1], [1, 0, 7]),
    ],
)
def test_class_weights(config: dict[str, Any], pixels: list[int], expected: list[float]) -> None:
    weights = class_weights_from(TrainConfig(**config), pixels)

    np.testing.assert_allclose(weights, expected)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"class_weighting": "inverse_sqrt_frequency"}, r"none of class \[1\]"),
        ({"class_weighting": "given", "class_weights": (1.0, 2.0)}, "each of 3 classes"),
        ({"class_weighting": "given", "class_weights": (0.0, 0.0, 0.0)}, "not all zero"),
    ],
)
def test_impossible_class_weights_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_weights_from(TrainConfig(**config), [90, 0, 9])


def test_sums_over_large_batches_are_precise() -> None:
    masks = np.zeros((2, 512, 512), np.uint8)
    probabilities = np.tile(np.float32([0.9, 0.1]), (2, 512, 512, 1))

    # 2 * 0.9 / (0.9 + 1) for class 0; class 1 has no pixel.
    expected = 1 - 1.8 / 1.9
    found = value("dice", masks, probabilities, weights=[1.0, 0.0])

    assert found == pytest.approx(expected, rel=1e-4)
