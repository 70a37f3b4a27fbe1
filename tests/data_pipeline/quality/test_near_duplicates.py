"""Which pictures are nearly the same, and which groups that joins."""

from __future__ import annotations

import numpy as np
import pytest

from data_pipeline.quality.near_duplicates import DUPLICATE, Likeness
from tests.data_pipeline.files import picture

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


def by_brute_force(thumbnails: np.ndarray, threshold: float) -> set[tuple[int, int]]:
    flat = thumbnails.reshape(len(thumbnails), -1)
    alike = np.zeros((len(flat), len(flat)), bool)
    for quarter in range(4):
        for flip in (1, -1):
            view = np.rot90(thumbnails, quarter, axes=(1, 2))[:, :, ::flip]
            both = np.corrcoef(flat, view.reshape(len(flat), -1))
            alike |= both[: len(flat), len(flat) :] > threshold
    return {(int(a), int(b)) for a, b in zip(*np.nonzero(alike), strict=True)}


@pytest.mark.parametrize("noise", [2, 40], ids=["all alike", "different"])
def test_the_hash_loses_nothing_across_blocks(
    noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_pipeline.quality.near_duplicates._BLOCK", 16)
    part = picture(32, 32, 1, seed=1)[:, :, 0]
    thumbnails = (part * 0.4 + 60 + RNG.normal(0, noise, (50, 32, 32))).astype(np.uint8)
    thumbnails[20:40] = np.rot90(thumbnails[:20], 1, axes=(1, 2))[:, ::-1] // 2
    likeness = Likeness(thumbnails, tuple(map(str, range(50))))
    rows = np.arange(50)

    found = {(a, b): value for a, b, value in likeness.pairs(rows, rows)}

    assert found.keys() == by_brute_force(thumbnails, likeness.threshold)
    assert {(a, a + 20) for a in range(20)} < found.keys()
    assert min(found.values()) > likeness.threshold
    groups = tuple(f"{row:02d}" for row in rows)
    expected = groups[:20] * 2 + groups[40:]
    assert likeness.merged(groups) == expected
