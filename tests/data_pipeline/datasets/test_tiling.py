from __future__ import annotations

import numpy as np
import pytest

from data_pipeline.datasets.tiling import TileAxis, Tiling, blended, flipped


def two_classes(images: np.ndarray) -> np.ndarray:
    """A model that looks at one pixel: its brightness is the probability of class 1."""
    bright = images[..., :1].astype(np.float32) / 255
    return np.concatenate([1 - bright, bright], axis=-1)


def random_image(height: int, width: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, channels), np.uint8)


@pytest.mark.parametrize("length", [1, 31, 32, 33, 64, 100, 257])
@pytest.mark.parametrize("overlap", [0, 8, 16, 24, 30])
@pytest.mark.parametrize("alignment", [1, 8])
def test_the_tiles_cover_a_side_and_their_weights_sum_to_one(
    length: int, overlap: int, alignment: int
) -> None:
    axis = TileAxis.plan(length, 32, overlap, alignment)
    total = np.zeros(axis.starts[-1] + 32)
    for start, weights in zip(axis.starts, axis.weights(), strict=True):
        total[start : start + 32] += weights

    assert total[:length] == pytest.approx(1)
    assert all(start % alignment == 0 for start in axis.starts)
    assert axis.starts[-1] + 32 >= length


def test_the_outer_quarter_of_an_overlap_counts_for_nothing() -> None:
    axis = TileAxis.plan(80, 48, 16)

    first, second = axis.weights()

    assert axis.starts == (0, 32)
    assert (first[-4:] == 0).all()
    assert (second[:4] == 0).all()
    assert (first[:36] == 1).all()  # no neighbour on the left: even to the border


@pytest.mark.parametrize("shape", [(70, 90), (16, 16), (5, 9), (1, 40), (33, 17)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_that_needs_no_context_gives_of_tiles_what_it_gives_of_the_whole(
    shape: tuple[int, int], channels: int
) -> None:
    image = random_image(*shape, channels)
    tiling = Tiling.plan(shape, (16, 16), 0.25)
    asked: list[int] = []

    bands = list(blended(image, tiling, two_classes, 3, asked.append))

    assert np.concatenate(bands) == pytest.approx(two_classes(image[None])[0], abs=1e-6)
    assert sum(asked) == tiling.count


def test_only_a_band_is_held_at_a_time() -> None:
    image = random_image(200, 20)
    bands = list(blended(image, Tiling.plan((200, 20), (16, 16), 0.5), two_classes, 4))

    assert max(len(band) for band in bands[:-1]) == 8


def test_a_scale_shows_the_model_the_image_smaller() -> None:
    seen: list[np.ndarray] = []

    def ask(images: np.ndarray) -> np.ndarray:
        seen.append(images)
        return two_classes(images)

    image = np.repeat(np.repeat(random_image(32, 32), 2, axis=0), 2, axis=1)
    bands = np.concatenate(list(blended(image, Tiling.plan((64, 64), (32, 32), 0, 0.5), ask, 1)))

    assert seen[0][0] == pytest.approx(image[::2, ::2], abs=1)
    assert bands.shape == (64, 64, 2)


@pytest.mark.parametrize(("overlap", "scale"), [(1.0, 1.0), (-0.1, 1.0), (0.5, 0.0)])
def test_what_is_out_of_range_is_named(overlap: float, scale: float) -> None:
    with pytest.raises(ValueError, match=r"expected a(n overlap| scale)"):
        Tiling.plan((64, 64), (16, 16), overlap, scale)


def test_flips_average_answers_that_are_turned_back() -> None:
    def left_half(images: np.ndarray) -> np.ndarray:
        answer = np.zeros((*images.shape[:3], 2), np.float32)
        answer[:, :, : images.shape[2] // 2, 1] = 1
        return answer

    image = random_image(4, 6)[None]

    assert flipped(left_half, "horizontal")(image)[..., 1] == pytest.approx(0.5)
    assert flipped(left_half, "all")(image)[..., 1] == pytest.approx(0.5)
    assert (flipped(left_half, "none")(image) == left_half(image)).all()
    assert flipped(two_classes, "all")(image) == pytest.approx(two_classes(image), abs=1e-6)


def test_other_flips_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected flips of .*'all'.*received 'both'"):
        flipped(two_classes, "both")
