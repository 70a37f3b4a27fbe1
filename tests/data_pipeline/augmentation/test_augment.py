from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from data_pipeline.augmentation.augment import DRAWS, build_augment
from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.augmentation.geometry import sampling_matrix
from tests.data_pipeline.tiny_store import UNCHANGED

SIDE = 33
GEOMETRY = {
    "horizontal_flip": {"horizontal_flip": True},
    "vertical_flip": {"vertical_flip": True},
    "quarter_turns": {"quarter_turns": True},
    "rotation": {"rotation": 180.0},
    "scale": {"scale": 0.5},
    "shift": {"shift": 0.3},
    "all": {
        "horizontal_flip": True,
        "vertical_flip": True,
        "quarter_turns": True,
        "rotation": 30.0,
        "scale": 0.2,
        "shift": 0.1,
    },
}
LIGHT = {
    "brightness": {"brightness": 0.2},
    "contrast": {"contrast": 0.5},
    "noise": {"noise": 0.1},
}


def seed(number: int):
    return tf.constant([7, number], tf.int64)


def disc(center=(10, 20), radius=6.0, side=SIDE):
    """A mask without symmetry about the image's centre."""
    y, x = np.mgrid[:side, :side]
    return (np.hypot(y - center[0], x - center[1]) <= radius).astype(np.uint8)


def picture(rng_seed=0, shape=(SIDE, SIDE, 1)):
    return np.random.default_rng(rng_seed).integers(0, 256, shape, np.uint8)


def changed(config, image, mask, number, classes=()):
    augment = build_augment(config, image.shape, classes)
    result = augment(tf.constant(image), tf.constant(mask), seed(number))
    return tuple(part.numpy() for part in result)


@pytest.mark.parametrize("channels", [1, 3])
def test_settings_of_zero_give_the_input_back(channels):
    image, mask = picture(shape=(16, 24, channels)), picture(1, (16, 24))
    for number in range(5):
        new_image, new_mask = changed(UNCHANGED, image, mask, number)
        np.testing.assert_array_equal(new_image, image)
        np.testing.assert_array_equal(new_mask, mask)


@pytest.mark.parametrize("name", GEOMETRY)
def test_image_and_mask_move_together(name):
    config = UNCHANGED.model_copy(update=GEOMETRY[name])
    mask = disc()
    moved = 0
    for number in range(24):
        new_image, new_mask = changed(config, (mask * 255)[..., None], mask, number)
        # Bilinear above one half and nearest differ on the outline's pixels alone.
        differs = (new_image[..., 0] > 127) != (new_mask > 0)
        y, x = np.nonzero(differs)
        soft = new_image[y, x, 0]
        assert np.all((soft > 0) & (soft < 255)), "away from the outline they must agree"
        assert differs.sum() <= 0.15 * max(mask.sum(), new_mask.sum())
        moved += bool((new_mask != mask).any())
    assert moved >= 3


@pytest.mark.parametrize("name", GEOMETRY)
def test_masks_keep_to_their_labels(name):
    config = UNCHANGED.model_copy(update=GEOMETRY[name])
    mask = disc() * 5
    mask[:, :4] = 255
    for number in range(8):
        _, new_mask = changed(config, picture(), mask, number)
        assert set(np.unique(new_mask)) <= {0, 5, 255}


@pytest.mark.parametrize("name", LIGHT)
def test_light_changes_the_image_alone(name):
    config = UNCHANGED.model_copy(update=LIGHT[name])
    image, mask = picture(), picture(1, (SIDE, SIDE))
    new_image, new_mask = changed(config, image, mask, 3)
    assert (new_image != image).any()
    np.testing.assert_array_equal(new_mask, mask)


def test_flips_are_exact_and_happen_half_the_time():
    config = UNCHANGED.model_copy(update={"horizontal_flip": True, "vertical_flip": True})
    image, mask = picture(shape=(16, 24, 1)), picture(1, (16, 24))
    turned = {
        (v, h): (image[::v, ::h], mask[::v, ::h]) for v, h in itertools.product((1, -1), (1, -1))
    }
    counts = dict.fromkeys(turned, 0)
    for number in range(200):
        new_image, new_mask = changed(config, image, mask, number)
        (found,) = [key for key, (i, m) in turned.items() if (i == new_image).all()]
        np.testing.assert_array_equal(new_mask, turned[found][1])
        counts[found] += 1
    # Binomial (200, 1/4): mean 50, deviation 6.1.
    assert all(25 <= count <= 75 for count in counts.values()), counts


def test_quarter_turns_are_exact_and_equally_frequent():
    config = UNCHANGED.model_copy(update={"quarter_turns": True})
    image, mask = picture(), picture(1, (SIDE, SIDE))
    counts = [0, 0, 0, 0]
    for number in range(200):
        new_image, new_mask = changed(config, image, mask, number)
        (turns,) = [k for k in range(4) if (np.rot90(image, k) == new_image).all()]
        np.testing.assert_array_equal(new_mask, np.rot90(mask, turns))
        counts[turns] += 1
    assert all(25 <= count <= 75 for count in counts), counts


def test_quarter_turns_need_square_images():
    config = UNCHANGED.model_copy(update={"quarter_turns": True})
    with pytest.raises(ValueError, match=r"expected square images .* received 16 x 24"):
        build_augment(config, (16, 24, 1))


def draws(**values):
    """Draws in the middle of their ranges, which change nothing, but for those given."""
    return {name: tf.constant(values.get(name, 0.5), tf.float32) for name in DRAWS}


def apply_matrix(matrix, mask):
    read = tf.raw_ops.ImageProjectiveTransformV3(
        images=mask[None, ..., None],
        transforms=(matrix / matrix[8])[None, :8],
        output_shape=mask.shape,
        fill_value=0.0,
        interpolation="NEAREST",
        fill_mode="CONSTANT",
    )
    return read.numpy()[0, ..., 0]


@pytest.mark.parametrize(("draw", "degrees"), [(1.0, 45.0), (0.0, -45.0), (0.75, 22.5)])
def test_rotation_is_in_degrees_and_anticlockwise(draw, degrees):
    side = 65
    config = UNCHANGED.model_copy(update={"rotation": 45.0})
    matrix = sampling_matrix(config, (side, side, 1), draws(rotation=draw))
    # A disc to the right of the centre; turned anticlockwise it rises, y being down.
    turned = apply_matrix(matrix, disc((32, 52), 5.0, side))
    y, x = np.nonzero(turned)
    angle = np.degrees(np.arctan2(32 - y.mean(), x.mean() - 32))
    assert angle == pytest.approx(degrees, abs=1.0)
    assert np.hypot(y.mean() - 32, x.mean() - 32) == pytest.approx(20, abs=0.5)


@pytest.mark.parametrize(("draw", "factor"), [(1.0, 1.5), (0.0, 0.5)])
def test_scale_is_relative(draw, factor):
    side = 65
    config = UNCHANGED.model_copy(update={"scale": 0.5})
    mask = disc((32, 32), 12.0, side)
    scaled = apply_matrix(sampling_matrix(config, (side, side, 1), draws(scale=draw)), mask)
    assert scaled.sum() / mask.sum() == pytest.approx(factor**2, rel=0.05)


def test_shift_is_a_fraction_of_the_side_by_axis():
    config = UNCHANGED.model_copy(update={"shift": 0.25})
    matrix = sampling_matrix(config, (40, 80, 1), draws(shift_y=1.0, shift_x=0.0))
    mask = np.zeros((40, 80), np.uint8)
    mask[10, 50] = 1
    assert np.argwhere(apply_matrix(matrix, mask)).tolist() == [[20, 30]]


def test_outside_is_reflected_in_both():
    config = UNCHANGED.model_copy(update={"shift": 0.5})
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:, :3] = 1
    image = np.full((SIDE, SIDE, 1), 100, np.uint8)
    for number in range(8):
        new_image, new_mask = changed(config, image, mask, number)
        assert (new_image == 100).all(), "no border of another colour comes in"
        columns = np.flatnonzero(new_mask[0])
        assert len(columns) in range(0, 7), "the stripe or the stripe and its mirror image"


def test_brightness_and_contrast_stay_in_their_ranges():
    flat = np.full((16, 16, 1), 100, np.uint8)
    mask = np.zeros((16, 16), np.uint8)
    bright = UNCHANGED.model_copy(update={"brightness": 0.1})
    levels = [int(changed(bright, flat, mask, n)[0][0, 0, 0]) for n in range(60)]
    assert min(levels) >= 74
    assert max(levels) <= 126
    assert max(levels) - min(levels) > 35
    contrast = UNCHANGED.model_copy(update={"contrast": 0.5})
    steps = flat.copy()
    steps[:8] = 60
    for number in range(20):
        new_image = changed(contrast, steps, mask, number)[0].astype(int)
        assert new_image.mean() == pytest.approx(80, abs=1)
        assert 20 <= new_image[15, 0, 0] - new_image[0, 0, 0] <= 60


def test_noise_is_at_most_as_strong_as_asked_and_without_bias():
    config = UNCHANGED.model_copy(update={"noise": 0.05})
    flat = np.full((64, 64, 1), 128, np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    spreads, means = [], []
    for number in range(20):
        difference = changed(config, flat, mask, number)[0].astype(float) - 128
        means.append(difference.mean())
        spreads.append(difference.std())
    assert abs(np.mean(means)) < 0.25, "rounded to the nearest value, not down"
    assert max(spreads) <= 0.05 * 255 * 1.05
    assert max(spreads) > 0.03 * 255


def test_values_are_cut_at_black_and_white():
    config = UNCHANGED.model_copy(update={"brightness": 1.0})
    image = picture()
    results = [changed(config, image, image[..., 0], n)[0].astype(int) for n in range(20)]
    shifts = [new - image.astype(int) for new in results]
    for new, shift in zip(results, shifts, strict=True):
        inside = (new > 0) & (new < 255)
        # Never wrapped around: what is not cut moved by the same amount.
        assert not inside.any() or np.ptp(shift[inside]) == 0


def test_equal_seeds_give_equal_results_and_others_do_not():
    config = AugmentConfig(noise=0.05)
    image, mask = picture(), disc()
    first, again = (changed(config, image, mask, 5) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (changed(config, image, mask, 6)[0] != first[0]).any()


def test_a_traced_function_gives_the_same_as_the_plain_call():
    config = AugmentConfig(noise=0.05, quarter_turns=True)
    image, mask = picture(), disc()
    augment = tf.function(build_augment(config, image.shape))
    for number in range(3):
        plain = changed(config, image, mask, number)
        traced = augment(tf.constant(image), tf.constant(mask), seed(number))
        np.testing.assert_allclose(traced[0].numpy().astype(int), plain[0].astype(int), atol=1)
        assert (traced[1].numpy() == plain[1]).mean() > 0.999
