"""Counts of hand-made predictions, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from search.scoring.counting import count_image, decide

TRUTH = np.array(
    [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 2],
        [0, 0, 0, 0, 0, 2],
        [1, 0, 0, 0, 0, 255],
    ],
    np.uint8,
)
PREDICTED = np.array(
    [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 1],
        [0, 0, 2, 0, 0, 2],
    ],
    np.uint8,
)


def sure(labels: np.ndarray, classes: int = 3, share: float = 0.75) -> np.ndarray:
    """Probabilities of which one class has the share and the others the rest."""
    rest = (1 - share) / (classes - 1)
    return np.where(labels[..., None] == np.arange(classes), share, rest).astype(np.float32)


def test_cells_objects_and_the_probability_of_the_truth() -> None:
    counts = count_image(sure(PREDICTED), TRUTH, None)
    assert counts.size == (5, 6)
    assert counts.cells.tolist() == [[0, 0, 22], [0, 2, 1], [1, 0, 3], [1, 1, 1], [2, 1, 2]]
    # Two pixels that meet at a corner only are one object; the pixel not counted is in none.
    assert sorted(counts.objects.tolist()) == [[1, 1, 0], [1, 3, 1], [2, 2, 0]]
    assert sorted(counts.predicted_objects.tolist()) == [[1, 1, 1], [1, 2, 0], [2, 1, 0]]
    assert counts.true_probability == pytest.approx(23 * 0.75 + 6 * 0.125)


def test_nothing_but_background_has_no_objects() -> None:
    empty = np.zeros((4, 4), np.uint8)
    counts = count_image(sure(empty), empty, None)
    assert counts.cells.tolist() == [[0, 0, 16]]
    assert counts.objects.shape == counts.predicted_objects.shape == (0, 3)


def test_an_image_of_twice_the_size_is_decided_after_the_probabilities_are_brought_back() -> None:
    low = np.zeros((1, 2, 2), np.float32)
    low[0, :, 0], low[0, :, 1] = [0.9, 0.4], [0.1, 0.6]
    predicted, total = decide(low, np.zeros((2, 4), np.uint8), "stretch")
    # Columns at 0, 1/4, 3/4 and 1 of the way: 0.9, 0.775, 0.525 and 0.4 for the background.
    assert predicted.tolist() == [[0, 0, 0, 1]] * 2
    assert total == pytest.approx(2 * (0.9 + 0.775 + 0.525 + 0.4))
    # Classes first would have given the whole right half to the other class.
    assert low.argmax(axis=2).repeat(2, axis=1).tolist() == [[0, 0, 1, 1]]


def test_equals_go_to_the_lower_class() -> None:
    predicted, _ = decide(np.full((1, 1, 3), 1 / 3, np.float32), np.zeros((1, 1), np.uint8), None)
    assert predicted.tolist() == [[0]]
