"""Pasting a defect onto another image: all of it, as light as its surroundings, and no more."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from data_pipeline.augmentation.paste import paste

SIDES = (32, 48)


def pasted(
    target: tuple[np.ndarray, np.ndarray],
    source: tuple[np.ndarray, np.ndarray],
    label: int = 1,
    draws: tuple[float, ...] = (0.9, 0.9, 0.5, 0.5),
) -> tuple[np.ndarray, np.ndarray]:
    result = paste(
        tuple(map(tf.constant, target)),
        tuple(map(tf.constant, source)),
        tf.constant(label, tf.int64),
        tf.constant(draws, tf.float32),
    )
    return result[0].numpy(), result[1].numpy()


def plain(light: int, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    return np.full((*SIDES, channels), light, np.uint8), np.zeros(SIDES, np.uint8)


def spotted(light: int, spot: int, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A picture with a spot of class 1 at rows 4-7, columns 10-16, and one of class 2."""
    image, mask = plain(light, channels)
    image[4:8, 10:17], mask[4:8, 10:17] = spot, 1
    image[20:30, 30:40], mask[20:30, 30:40] = 255, 2
    return image, mask


@pytest.mark.parametrize("channels", [1, 3])
def test_all_of_a_defect_is_pasted_wherever_it_lands(channels: int) -> None:
    rng = np.random.default_rng(0)
    tops, lefts = set(), set()
    for _ in range(60):
        draws = tuple(rng.random(4, np.float32))
        image, mask = pasted(plain(100, channels), spotted(100, 20, channels), draws=draws)
        assert np.unique(mask).tolist() == [0, 1], "nothing of the other class"
        rows, columns = np.nonzero(mask)
        assert (np.ptp(rows), np.ptp(columns), len(rows)) == (3, 6, 28)
        tops.add(rows.min())
        lefts.add(columns.min())
        assert (image[mask == 1] <= 21).all()
    assert (min(tops), max(tops)) <= (2, 25)
    assert max(tops) >= 24
    assert max(lefts) >= 36


def test_it_is_as_light_as_its_surroundings() -> None:
    image, mask = pasted(plain(50), spotted(100, 60))
    # 60 of 100 becomes 30 of 50; what is far from it stays.
    assert image[mask == 1].mean() == pytest.approx(30, abs=1)
    assert (image[mask == 0] <= 50).all()
    rows, columns = np.nonzero(mask)
    far = np.ones(SIDES, bool)
    far[rows.min() - 5 : rows.max() + 6, columns.min() - 5 : columns.max() + 6] = False
    assert (image[far] == 50).all()


def test_a_seam_fades() -> None:
    source = spotted(100, 60)
    source[0][4:8, 5:10] = 140  # beside the spot, and none of it
    image, mask = pasted(plain(100), source, draws=(0.9, 0.9, 0.0, 0.5))
    row, first = 2, int(np.nonzero(mask[2])[0].min())
    beside = image[row, first - 5 : first, 0].astype(int)
    assert (np.diff(beside) >= 0).all(), "from the target to the source, without a step back"
    assert beside[0] < beside[-1]


def test_what_the_target_does_not_count_stays() -> None:
    image, mask = plain(100)
    mask[:, :24] = 255
    before = image.copy()
    for left in np.linspace(0, 0.99, 8):
        moved, labels = pasted((image, mask), spotted(100, 10), draws=(0.9, 0.9, 0.5, float(left)))
        assert (labels[:, :24] == 255).all()
        np.testing.assert_array_equal(moved[:, :24], before[:, :24])


def test_a_class_that_the_source_lacks_changes_nothing() -> None:
    image, mask = pasted(plain(100), spotted(80, 20), label=3)
    assert (image == 100).all()
    assert not mask.any()


def test_a_defect_from_side_to_side_stays_one() -> None:
    image, mask = plain(100)
    image[10:12], mask[10:12] = 30, 1
    _, labels = pasted(plain(100), (image, mask), draws=(0.1, 0.1, 0.99, 0.99))
    assert (labels == 1).sum() == 2 * SIDES[1]
