"""A hash bounds the correlation in every view, on made and on real pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from data_pipeline.quality.perceptual_hash import flips_and_turns, perceptual_hash
from tests.data_pipeline.files import picture

TURNS = [(quarter, flip) for quarter in range(4) for flip in (False, True)]


def vectors(pictures: np.ndarray) -> np.ndarray:
    flat = pictures.reshape(len(pictures), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1)


def turned(pictures: np.ndarray, quarter: int, flip: bool) -> np.ndarray:
    view = np.rot90(pictures, quarter, axes=(1, 2))
    return view[:, :, ::-1] if flip else view


SMOOTH = np.stack([picture(32, 32, 1, seed)[:, :, 0] for seed in range(12)])
NOISE = np.random.default_rng(0).integers(0, 256, (12, 32, 32))
PICTURES = np.concatenate([SMOOTH, NOISE, SMOOTH * 0.4 + NOISE * 0.1, np.full((2, 32, 32), 9)])


@pytest.mark.parametrize(("quarter", "flip"), TURNS)
def test_one_of_the_eight_views_is_the_hash_of_a_turned_picture(quarter: int, flip: bool) -> None:
    views = flips_and_turns(perceptual_hash(vectors(PICTURES)))
    expected = perceptual_hash(vectors(turned(PICTURES, quarter, flip)))
    assert views.shape == (8, len(PICTURES), 65)
    assert sum(np.allclose(view, expected, atol=1e-3) for view in views) == 1


def test_products_of_hashes_bound_correlations_and_are_exact_for_a_copy() -> None:
    pictures = vectors(PICTURES)
    hashes = perceptual_hash(pictures)
    bound = hashes @ hashes.T
    assert (bound >= pictures @ pictures.T - 1e-5).all()
    assert np.allclose(np.diag(bound)[:-2], 1, atol=1e-5)
    assert (hashes[-2:] == 0).all(), "a flat picture is like none"


def test_exposure_changes_no_hash() -> None:
    hashes = perceptual_hash(vectors(SMOOTH))
    assert np.allclose(perceptual_hash(vectors(SMOOTH * 0.3 + 20)), hashes, atol=1e-5)


def test_no_pair_of_the_real_photographs_is_lost_and_few_others_are_left(
    magnetic_tile_raw: Path,
) -> None:
    files = sorted(magnetic_tile_raw.glob("*/Imgs/*.jpg"))
    side = (32, 32)
    pictures = np.stack([
        cv2.resize(cv2.imread(str(f), cv2.IMREAD_GRAYSCALE), side, interpolation=cv2.INTER_AREA)
        for f in files
    ])  # fmt: skip
    plain = vectors(pictures)
    views = [vectors(turned(pictures, *turn)) for turn in TURNS]
    alike = np.maximum.reduce([plain @ view.T for view in views]) > 0.97
    hashes = perceptual_hash(plain)
    left = (flips_and_turns(hashes) @ hashes.T).max(axis=0) > 0.97
    assert alike.sum() > len(files), "more than each with itself"
    assert not (alike & ~left).any()
    assert left.sum() < 2 * alike.sum()
