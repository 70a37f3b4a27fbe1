"""A bias per class: found where it helps, held against a search by hand, part of the last layer."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from model.class_bias import Predictions, add_bias, fit_bias, gain_of
from model.config import ModelConfig
from model.flexunet import build_flexunet

CLASSES = 3


def images(seed: int, count: int = 6, lean: float = 1.0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Masks and the probabilities of a model that gives class 2 `lean` of logit too much."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        mask = rng.choice([0, 1, 2, 255], (12, 10), p=[0.7, 0.1, 0.1, 0.1]).astype(np.uint8)
        logits = rng.normal(0, 1.5, (12, 10, CLASSES))
        logits += 3.0 * np.eye(CLASSES + 253)[mask][..., :CLASSES]
        logits[..., 2] += lean
        odds = np.exp(logits)
        found.append((mask, (odds / odds.sum(axis=-1, keepdims=True)).astype(np.float32)))
    return found


def gathered(*parts: list[tuple[np.ndarray, np.ndarray]]) -> list[Predictions]:
    found = []
    for part in parts:
        predictions = Predictions(CLASSES)
        for mask, probabilities in part:
            predictions.add(mask, probabilities)
        found.append(predictions)
    return found


def mean_dice(pairs: list[tuple[np.ndarray, np.ndarray]], bias: np.ndarray) -> float:
    """By the definition, pixel by pixel."""
    masks = np.stack([mask for mask, _ in pairs])
    answers = np.stack([np.log(p) for _, p in pairs]) + bias
    predicted, counted = answers.argmax(axis=-1), masks != 255
    dice = []
    for label in range(1, CLASSES):
        true, claimed = (masks == label) & counted, (predicted == label) & counted
        dice.append(2 * (true & claimed).sum() / (true.sum() + claimed.sum()))
    return float(np.mean(dice))


def test_it_undoes_what_a_model_leans_to() -> None:
    pairs = images(0, lean=2.0)
    bias = fit_bias(gathered(pairs))
    assert bias[0] == 0
    assert bias[2] < -0.5
    assert mean_dice(pairs, bias) > mean_dice(pairs, np.zeros(CLASSES)) + 0.05


def test_it_is_about_as_good_as_the_best_of_the_whole_grid() -> None:
    pairs = images(1, lean=1.5)
    bias = fit_bias(gathered(pairs))
    grid = np.arange(-3, 3.01, 0.5)
    best = max(mean_dice(pairs, np.array([0, a, b])) for a, b in itertools.product(grid, grid))
    assert mean_dice(pairs, bias) >= best - 0.01


def test_what_it_brings_is_counted_as_by_the_definition() -> None:
    one, other = images(2), images(3)
    parts = gathered(one, other)
    bias = fit_bias(parts)
    gain = gain_of(parts, bias)
    assert gain.without == pytest.approx(mean_dice(one + other, np.zeros(CLASSES)))
    assert gain.fitted == pytest.approx(mean_dice(one + other, bias))
    # Each part with the bias of the other: no better than with its own.
    assert gain.held_out <= gain.fitted + 1e-9
    # The grid's counts are those of each of its biases.
    for place, value in ((0, -3.0), (12, 0.0), (24, 3.0)):
        moved = np.array([0.0, 0.5, value])
        table = parts[0].confusions(np.array([0.0, 0.5, 0.0]), 2)
        np.testing.assert_array_equal(table[place], parts[0].confusion(moved))


def test_a_class_that_no_mask_shows_is_left_alone() -> None:
    pairs = [(np.where(mask == 2, 0, mask), p) for mask, p in images(4)]
    assert fit_bias(gathered(pairs))[2] == 0
    assert (fit_bias([Predictions(CLASSES)]) == 0).all()


def test_many_pixels_are_thinned_and_count_for_those_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = images(5, count=40)
    (whole,) = gathered(pairs)
    monkeypatch.setattr("model.class_bias._MOST_PIXELS", 1000)
    (thinned,) = gathered(pairs)
    assert len(thinned._labels) <= 1000
    np.testing.assert_allclose(thinned.pixels(), whole.pixels(), rtol=0.25)
    np.testing.assert_allclose(fit_bias([thinned]), fit_bias([whole]), atol=1.0)


@pytest.mark.processor
@pytest.mark.parametrize("num_classes", [CLASSES, 1])
def test_a_model_that_has_it_decides_as_its_probabilities_with_it(num_classes: int) -> None:
    model = build_flexunet(ModelConfig(num_layers=2, base_filters=2), (16, 16, 1), num_classes)
    image = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 1)).astype(np.float32)
    before = np.asarray(model(image, training=False))
    bias = np.array([0.0, 0.8, -0.4])[: max(2, num_classes)]
    add_bias(model, bias)
    after = np.asarray(model(image, training=False))
    if num_classes == 1:
        odds = before / (1 - before) * np.exp(0.8)
        np.testing.assert_allclose(after, odds / (1 + odds), atol=1e-5)
    else:
        odds = before * np.exp(bias)
        np.testing.assert_allclose(after, odds / odds.sum(-1, keepdims=True), atol=1e-5)
