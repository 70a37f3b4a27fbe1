"""What every augmentation operation keeps to, one by one."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.augmentation.operations import (
    COLOR_ONLY,
    DRAWS,
    GEOMETRIC,
    OPERATIONS,
    PHOTOMETRIC,
    PRESETS,
    SWITCHES,
)
from tests.data_pipeline.augmentation.test_augment import changed, disc

SIDE = 48
CLASSES = ("background", "hole", "crack")


def only(operation: str, part: float = 1.0, **settings) -> AugmentConfig:
    """An operation alone, at a part of its range, for every sample."""
    full = OPERATIONS[operation]
    amount = full if isinstance(full, bool) else full * part
    share = {operation: 1.0 if operation not in SWITCHES else 0.5}
    return AugmentConfig(preset="none", **{operation: amount, "probability": share, **settings})


def channels_of(operation: str) -> int:
    return 3 if operation in COLOR_ONLY else 1


def photograph(channels: int = 1) -> np.ndarray:
    """Smooth structure on grey, its channels different."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    waves = [128 + 60 * np.sin(9 * x + 5 * y + c) * np.cos(7 * y - c) for c in range(channels)]
    return np.round(np.stack(waves, -1)).astype(np.uint8)


def labels() -> np.ndarray:
    mask = disc((14, 28), 8.0, SIDE)
    mask[30:36, 10:30] = 2
    return mask


def change(config: AugmentConfig, image, mask, number):
    return changed(config, image, mask, number, CLASSES)


def test_every_operation_is_a_field_with_a_draw_and_in_one_group() -> None:
    assert not set(GEOMETRIC) & set(PHOTOMETRIC)
    assert set(OPERATIONS) <= set(AugmentConfig.model_fields)
    assert {name[:-1] for name in DRAWS if name.endswith("?")} == set(OPERATIONS)
    assert len(set(DRAWS)) == len(DRAWS)


def test_the_draws_of_older_seeds_stay_in_their_places() -> None:
    # sha256 of the draws of the first release: a new operation's are appended.
    first = "\n".join(DRAWS[:52])

    assert (
        hashlib.sha256(first.encode()).hexdigest()
        == "2e456f14dac3c09179e44167a4d2762365ed359d0007ac023f06b9ff527a4df0"
    )


def test_presets_name_operations() -> None:
    assert {name for preset in PRESETS.values() for name in preset} <= {*OPERATIONS, "probability"}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_shape_type_and_labels_are_kept(operation: str) -> None:
    for channels in {channels_of(operation), 3}:
        image, mask = photograph(channels), labels()
        for number in range(6):
            new_image, new_mask = change(only(operation), image, mask, number)
            assert (new_image.shape, new_image.dtype) == (image.shape, np.uint8)
            assert (new_mask.shape, new_mask.dtype) == (mask.shape, np.uint8)
            assert set(np.unique(new_mask)) <= {0, 1, 2}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_it_changes_something_and_nothing_with_an_amount_or_probability_of_zero(
    operation: str,
) -> None:
    image, mask = photograph(channels_of(operation)), labels()
    never = only(operation, probability={operation: 0.0})
    off = AugmentConfig(preset="none")
    differs = 0
    for number in range(20):
        new_image, _ = change(only(operation), image, mask, number)
        differs += bool((new_image != image).any())
        for config in (never, off):
            for new, old in zip(change(config, image, mask, number), (image, mask), strict=True):
                np.testing.assert_array_equal(new, old)
    assert differs >= 3


@pytest.mark.parametrize("operation", OPERATIONS)
def test_equal_seeds_give_equal_samples_and_others_do_not(operation: str) -> None:
    image, mask = photograph(channels_of(operation)), labels()
    runs = [[change(only(operation), image, mask, n)[0] for n in range(16)] for _ in range(2)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert len(np.unique(np.stack(runs[0]).reshape(16, -1), axis=0)) > 1


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name not in SWITCHES])
def test_a_larger_amount_changes_more(operation: str) -> None:
    image, mask = photograph(channels_of(operation)), labels()
    strengths = []
    for part in (0.2, 0.5, 1.0):
        new = [change(only(operation, part), image, mask, n)[0].astype(float) for n in range(12)]
        strengths.append(np.mean([np.abs(one - image).mean() for one in new]))
    assert 0 < strengths[0] < strengths[1] < strengths[2], strengths


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name not in SWITCHES])
def test_an_operation_happens_as_often_as_asked(operation: str) -> None:
    image, mask = photograph(channels_of(operation)), labels()
    config = only(operation, probability={operation: 0.3})
    changes = [(change(config, image, mask, n)[0] != image).any() for n in range(120)]
    # Binomial (120, 0.3): mean 36, deviation 5; small amounts may round to nothing.
    assert 16 <= sum(changes) <= 56


@pytest.mark.parametrize("operation", PHOTOMETRIC)
def test_photometric_operations_leave_the_mask(operation: str) -> None:
    image, mask = photograph(channels_of(operation)), labels()
    for number in range(6):
        np.testing.assert_array_equal(change(only(operation), image, mask, number)[1], mask)


@pytest.mark.parametrize("border", ["reflect", "constant"])
@pytest.mark.parametrize("operation", GEOMETRIC)
def test_a_marker_in_image_and_mask_lands_in_the_same_place(operation: str, border: str) -> None:
    mask = disc((14, 28), 9.0, SIDE)
    config = only(operation, border=border, border_class="background")
    for number in range(12):
        new_image, new_mask = change(config, (mask * 255)[..., None], mask, number)
        # Bilinear above one half and nearest differ on the outline's pixels alone.
        y, x = np.nonzero((new_image[..., 0] > 127) != (new_mask > 0))
        soft = new_image[y, x, 0]
        assert np.all((soft > 0) & (soft < 255)), "away from the outline they must agree"
        assert len(y) <= 0.15 * max(mask.sum(), new_mask.sum())


@pytest.mark.parametrize("operation", ["rotation", "shift", "barrel", "perspective"])
def test_outside_is_black_and_of_its_class(operation: str) -> None:
    image, mask = np.full((SIDE, SIDE, 1), 200, np.uint8), labels()
    seen = 0
    for border_class, label in (("ignore", 255), ("crack", 2)):
        config = only(operation, border="constant", border_class=border_class)
        for number in range(6):
            new_image, new_mask = change(config, image, mask * 0, number)
            np.testing.assert_array_equal(new_mask == label, new_image[..., 0] == 0)
            seen += int((new_mask == label).sum())
    assert seen > 0


def test_cutout_covers_one_rectangle_with_the_mean() -> None:
    image, mask = photograph(), labels()
    for number in range(8):
        new_image, _ = change(only("cutout"), image, mask, number)
        y, x = np.nonzero((new_image != image)[..., 0])
        if not len(y):
            continue
        box = new_image[y.min() : y.max() + 1, x.min() : x.max() + 1]
        assert len(np.unique(box)) == 1
        assert abs(int(box[0, 0, 0]) - image.mean()) <= 1
        assert max(np.ptp(y), np.ptp(x)) <= OPERATIONS["cutout"] * SIDE


def test_hue_and_saturation_keep_grey_grey() -> None:
    image = np.repeat(photograph(), 3, axis=-1)
    for operation in COLOR_ONLY:
        for number in range(4):
            new_image, _ = change(only(operation), image, labels(), number)
            assert np.abs(new_image.astype(int) - image).max() <= 1


@pytest.mark.parametrize("wanted", ["hole", "crack", None])
def test_a_crop_shows_the_class_and_lies_inside(wanted: str | None) -> None:
    mask = labels()
    image = np.where(mask == 0, 90, 200).astype(np.uint8)[..., None]
    config = only("crop", crop_class=wanted, border="constant")
    shares = {1: 0, 2: 0}
    for number in range(40):
        new_image, new_mask = change(config, image, mask, number)
        assert 255 not in new_mask, "nothing from outside the picture"
        assert 0 not in new_image
        for label in shares:
            shares[label] += bool((new_mask == label).any())
    if wanted is not None:
        assert shares[CLASSES.index(wanted)] == 40
    else:
        assert min(shares.values()) >= 15, shares


def test_a_crop_of_an_image_without_the_class_leaves_it_whole() -> None:
    image, mask = photograph(), np.zeros((SIDE, SIDE), np.uint8)
    for wanted in ("hole", None):
        new_image, _ = change(only("crop", crop_class=wanted), image, mask, 1)
        np.testing.assert_array_equal(new_image, image)


def test_what_images_or_classes_do_not_allow_is_said_together() -> None:
    config = AugmentConfig(
        preset="none",
        hue=10,
        quarter_turns=True,
        crop=0.5,
        crop_class="Crack",
        border="constant",
        border_class="Fray",
    )
    with pytest.raises(ValueError, match="expected square") as caught:
        changed(config, np.zeros((16, 24, 1), np.uint8), np.zeros((16, 24), np.uint8), 0, CLASSES)
    for part in ("3 channels", "received 'Crack'", "received 'Fray'", "16 x 24"):
        assert part in str(caught.value)
