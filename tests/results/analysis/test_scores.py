from __future__ import annotations

import numpy as np
import pytest

from results.analysis import scores


def test_dice_of_known_counts() -> None:
    counts = [[90, 10, 10], [3, 1, 2], [0, 5, 0], [0, 0, 5], [0, 0, 0]]
    expected = [0.9, 2 / 3, 0.0, 0.0, np.nan]
    np.testing.assert_allclose(scores.dice(counts), expected)


def test_dice_equals_the_definition_on_random_masks() -> None:
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 3, size=(2, 16, 16))
    counts, expected = [], []
    for index in range(3):
        a, b = true == index, predicted == index
        counts.append([(a & b).sum(), (~a & b).sum(), (a & ~b).sum()])
        expected.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    np.testing.assert_allclose(scores.dice(counts), expected)


def test_soft_dice_of_hard_probabilities_is_dice() -> None:
    # With p in {0, 1}: sum p*y = TP, sum p = TP + FP, sum y = TP + FN.
    counts = np.array([[90, 10, 10], [3, 1, 2], [0, 0, 5]])
    hits, false, missed = counts.T
    sums = np.stack([hits, hits + false, hits + missed], axis=1)
    np.testing.assert_allclose(scores.soft_dice(sums), scores.dice(counts))


def test_soft_dice_is_undefined_without_true_pixels() -> None:
    assert np.isnan(scores.soft_dice([[0.0, 0.3, 0.0]])).all()


def test_means_leave_background_and_undefined_out() -> None:
    values = [0.99, 0.2, np.nan, 0.6]
    assert scores.mean_foreground(values) == pytest.approx(0.4)
    assert scores.worst_class(values) == pytest.approx(0.2)


@pytest.mark.parametrize("values", [[0.99], [0.99, np.nan]])
def test_means_without_a_defined_foreground_class_are_undefined(values: list[float]) -> None:
    assert np.isnan(scores.mean_foreground(values))
    assert np.isnan(scores.worst_class(values))


@pytest.mark.parametrize("function", [scores.dice, scores.soft_dice])
@pytest.mark.parametrize(
    "rows", [[1, 2, 3], [[1, 2]], [[1, 2, -3]], [[1, 2, np.nan]], [[1, 2, np.inf]]]
)
def test_impossible_counts_are_refused(function: object, rows: object) -> None:
    with pytest.raises(ValueError, match=r"expected .*, received"):
        function(rows)  # type: ignore[operator]


@pytest.mark.parametrize("function", [scores.mean_foreground, scores.worst_class])
@pytest.mark.parametrize("values", [[], [[0.1, 0.2]]])
def test_scores_of_another_shape_are_refused(function: object, values: object) -> None:
    with pytest.raises(ValueError, match="expected scores of shape"):
        function(values)  # type: ignore[operator]


def test_weighted_foreground_is_the_weighted_mean_of_defined_classes() -> None:
    values = [0.9, 0.2, np.nan, 0.8]

    assert scores.weighted_foreground(values, [9, 1, 5, 3]) == pytest.approx((0.2 + 2.4) / 4)
    assert np.isnan(scores.weighted_foreground(values, [9, 0, 5, 0]))
    assert np.isnan(scores.weighted_foreground([0.9, np.nan], [1, 1]))


@pytest.mark.parametrize("weights", [[1, 1], [1, 1, -1], [1, 1, np.inf]])
def test_weights_that_do_not_fit_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="expected 3 finite weights"):
        scores.weighted_foreground([0.9, 0.1, 0.2], weights)


def test_iou_precision_and_recall_of_known_counts() -> None:
    counts = [[6, 2, 4], [0, 3, 0], [0, 0, 3], [0, 0, 0]]

    np.testing.assert_allclose(scores.iou(counts), [0.5, 0.0, 0.0, np.nan])
    np.testing.assert_allclose(scores.precision(counts), [0.75, 0.0, np.nan, np.nan])
    np.testing.assert_allclose(scores.recall(counts), [0.6, np.nan, 0.0, np.nan])
    dice = scores.dice(counts)
    np.testing.assert_allclose(scores.iou(counts), dice / (2 - dice))


def test_background_alone_scores_its_share_and_no_defect() -> None:
    found = scores.background_only([970, 20, 0, 10])
    assert found == scores.BackgroundOnly(pooled_dice=0.97, mean_foreground_dice=0.0)
    clean = scores.background_only([100, 0])
    assert clean.pooled_dice == 1.0
    assert np.isnan(clean.mean_foreground_dice)
    assert np.isnan(scores.background_only([0, 0]).pooled_dice)
    with pytest.raises(ValueError, match="expected finite pixels"):
        scores.background_only([1, -1])
