"""Intervals of Dice: a bootstrap over groups, and over seeds where a config was trained on several.

Images of one object resemble each other, so what is drawn again is whole groups (the cluster
bootstrap; Field & Welsh, JRSS B 69, 2007), with percentile intervals at 95 % (Efron & Tibshirani,
"An Introduction to the Bootstrap", 1993, chapter 13). Where a config was trained over seeds, groups
and seeds are drawn independently, for every seed saw every group (the pigeonhole bootstrap; Owen,
Annals of Applied Statistics 1, 2007). Two models are compared on the same draws of groups.

An interval tells how far the score would move with other objects of the same kind. It knows nothing
of a class beyond the groups that show it: with one there is no interval, below five it is marked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from results.analysis import scores
from results.analysis.alignment import aligned
from results.records.evaluation import Evaluation

MEAN = "mean foreground"
WORST = "worst class"
REPLICATES = 2000
FEW_GROUPS = 5
LEVEL = 0.95

Score = Literal["dice", "iou", "precision", "recall"]
SCORES: Mapping[Score, Callable[[ArrayLike], scores.Scores]] = {
    "dice": scores.dice,
    "iou": scores.iou,
    "precision": scores.precision,
    "recall": scores.recall,
}

_FEWEST_GROUPS = 2
_MOST_DRAWN_AT_ONCE = 4_000_000  # numbers; 32 MB

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """A model's (or a config's) score and what it is in every replicate.

    Attributes:
        classes: Names of the C classes, background first.
        score: Which score.
        value: [C + 2] the score of each class, their mean foreground and the worst class; NaN
            where undefined.
        replicates: [R, C + 2] the same in each replicate; a class that a replicate's groups do not
            show is NaN there and left out of that replicate's mean.
        shown: [C + 2, G] groups (sorted by name) that show the class in truth or prediction; of
            the means: any foreground class.
        true: [C + 2, G] the same in truth.
        images: [C + 2] images that show it in truth or prediction.
        seeds: How many trainings it is the mean of.
    """

    classes: tuple[str, ...]
    score: Score
    value: Floats
    replicates: Floats
    shown: NDArray[np.bool_]
    true: NDArray[np.bool_]
    images: Ints
    seeds: int = 1

    @property
    def has_interval(self) -> NDArray[np.bool_]:
        """[C + 2] where there is an interval: at least two groups show the class in truth."""
        enough: NDArray[np.bool_] = self.true.sum(axis=1) >= _FEWEST_GROUPS
        return enough

    @property
    def few(self) -> NDArray[np.bool_]:
        """[C + 2] where fewer than 5 groups show it in truth; the means: any of their classes."""
        scarce: NDArray[np.bool_] = self.true.sum(axis=1) < FEW_GROUPS
        foreground = scarce[1:-2] & self.shown[1:-2].any(axis=1)
        scarce[-2:] |= bool(foreground.any())
        return scarce


def group_draws(
    groups: Sequence[str], replicates: int = REPLICATES, seed: int = 0
) -> NDArray[np.int32]:
    """Draw the groups of each replicate, as many as there are, with replacement.

    Args:
        groups: The group of each image.
        replicates: R.
        seed: The same seed and the same groups give the same draws, whatever the images' order.

    Returns:
        int32 [R, G]: how often each group is in each replicate; the G distinct groups in sorted
        order. Each row sums to G.

    Raises:
        ValueError: without a group, or for replicates below 1.
    """
    return _multiplicities(len(set(groups)), replicates, np.random.default_rng([seed, 0]))


def seed_draws(
    seeds: int, replicates: int = REPLICATES, seed: int = 0, config: int = 0
) -> NDArray[np.int32]:
    """Draw the trainings of each replicate, as many as there are, with replacement.

    Args:
        seeds: S, how many trainings a config has.
        replicates: R.
        seed: As of ``group_draws``.
        config: Any number of the config's own (its trial's): two configs' trainings share nothing,
            so they are drawn independently.

    Returns:
        int32 [R, S]; each row sums to S.

    Raises:
        ValueError: for seeds or replicates below 1.
    """
    return _multiplicities(seeds, replicates, np.random.default_rng([seed, 1, config]))


def _multiplicities(count: int, replicates: int, rng: np.random.Generator) -> NDArray[np.int32]:
    if count < 1 or replicates < 1:
        raise ValueError(
            f"expected something to draw from and replicates >= 1, received {count} and "
            f"{replicates}"
        )
    drawn = np.empty((replicates, count), np.int32)
    for rows in _chunks(replicates, count):
        size = rows.stop - rows.start
        cells = rng.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
        drawn[rows] = np.bincount(cells.ravel(), minlength=size * count).reshape(size, count)
    return drawn


def _chunks(rows: int, columns: int) -> list[slice]:
    size = max(1, _MOST_DRAWN_AT_ONCE // columns)
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def group_counts(evaluation: Evaluation) -> Ints:
    """Sum the counts of each group's images: int64 [G, C, 3], groups in sorted order."""
    _, index = np.unique(np.array(evaluation.groups, np.str_), return_inverse=True)
    counts = evaluation.counts
    summed = np.zeros((int(index.max(initial=-1)) + 1, *counts.shape[1:]), np.int64)
    np.add.at(summed, index, counts)
    return summed


def drawn_scores(sums: Ints, draws: NDArray[np.int32], score: Score = "dice") -> Floats:
    """Score every replicate.

    Args:
        sums: [G, C, 3] of ``group_counts``.
        draws: [R, G] of ``group_draws``.
        score: Which score.

    Returns:
        [R, C] of the counts summed over the drawn groups; NaN where undefined.

    Raises:
        ValueError: where the groups of both differ in number.
    """
    groups, classes = sums.shape[:2]
    if draws.shape[1] != groups:
        raise ValueError(f"expected draws of {groups} groups, received {draws.shape[1]}")
    flat = sums.reshape(groups, classes * 3).astype(np.float64)
    found = np.empty((len(draws), classes))
    for rows in _chunks(len(draws), groups):
        # As float64, which BLAS multiplies: whole numbers below 2**53 stay exact.
        counts = (draws[rows].astype(np.float64) @ flat).reshape(-1, 3)
        found[rows] = SCORES[score](counts).reshape(-1, classes)
    return found


def bootstrap(
    evaluation: Evaluation, score: Score = "dice", replicates: int = REPLICATES, seed: int = 0
) -> Bootstrap:
    """Bootstrap one model over the groups of its images.

    Raises:
        ValueError: for an evaluation without an image.
    """
    return seeded_bootstrap([evaluation], score, replicates, seed)


def seeded_bootstrap(
    evaluations: Sequence[Evaluation],
    score: Score = "dice",
    replicates: int = REPLICATES,
    seed: int = 0,
    config: int = 0,
) -> Bootstrap:
    """Bootstrap a config that was trained over seeds, over groups and seeds.

    The value is the mean over the trainings of each one's score; a training in which a class is
    undefined is left out of that class's mean. With one training only groups are drawn.

    Args:
        evaluations: One a training (of a cross-validation: ``joined`` over its folds), all on the
            same images.
        score: Which score.
        replicates: R.
        seed: Equal seeds give equal draws of groups: two configs can be compared.
        config: As of ``seed_draws``.

    Raises:
        ValueError: without an evaluation or an image, or where their images differ.
    """
    if not evaluations:
        raise ValueError("expected at least one evaluation, received none")
    first = evaluations[0]
    alike = [aligned(first, other) for other in evaluations]
    sums = np.stack([group_counts(each) for each in alike])
    draws = group_draws(first.groups, replicates, seed)
    drawn = np.stack([_with_means(drawn_scores(each, draws, score)) for each in sums], axis=1)
    values = np.stack([_with_means(SCORES[score](each.sum(axis=0))[None]) for each in sums], axis=1)
    shown = sums.sum(axis=(0, 3)).T > 0
    true = (sums[..., 0] + sums[..., 2]).sum(axis=0).T > 0
    images = np.stack([each.counts for each in alike]).sum(axis=(0, 3)).T > 0
    return Bootstrap(
        classes=first.classes,
        score=score,
        value=_weighted(values, np.ones((1, len(sums))))[0],
        replicates=_weighted(drawn, seed_draws(len(sums), replicates, seed, config)),
        shown=_with_foreground(shown),
        true=_with_foreground(true),
        images=_with_foreground(images).sum(axis=1),
        seeds=len(sums),
    )


def _with_means(values: Floats) -> Floats:
    """Append mean foreground and worst class to [R, C] scores, undefined ones left out."""
    foreground = values[:, scores.BACKGROUND + 1 :]
    defined = ~np.isnan(foreground)
    count = defined.sum(axis=1)
    total = np.where(defined, foreground, 0.0).sum(axis=1)
    mean = np.where(count, total / np.maximum(count, 1), np.nan)
    worst = np.where(defined, foreground, np.inf).min(axis=1, initial=np.inf)
    return np.column_stack([values, mean, np.where(count, worst, np.nan)])


def _with_foreground(shows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Append two rows to [C, N]: whether any foreground class is shown."""
    foreground = shows[scores.BACKGROUND + 1 :].any(axis=0)
    return np.vstack([shows, foreground, foreground])


def _weighted(values: Floats, weights: NDArray[np.int32] | Floats) -> Floats:
    """Mean of [R, S, N] over S by weights [R, S], undefined values left out."""
    defined = ~np.isnan(values)
    counted = defined * weights[:, :, None]
    total = (np.where(defined, values, 0.0) * counted).sum(axis=1)
    weight = counted.sum(axis=1)
    return np.where(weight > 0, total / np.maximum(weight, 1), np.nan)


def class_intervals(
    evaluation: Evaluation, score: Score = "dice", replicates: int = REPLICATES, seed: int = 0
) -> pd.DataFrame:
    """Return a model's score per class with its interval; see ``intervals_table``.

    Raises:
        ValueError: for an evaluation without an image.
    """
    return intervals_table(bootstrap(evaluation, score, replicates, seed))


def intervals_table(found: Bootstrap) -> pd.DataFrame:
    """Return what a bootstrap tells, one row a class, then "mean foreground" and "worst class".

    Returns:
        Columns class, kind ("class", "mean" or "worst": a class may have any name), one named
        after the score ("dice"; 0..1, NaN where undefined), low, high (its 95 % interval; NaN
        where fewer than two groups show the class in truth), groups (that show it in truth or
        prediction; of the means: any foreground class), true_groups (in truth), images (in truth
        or prediction), few (bool: below 5 true groups, of the means: in any of their classes).
    """
    low, high = _interval(found.replicates, found.has_interval)
    return pd.DataFrame(
        {
            **_named_rows(found),
            found.score: found.value,
            "low": low,
            "high": high,
            "groups": found.shown.sum(axis=1),
            "true_groups": found.true.sum(axis=1),
            "images": found.images,
            "few": found.few,
        }
    )


def paired_difference(
    a: Evaluation,
    b: Evaluation,
    score: Score = "dice",
    replicates: int = REPLICATES,
    seed: int = 0,
) -> pd.DataFrame:
    """Return how much better ``a`` is than ``b``, both drawn alike; see ``difference_table``.

    Raises:
        ValueError: where split, classes, images, their groups, sizes or true pixels differ; lists
            every difference.
    """
    return difference_table(
        bootstrap(a, score, replicates, seed),
        bootstrap(aligned(a, b), score, replicates, seed),
    )


def difference_table(a: Bootstrap, b: Bootstrap) -> pd.DataFrame:
    """Return the difference of two bootstraps on the same draws of groups: ``a`` - ``b``.

    Args:
        a: Of ``bootstrap`` or ``seeded_bootstrap``.
        b: The same on the same images, with the same replicates and seed.

    Returns:
        Columns class, kind (as in ``intervals_table``), difference, low, high (95 %; NaN where
        fewer than two groups show the class in truth), above (share of the replicates, 0..1, in
        which ``a`` is better, NaN where low is), groups (that show it in truth or in either's
        prediction), few.

    Raises:
        ValueError: where classes, scores, groups or replicates differ.
    """
    if (a.classes, a.score, a.replicates.shape, a.shown.shape) != (
        b.classes,
        b.score,
        b.replicates.shape,
        b.shown.shape,
    ):
        raise ValueError("expected bootstraps of equal classes, score, groups and replicates")
    drawn = a.replicates - b.replicates
    defined = a.has_interval & b.has_interval
    low, high = _interval(drawn, defined)
    defined = ~np.isnan(drawn)
    above = (drawn > 0).sum(axis=0) / np.maximum(defined.sum(axis=0), 1)
    return pd.DataFrame(
        {
            **_named_rows(a),
            "difference": a.value - b.value,
            "low": low,
            "high": high,
            "above": np.where(np.isnan(low), np.nan, above),
            "groups": (a.shown | b.shown).sum(axis=1),
            "few": a.few | b.few,
        }
    )


def _named_rows(found: Bootstrap) -> dict[str, list[str]]:
    kinds = ["class"] * len(found.classes) + ["mean", "worst"]
    return {"class": [*found.classes, MEAN, WORST], "kind": kinds}


def _interval(replicates: Floats, defined: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """[N] lower and upper percentile of [R, N], over the replicates that are defined."""
    ends = np.full((2, replicates.shape[1]), np.nan)
    for column in np.flatnonzero(defined):
        ends[:, column] = percentiles(replicates[:, column])
    return ends[0], ends[1]


def percentiles(drawn: Floats) -> tuple[float, float]:
    """Return the ends of the 95 % interval of [R] replicates, over those that are defined; NaN of
    none.
    """
    defined = drawn[~np.isnan(drawn)]
    if not defined.size:
        return float("nan"), float("nan")
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)
