from __future__ import annotations

from typing import Any, get_args

import pytest

from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.augmentation.operations import OPERATIONS
from results.flexunet.augment import DETAILS, from_augmentor, to_augmentor
from results.records.config_fields import operations


def augmentor(**flags: Any) -> dict[str, Any]:
    return {"augmentor": flags}


def test_the_operations_are_those_of_the_pipeline() -> None:
    assert operations() == tuple(OPERATIONS)
    assert "none" in get_args(AugmentConfig.model_fields["preset"].annotation)


@pytest.mark.parametrize(
    "augment",
    [
        {"horizontal_flip": True},
        {"vertical_flip": True},
        {"quarter_turns": True},
        {"rotation": 15.0},
        {"quarter_turns": True, "rotation": 15.0},
        {"scale": 0.2},
        {"shear": 10.0},
        {"barrel": 0.4},
        {"pincushion": 0.2},
    ],
)
def test_what_can_be_said_comes_back(augment: dict[str, Any]) -> None:
    found = to_augmentor(augment)
    back, _ = from_augmentor(found.sections, square=True)
    back.pop("probability")

    assert found.used
    assert back == {"preset": "none", "sampling": "natural", **augment}


@pytest.mark.parametrize("name", ["elastic", "distortion", "sharpening", "contrast", "hue", "crop"])
def test_what_would_spoil_masks_or_has_no_counterpart_stays_off(name: str) -> None:
    found = to_augmentor({name: 0.05})

    assert not found.used
    assert [item[0] for item in found.lost] == [f"augment.{name}"]
    assert found.lost[0][2].startswith("off: ")


def test_an_operation_that_never_happens_is_not_switched_on() -> None:
    found = to_augmentor({"rotation": 10.0, "probability": {"rotation": 0.0}})

    assert (found.used, found.lost) == (False, [])


@pytest.mark.parametrize("given", [{}, {"rotation": 0.3, "horizontal_flip": 0.7}])
def test_shares_are_those_of_the_pipeline(given: dict[str, float]) -> None:
    fields: dict[str, Any] = {"horizontal_flip": True, "rotation": 5.0, "probability": given}
    ours = AugmentConfig(preset="none", **fields)
    fields["brightness"] = 0.2  # which has a line of its own

    lost = {name: value for name, value, _ in to_augmentor(fields).lost}

    assert lost["augment.probability"] == {
        name: ours.share(name) for name in ("horizontal_flip", "rotation")
    }


def test_nothing_is_switched_on_by_an_empty_section() -> None:
    assert from_augmentor({}, square=True) == ({"preset": "none", "sampling": "natural"}, [])


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        (augmentor(hflip=True), {"horizontal_flip": True}),
        (augmentor(rotation=True, angles=[90, 180, 270]), {"quarter_turns": True}),
        (augmentor(rotation=True, angles=[5, 350]), {"rotation": 10.0}),
        (augmentor(rotation=False, angles=[5, 350]), {}),
        (augmentor(shrinks=[0.6, 0.8]), {"scale": 0.4}),
        (augmentor(shears=[0.1]), {"shear": 5.71}),
        (augmentor(deformation=True), {"elastic": 0.03}),
        (augmentor(distortion=True), {"distortion": 0.02}),
        (
            {**augmentor(distortion=True), "distortion": {"distortions": [0.01, 0.9]}},
            {"distortion": 0.16},
        ),
        (augmentor(sharpening=True), {"sharpening": 1.0}),
        (augmentor(brightening=True), {"contrast": 0.2, "brightness": 0.039216}),
        (augmentor(barrdistortion=True), {"barrel": 0.3}),
        (augmentor(pincdistortion=True), {"pincushion": 0.3}),
    ],
)
def test_an_operation_becomes_the_nearest_of_ours(
    sections: dict[str, Any], expected: dict[str, Any]
) -> None:
    augment, notes = from_augmentor(sections, square=True)
    probability = augment.pop("probability", {})

    assert augment == {"preset": "none", "sampling": "natural", **expected}
    assert set(probability) == set(expected)
    assert bool(notes) == bool(expected)
    AugmentConfig(**augment, probability=probability)  # is one


def test_images_that_are_not_square_turn_by_any_angle() -> None:
    augment, notes = from_augmentor(augmentor(rotation=True, angles=[90, 270]), square=False)

    assert augment["rotation"] == 90.0
    assert "quarter_turns" not in augment
    assert "angles" in notes[0]


def test_each_operation_is_noted_with_its_share() -> None:
    augment, notes = from_augmentor(augmentor(hflip=True, vflip=True, shears=[0.1]), square=True)

    assert set(augment["probability"].values()) == {0.25}
    assert "augmentor.shears: [0.1] becomes augment.shear 5.71 degrees" in notes
    assert "0.25 each (augment.probability)" in notes[-1]


def test_each_operation_with_numbers_has_them_in_every_file() -> None:
    assert to_augmentor({}).sections.keys() == {"augmentor", *DETAILS}
