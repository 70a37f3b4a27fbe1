"""Which pictures are nearly the same, and which groups that joins."""

from __future__ import annotations

import numpy as np

from data_pipeline.likeness import DUPLICATE, Likeness

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (6, 32, 32), np.uint8)


def test_groups_are_joined_through_others_and_named_by_the_first() -> None:
    thumbnails = PICTURES.copy()
    thumbnails[3] = thumbnails[0][:, ::-1] // 2  # mirrored, darker
    thumbnails[5] = np.rot90(thumbnails[3])
    groups = ("f", "b", "c", "d", "e", "a")

    merged = Likeness(thumbnails, groups).merged(groups)

    assert merged == ("a", "b", "c", "a", "e", "a")


def test_flat_and_different_pictures_are_alike_to_none() -> None:
    thumbnails = PICTURES.copy()
    thumbnails[:2] = 128
    likeness = Likeness(thumbnails, tuple("abcdef"))
    rows = np.arange(6)

    assert likeness.threshold == DUPLICATE
    assert [(a, b) for a, b, _ in likeness.pairs(rows, rows)] == [(n, n) for n in range(2, 6)]
