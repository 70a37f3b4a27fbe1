from __future__ import annotations

import numpy as np
import pytest

from data_pipeline.datasets.resize import resize_image, resize_mask, restore
from tests.data_pipeline.files import picture

SIZES = [((24, 32), (24, 32)), ((24, 32), (12, 16)), ((24, 32), (48, 64)), ((40, 10), (16, 20)),
         ((10, 40), (20, 16)), ((1, 1), (8, 8)), ((300, 2), (16, 16))]  # fmt: skip


@pytest.mark.parametrize("mode", ["stretch", "letterbox"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("shape", "size"), SIZES)
def test_shapes_and_labels(mode: str, channels: int, shape, size) -> None:
    image = (
        picture(*shape, channels) if min(shape) > 2 else np.full((*shape, channels), 9, np.uint8)
    )
    mask = np.random.default_rng(0).integers(0, 5, shape, np.uint8)
    assert resize_image(image, size, mode).shape == (*size, channels)
    small = resize_mask(mask, size, mode)
    assert small.shape == size
    assert set(np.unique(small)) <= {*np.unique(mask).tolist(), 255}


def test_shrinking_averages_areas() -> None:
    image = np.zeros((8, 8, 1), np.uint8)
    image[::2, ::2] = 200
    np.testing.assert_array_equal(resize_image(image, (4, 4), "stretch"), np.full((4, 4, 1), 50))


def test_one_side_may_shrink_while_the_other_grows() -> None:
    image = np.tile(np.array([0, 200] * 8, np.uint8), (4, 1))[:, :, None]  # stripes
    np.testing.assert_array_equal(resize_image(image, (8, 8), "stretch"), np.full((8, 8, 1), 100))


@pytest.mark.parametrize("shape", [(40, 40), (37, 53), (9, 11)])
@pytest.mark.parametrize("mode", ["stretch", "letterbox"])
def test_image_and_mask_stay_aligned(shape: tuple[int, int], mode: str) -> None:
    """The half plane drawn in both has its edge at the same place after resizing."""
    mask = np.zeros(shape, np.uint8)
    mask[:, shape[1] // 2 :] = 1
    image = (mask * 255)[:, :, None]
    small = resize_mask(mask, (24, 24), mode)
    grey = resize_image(image, (24, 24), mode)[:, :, 0]
    counted = small != 255
    assert ((grey > 127) == (small == 1))[counted].mean() > 0.95
    assert abs(grey[counted].mean() / 255 - (small == 1)[counted].mean()) < 0.03


def test_letterbox_keeps_the_aspect_and_does_not_count_its_border() -> None:
    mask = resize_mask(np.ones((10, 40), np.uint8), (16, 16), "letterbox")
    assert (mask[6:10] == 1).all()
    assert (mask[:6] == 255).all()
    assert (mask[10:] == 255).all()
    image = resize_image(np.full((10, 40, 3), 77, np.uint8), (16, 16), "letterbox")
    assert (image == 77).all()


@pytest.mark.parametrize("mode", ["stretch", "letterbox"])
@pytest.mark.parametrize(("shape", "size"), SIZES)
def test_a_constant_comes_back_as_it_was_in_every_class(mode: str, shape, size) -> None:
    shares = np.array([0.5, 0.25, 0.125, 0.0625, 0.0625, 0.0], np.float32)  # more than 4 channels
    restored = restore(np.broadcast_to(shares, (*size, 6)).copy(), shape, mode)
    assert restored.shape == (*shape, 6)
    assert restored.dtype == np.float32
    np.testing.assert_allclose(restored, np.broadcast_to(shares, (*shape, 6)), atol=1e-6)


@pytest.mark.parametrize("shape", [(11, 13), (11, 40), (40, 11), (8, 8)])
def test_many_classes_come_back_as_each_does_alone(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    probabilities = random.dirichlet([0.5] * 9, (16, 24)).astype(np.float32)
    restored = restore(probabilities, shape, "stretch")

    alone = [restore(probabilities[:, :, i : i + 1], shape, "stretch") for i in range(9)]
    np.testing.assert_allclose(restored, np.concatenate(alone, axis=2), atol=1e-6)


def test_what_shrinks_is_averaged_and_what_grows_is_read_linearly() -> None:
    row = np.array([[0, 0, 1, 1]], np.float32)[..., None]
    np.testing.assert_array_equal(restore(row, (1, 2), "stretch")[0, :, 0], [0, 1])
    np.testing.assert_array_equal(
        restore(row[:, 1:3], (1, 4), "stretch")[0, :, 0], [0, 0.25, 0.75, 1]
    )


def test_a_letterbox_is_cut_off_before_it_is_scaled() -> None:
    # 4 x 2 in 4 x 4: two columns between a border of one column either side.
    boxed = np.array([[9, 1, 2, 9]] * 4, np.float32)[..., None]
    np.testing.assert_array_equal(restore(boxed, (4, 2), "letterbox")[:, :, 0], [[1, 2]] * 4)
    np.testing.assert_array_equal(restore(boxed, (8, 4), "letterbox")[0, :, 0], [1, 1.25, 1.75, 2])


@pytest.mark.parametrize("mode", ["stretch", "letterbox"])
@pytest.mark.parametrize("shape", [(32, 16), (16, 32), (64, 48)])
def test_an_edge_that_was_resized_comes_back_where_it_was(mode: str, shape) -> None:
    mask = np.zeros(shape, np.uint8)
    mask[:, shape[1] // 2 :] = 1
    resized = resize_mask(mask, (16, 16), mode)
    one_hot = np.stack([resized != 1, resized == 1], axis=2).astype(np.float32)
    np.testing.assert_array_equal(restore(one_hot, shape, mode).argmax(axis=2), mask)
