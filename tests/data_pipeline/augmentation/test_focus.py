"""Windows of an image: where they lie, what they hold, and that they are read as they are."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from data_pipeline.augmentation.augment import build_augment
from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.augmentation.focus import window_focus

IMAGE, WINDOW = (40, 56, 1), 16
CLASSES = ("background", "hole", "crack")


def seed(number: int) -> tf.Tensor:
    return tf.constant([3, number], tf.int64)


def places() -> tuple[np.ndarray, np.ndarray]:
    """An image whose every pixel tells where it lies, twice: (y, x) in two pictures."""
    y, x = np.mgrid[: IMAGE[0], : IMAGE[1]].astype(np.uint8)
    return y, x


def samples(config: AugmentConfig, mask: np.ndarray, count: int) -> list[tuple[np.ndarray, ...]]:
    """Samples as (rows read, columns read, mask)."""
    augment = tf.function(build_augment(config, IMAGE, CLASSES), autograph=False)
    found = []
    for number in range(count):
        rows, columns = (
            augment(tf.constant(part[..., None]), tf.constant(mask), seed(number))
            for part in places()
        )
        found.append((rows[0].numpy()[..., 0], columns[0].numpy()[..., 0], rows[1].numpy()))
    return found


def small_defects() -> np.ndarray:
    mask = np.zeros(IMAGE[:2], np.uint8)
    mask[0, 0], mask[30, 50:53] = 1, 2
    return mask


@pytest.mark.parametrize("flips", [False, True])
def test_a_window_is_a_part_of_the_image_as_it_is(flips: bool) -> None:
    config = AugmentConfig(preset="none", patch_size=WINDOW, horizontal_flip=flips)
    mask = np.random.default_rng(0).integers(0, 3, IMAGE[:2], np.uint8)
    turned = 0

    for rows, columns, labels in samples(config, mask, 12):
        assert labels.shape == (WINDOW, WINDOW)
        top, left = int(rows[0, 0]), int(columns.min())
        order = slice(None, None, -1 if columns[0, 0] > left else 1)
        part = np.s_[top : top + WINDOW, left : left + WINDOW]
        for read, whole in ((rows, places()[0]), (columns, places()[1]), (labels, mask)):
            np.testing.assert_array_equal(read[:, order], whole[part])
        turned += columns[0, 0] > left
    assert bool(turned) == flips


def test_windows_lie_anywhere_and_reach_every_border() -> None:
    config = AugmentConfig(preset="none", patch_size=WINDOW, patch_focus=0.0)
    found = samples(config, small_defects(), 300)
    tops, lefts = (np.array([part[axis].min() for part in found]) for axis in (0, 1))

    assert (tops.min(), tops.max()) == (0, IMAGE[0] - WINDOW)
    assert (lefts.min(), lefts.max()) == (0, IMAGE[1] - WINDOW)
    assert len(set(zip(tops, lefts, strict=True))) > 150


def test_a_share_of_the_windows_holds_a_pixel_of_a_class_each_equally_often() -> None:
    mask = np.zeros(IMAGE[:2], np.uint8)
    mask[12, 13], mask[26, 40:43] = 1, 2
    turning = AugmentConfig(preset="none", patch_size=WINDOW, patch_focus=1.0, rotation=180.0)
    held = [set(np.unique(labels)) - {0} for *_, labels in samples(turning, mask, 300)]
    # By the nearest pixel of a turned picture a single one may be passed over.
    assert np.mean([bool(labels) for labels in held]) > 0.9
    assert 0.4 < np.mean([2 in labels for labels in held]) < 0.65

    half = turning.model_copy(update={"rotation": 0.0, "patch_focus": 0.6})
    never = half.model_copy(update={"patch_focus": 0.0})
    share, by_chance = (
        np.mean([labels.any() for *_, labels in samples(config, mask, 300)])
        for config in (half, never)
    )
    assert by_chance < 0.5
    assert share == pytest.approx(0.6 + 0.4 * by_chance, abs=0.08)


def test_an_image_without_a_defect_is_read_anywhere_but_in_what_is_not_counted() -> None:
    mask = np.full(IMAGE[:2], 255, np.uint8)
    mask[:, 30:36] = 0
    config = AugmentConfig(preset="none", patch_size=WINDOW, patch_focus=1.0)
    empty = sum((labels == 255).all() for *_, labels in samples(config, mask, 200))
    # A tenth of the pixels is counted: of windows that lie anywhere more than half were empty.
    assert empty < 110


def test_a_crop_zooms_into_a_window_of_the_window() -> None:
    config = AugmentConfig(preset="none", patch_size=WINDOW, crop=0.5, patch_focus=0.0)
    mask = small_defects()
    mask[0, 0] = 0
    for rows, columns, labels in samples(config, mask, 40):
        assert WINDOW // 2 - 1 <= np.ptp(rows.astype(int)) <= WINDOW
        assert 2 in labels
        assert columns.min() >= 50 - WINDOW


def test_a_window_as_large_as_the_image_is_the_image() -> None:
    image, mask = np.full(IMAGE, 7, np.uint8), small_defects()
    whole = build_augment(AugmentConfig(preset="none", patch_size=56), IMAGE, CLASSES)
    moved, labels = whole(tf.constant(image), tf.constant(mask), seed(0))
    np.testing.assert_array_equal(moved, image)
    np.testing.assert_array_equal(labels, mask)


def test_a_window_is_cut_where_the_image_is_narrower() -> None:
    assert AugmentConfig(patch_size=48).window_shape(IMAGE) == (40, 48, 1)
    assert AugmentConfig(patch_size=48).window_shape((200, 32, 3)) == (48, 32, 3)
    assert AugmentConfig().window_shape(IMAGE) == IMAGE


def test_the_focus_is_the_centre_of_whole_pixels() -> None:
    config = AugmentConfig(preset="none", patch_size=WINDOW)
    shape = config.window_shape(IMAGE)
    for number in range(20):
        y, x = window_focus(config, tf.constant(small_defects()), shape, 3, seed(number))
        assert float(y) % 1 == float(x) % 1 == 0.5
        assert 7.5 <= float(y) <= 40 - 8.5
        assert 7.5 <= float(x) <= 56 - 8.5
