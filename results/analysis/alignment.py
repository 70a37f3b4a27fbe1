"""Counts of several models brought together: the same images in one order, or folds joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.records.evaluation import Evaluation

Ints = NDArray[np.int64]

_ROWS = ("cells", "objects", "predicted_objects")


def aligned(a: Evaluation, b: Evaluation) -> Evaluation:
    """Bring the images of ``b`` into the order of ``a``'s.

    Raises:
        ValueError: where split, classes, resolution, flips, images, their groups, sizes or true
            pixels differ; lists every difference.
    """
    if a is b:
        return b
    problems = [
        f"expected {name} {getattr(a, name)!r}, received {getattr(b, name)!r}"
        for name in ("split", "classes", "resolution", "flips")
        if getattr(a, name) != getattr(b, name)
    ]
    if set(a.images) != set(b.images):
        differ = len(set(a.images) ^ set(b.images))
        problems.append(f"expected the same images, received {differ} that only one has")
    if not problems:
        b = _reordered(b, a.images)
        problems = _image_problems(a, b)
    if problems:
        raise ValueError(f"cannot compare {a.name} with {b.name}: {'; '.join(problems)}")
    return b


def _image_problems(a: Evaluation, b: Evaluation) -> list[str]:
    true_a, true_b = (each.counts[..., 0] + each.counts[..., 2] for each in (a, b))
    differing = {
        "groups": np.array(a.groups, np.str_) != np.array(b.groups, np.str_),
        "sizes": (a.sizes != b.sizes).any(axis=1),
        "true pixels": (true_a != true_b).any(axis=1),
    }
    return [
        f"expected equal {name}, received others in {int(images.sum())} images"
        for name, images in differing.items()
        if images.any()
    ]


def _reordered(evaluation: Evaluation, images: tuple[str, ...]) -> Evaluation:
    if evaluation.images == images:
        return evaluation
    place = {name: index for index, name in enumerate(images)}
    to = np.array([place[name] for name in evaluation.images], np.int64)
    order = np.argsort(to)
    changes: dict[str, Any] = {name: _renumbered(getattr(evaluation, name), to) for name in _ROWS}
    return replace(
        evaluation,
        images=images,
        groups=tuple(evaluation.groups[index] for index in order),
        sizes=evaluation.sizes[order],
        true_probability=evaluation.true_probability[order],
        **changes,
    )


def _renumbered(rows: Ints, to: Ints) -> Ints:
    return np.column_stack([to[rows[:, 0]], rows[:, 1:]])


def joined(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Join the folds of one training of a cross-validation, so that each image is in it once.

    Args:
        evaluations: One a fold, each on images of its own.

    Returns:
        The first one with the images of all, in order, and fold None.

    Raises:
        ValueError: without an evaluation, where classes, resolutions or flips differ, or an image
            is in two of them.
    """
    if not evaluations:
        raise ValueError("expected at least one evaluation, received none")
    first = evaluations[0]
    images = tuple(name for each in evaluations for name in each.images)
    _check_folds(evaluations, images)
    starts = np.cumsum([0, *(len(each.images) for each in evaluations)])
    places = [np.arange(start, end) for start, end in pairwise(starts)]
    changes: dict[str, Any] = {
        name: np.concatenate(
            [_renumbered(getattr(e, name), to) for e, to in zip(evaluations, places, strict=True)]
        )
        for name in _ROWS
    }
    return replace(
        first,
        images=images,
        groups=tuple(group for each in evaluations for group in each.groups),
        sizes=np.concatenate([each.sizes for each in evaluations]),
        true_probability=np.concatenate([each.true_probability for each in evaluations]),
        fold=None,
        **changes,
    )


def _check_folds(evaluations: Sequence[Evaluation], images: tuple[str, ...]) -> None:
    first = evaluations[0]
    problems = [
        f"expected {name} {getattr(first, name)!r}, received {getattr(each, name)!r} of {each.name}"
        for each in evaluations
        for name in ("classes", "resolution", "flips")
        if getattr(each, name) != getattr(first, name)
    ]
    twice = len(images) - len(set(images))
    if twice:
        problems.append(f"expected each image in one fold, received {twice} in several")
    if problems:
        raise ValueError(f"cannot join the folds of {first.name}: {'; '.join(problems)}")
