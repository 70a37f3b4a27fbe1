"""Scores of a segmentation from counts of pixels: the one place of their formulas.

Counts are taken over a whole split, never averaged over batches or images, so that every pixel
weighs the same whatever the batch size. A score whose denominator is zero is undefined: NaN here,
null in files, a dash in the report; no mean takes it for a zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

BACKGROUND = 0

Scores = NDArray[np.float64]


def dice(counts: ArrayLike) -> Scores:
    """Dice coefficient of each class, ``2 TP / (2 TP + FP + FN)``.

    Dice, "Measures of the amount of ecologic association between species", Ecology 26 (1945);
    equal to the F1 score of the class's pixels.

    Args:
        counts: [C, 3] whole numbers >= 0, one row a class: true positives, false positives and
            false negatives in pixels, of the argmax.

    Returns:
        [C] float64 in 0..1; NaN for a class in neither truth nor prediction.

    Raises:
        ValueError: for another shape, a negative count, or one that is not finite.
    """
    rows = _rows(counts, "counts", "[classes, 3] (TP, FP, FN)")
    true_positives, false_positives, false_negatives = rows.T
    doubled = 2.0 * true_positives
    return _ratio(doubled, doubled + false_positives + false_negatives)


def iou(counts: ArrayLike) -> Scores:
    """Intersection over union of each class, ``TP / (TP + FP + FN)``: Jaccard (1912).

    Equal to dice / (2 - dice), so it orders models class by class as Dice does.

    Args:
        counts: [C, 3], as of ``dice``.

    Returns:
        [C] float64 in 0..1; NaN for a class in neither truth nor prediction.

    Raises:
        ValueError: as ``dice``.
    """
    rows = _rows(counts, "counts", "[classes, 3] (TP, FP, FN)")
    return _ratio(rows[:, 0], rows.sum(axis=1))


def precision(counts: ArrayLike) -> Scores:
    """Share of each class's predicted pixels that are truly of it, ``TP / (TP + FP)``.

    Args:
        counts: [C, 3], as of ``dice``.

    Returns:
        [C] float64 in 0..1; NaN for a class that is never predicted.

    Raises:
        ValueError: as ``dice``.
    """
    rows = _rows(counts, "counts", "[classes, 3] (TP, FP, FN)")
    return _ratio(rows[:, 0], rows[:, 0] + rows[:, 1])


def recall(counts: ArrayLike) -> Scores:
    """Share of each class's true pixels that are predicted as it, ``TP / (TP + FN)``.

    Args:
        counts: [C, 3], as of ``dice``.

    Returns:
        [C] float64 in 0..1; NaN for a class without a true pixel.

    Raises:
        ValueError: as ``dice``.
    """
    rows = _rows(counts, "counts", "[classes, 3] (TP, FP, FN)")
    return _ratio(rows[:, 0], rows[:, 0] + rows[:, 2])


@dataclass(frozen=True)
class BackgroundOnly:
    """What a model scores that is certain of background everywhere.

    Attributes:
        pooled_dice: the reference's metric, all classes pooled: the background's share of pixels;
            NaN without pixels.
        mean_foreground_dice: 0; NaN where no foreground class has a pixel.
    """

    pooled_dice: float
    mean_foreground_dice: float


def background_only(class_pixels: ArrayLike) -> BackgroundOnly:
    """Score a prediction of nothing but background, certain of it, on a data set.

    Args:
        class_pixels: [C] whole numbers >= 0, true pixels of each class, background first.

    Raises:
        ValueError: for another shape, a negative number, or one that is not finite.
    """
    pixels = np.asarray(class_pixels, dtype=np.float64)
    if pixels.ndim != 1 or not pixels.size or not np.isfinite(pixels).all() or (pixels < 0).any():
        raise ValueError(
            f"expected finite pixels >= 0 of shape [classes], received {pixels.tolist()}"
        )
    total = float(pixels.sum())
    # All pixels are predicted as background: no foreground class has a true positive.
    counts = np.column_stack([np.zeros_like(pixels), np.zeros_like(pixels), pixels])
    counts[BACKGROUND] = pixels[BACKGROUND], total - pixels[BACKGROUND], 0.0
    return BackgroundOnly(
        pooled_dice=float(pixels[BACKGROUND]) / total if total else float("nan"),
        mean_foreground_dice=mean_foreground(dice(counts)),
    )


def soft_dice(sums: ArrayLike) -> Scores:
    """Dice coefficient of each class from probabilities, ``2 sum(p y) / (sum p + sum y)``.

    The relaxation of Milletari et al., "V-Net", 3DV 2016 (arXiv:1606.04797), without squares in
    the denominator. It moves while the hard coefficient is still zero, so a pruner can
    rank trials by it in the first epochs.

    Args:
        sums: [C, 3] numbers >= 0, one row a class: the sums over all counted pixels of p * y,
            of p and of y, for p the class's probability and y in {0, 1} its truth.

    Returns:
        [C] float64 in 0..1; NaN for a class without a true pixel: a softmax is never exactly zero,
        so such a class would stay at zero for ever and say nothing.

    Raises:
        ValueError: for another shape, a negative sum, or one that is not finite.
    """
    rows = _rows(sums, "sums", "[classes, 3] (sum p*y, sum p, sum y)")
    overlap, predicted, true = rows.T
    return _ratio(2.0 * overlap, np.where(true > 0, predicted + true, 0.0))


def mean_foreground(scores: ArrayLike) -> float:
    """Mean over the classes but background (index 0), undefined ones left out.

    Args:
        scores: [C] scores, NaN where undefined.

    Returns:
        The mean; NaN if no foreground class is defined.

    Raises:
        ValueError: for another shape.
    """
    defined = _defined_foreground(scores)
    return float(defined.mean()) if defined.size else float("nan")


def worst_class(scores: ArrayLike) -> float:
    """Lowest score of the classes but background (index 0), undefined ones left out.

    Args:
        scores: [C] scores, NaN where undefined.

    Returns:
        The minimum; NaN if no foreground class is defined.

    Raises:
        ValueError: for another shape.
    """
    defined = _defined_foreground(scores)
    return float(defined.min()) if defined.size else float("nan")


def weighted_foreground(scores: ArrayLike, weights: ArrayLike) -> float:
    """Weighted mean over the classes but background (index 0), undefined ones left out.

    Args:
        scores: [C] scores, NaN where undefined.
        weights: [C] weights >= 0; the background's is not used.

    Returns:
        sum(w * score) / sum(w) over the defined foreground classes; NaN if their weights are all
        0 or there is none.

    Raises:
        ValueError: for other shapes, or a weight below 0 or not finite.
    """
    values = _scores_of_classes(scores)
    heaviness = np.asarray(weights, dtype=np.float64)
    if heaviness.shape != values.shape or not np.isfinite(heaviness).all() or (heaviness < 0).any():
        raise ValueError(
            f"expected {len(values)} finite weights >= 0, received {heaviness.tolist()}"
        )
    counted = ~np.isnan(values)
    counted[BACKGROUND] = False
    total = float(heaviness[counted].sum())
    return float((heaviness[counted] * values[counted]).sum()) / total if total else float("nan")


def _rows(values: ArrayLike, name: str, expected: str) -> Scores:
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != 3:
        raise ValueError(f"expected {name} of shape {expected}, received shape {rows.shape}")
    if not np.isfinite(rows).all() or (rows < 0).any():
        raise ValueError(f"expected finite {name} >= 0, received {rows.tolist()}")
    return rows


def _ratio(numerator: Scores, denominator: Scores) -> Scores:
    scores = np.full(denominator.shape, np.nan)
    np.divide(numerator, denominator, out=scores, where=denominator > 0)
    return scores


def _scores_of_classes(scores: ArrayLike) -> Scores:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"expected scores of shape [classes], received shape {values.shape}")
    return values


def _defined_foreground(scores: ArrayLike) -> Scores:
    foreground: Scores = _scores_of_classes(scores)[BACKGROUND + 1 :]
    return foreground[~np.isnan(foreground)]
