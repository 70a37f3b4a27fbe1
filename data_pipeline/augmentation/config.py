"""The settings of an augmentation: which operations, how far, how often; frozen, constants only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from data_pipeline.augmentation.operations import (
    CELLS,
    FLIPS,
    IGNORE,
    LARGEST_STEP,
    OPERATIONS,
    PRESETS,
)


class AugmentConfig(BaseModel):
    """What the training images of a trial are: which are drawn, and how each is changed.

    Geometric operations are one sampling field for image and mask; photometric ones change the
    image alone. An amount is the largest one drawn, uniformly, from both signs where there are
    two; 0 or false switches the operation off. An operation that is not named, or is null, is as
    the preset has it.

    Raises:
        pydantic.ValidationError: for a value out of range, names that are no operations, or
            weights that do not go with the sampling.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Literal["none", "light", "default", "strong"] = Field(
        "default", description="What the operations are that are not named here."
    )
    sampling: Literal["natural", "balanced", "weights"] = Field(
        "balanced",
        description="natural: every training image once an epoch. balanced: each class (free "
        "images are one) is drawn equally often, then an image "
        "of it. weights: by sampling_weights.",
    )
    sampling_weights: dict[str, float] | None = Field(
        None, description="Class name to relative frequency, only with sampling: weights."
    )
    oversample: dict[str, float] | None = Field(
        None,
        description="Class name to how many times as often an image that shows it is drawn as one "
        "that shows none of these; only with sampling: natural. Of several classes the largest "
        "counts.",
    )

    patch_size: int | None = Field(
        None,
        ge=8,
        le=4096,
        description="Side in pixels of the square window that a sample is read from, at the scale "
        "of data.image_size; validation and prediction see whole images. None: samples are whole "
        "images too.",
    )
    patch_focus: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of the windows that hold a pixel of a foreground class that the image "
        "shows, each class equally often; the others lie anywhere. Only with patch_size.",
    )
    patch_stages: int = Field(
        1,
        ge=1,
        le=8,
        description="Windows grow over the epochs: stage k of n, as long as the others, has "
        "windows of k/n of patch_size. 1: they do not grow.",
    )

    paste: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the samples that are a training image without a defect on which one "
        "of another training image is pasted, of a rare class more often than of a common one. "
        "Where every image shows a defect, any of them is pasted on.",
    )

    horizontal_flip: bool = Field(False, description="Mirror left-right.")
    vertical_flip: bool = Field(False, description="Mirror top-bottom.")
    quarter_turns: bool = Field(
        False, description="Turn by 0, 90, 180 or 270 degrees; square images or windows only."
    )
    rotation: float = Field(0.0, ge=0, le=180, description="Turn about the centre, degrees.")
    scale: float = Field(
        0.0, ge=0, lt=1, description="Shrink and zoom, relative: 0.1 draws from 0.9 to 1.1."
    )
    shift: float = Field(
        0.0, ge=0, le=0.5, description="Move along both axes, fraction of the side."
    )
    shear: float = Field(0.0, ge=0, le=45, description="Lean along both axes, degrees.")
    perspective: float = Field(
        0.0, ge=0, lt=1, description="Tilt: how much smaller or larger a corner is than the centre."
    )
    elastic: float = Field(
        0.0,
        ge=0,
        le=LARGEST_STEP / CELLS["elastic"],
        description=f"Bend locally: how far a control point moves, fraction of the side; "
        f"{CELLS['elastic']} cells a side, cubic B-splines between. By itself it folds nothing.",
    )
    distortion: float = Field(
        0.0,
        ge=0,
        le=LARGEST_STEP / CELLS["distortion"],
        description=f"Bend the whole image: as elastic, {CELLS['distortion']} cells a side.",
    )
    barrel: float = Field(
        0.0, ge=0, le=1, description="Bulge: how much farther out a corner reads, relative."
    )
    pincushion: float = Field(
        0.0, ge=0, le=0.3, description="Pinch: how much farther in a corner reads, relative."
    )
    crop: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Zoom in on a random pixel of crop_class: how much of the side is cut off.",
    )
    crop_class: str | None = Field(
        None,
        description="The class of that pixel. None: a foreground class that the image shows, each "
        "equally often; an image without any stays whole.",
    )
    border: Literal["reflect", "constant"] = Field(
        "reflect", description="What lies outside the image: its mirror image, or black."
    )
    border_class: str = Field(
        IGNORE,
        description=f"The class outside, with border: constant. {IGNORE}: none, neither loss nor "
        "score counts it.",
    )

    gamma: float = Field(
        0.0,
        ge=0,
        le=2,
        description="Bend grey values: exponent 1 / (1 + gamma) to 1 + gamma, even in its log.",
    )
    contrast: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Stretch around the image's mean, relative: 0.2 draws from 0.8 to 1.2.",
    )
    brightness: float = Field(
        0.0, ge=0, le=1, description="Lighten and darken: added, fraction of white."
    )
    saturation: float = Field(
        0.0, ge=0, le=1, description="Distance from grey, relative; images of 3 channels only."
    )
    hue: float = Field(
        0.0,
        ge=0,
        le=180,
        description="Turn the colours in the YIQ plane, degrees; images of 3 channels only.",
    )
    sharpening: float = Field(
        0.0, ge=0, le=5, description="Unsharp mask: how many times the detail is added."
    )
    blur: float = Field(
        0.0,
        ge=0,
        le=10,
        description="Gaussian: standard deviation, pixels of the prepared image.",
    )
    noise: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="Gaussian, each pixel its own: standard deviation, fraction of white.",
    )
    jpeg: float = Field(
        0.0, ge=0, lt=1, description="Artefacts of JPEG: quality from 100 down to 100 (1 - jpeg)."
    )
    cutout: float = Field(
        0.0,
        ge=0,
        le=0.9,
        description="Cover a rectangle with the image's mean grey: its largest side, fraction of "
        "the image's. The mask stays.",
    )
    probability: dict[str, float] = Field(
        default_factory=dict,
        description="Operation to the share of samples that it changes; 1/2 for the flips, 1 for "
        "the others that neither this nor the preset names.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        preset = PRESETS.get(str(given.get("preset") or "default"), {})
        named = {name: value for name, value in given.items() if value is not None}
        both = {**preset, **named}
        probability = both.get("probability", {})
        if isinstance(probability, Mapping):
            both["probability"] = {**preset.get("probability", {}), **probability}
        return both

    @field_validator("probability")
    @classmethod
    def _shares_of_operations(cls, value: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(value) - set(OPERATIONS))
        outside = {name: share for name, share in value.items() if not 0 <= share <= 1}
        if unknown or outside:
            raise ValueError(
                f"expected operations ({', '.join(OPERATIONS)}) to shares of 0 to 1, received "
                f"{dict.fromkeys(unknown, 'unknown') | outside}"
            )
        return value

    @field_validator("oversample")
    @classmethod
    def _factors(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        if value is not None and (
            not value or not all(0 < factor < math.inf for factor in value.values())
        ):
            raise ValueError(f"expected classes to factors above 0, received {value}")
        return value

    @model_validator(mode="after")
    def _weights_go_with_sampling(self) -> AugmentConfig:
        if (self.sampling == "weights") != (self.sampling_weights is not None):
            raise ValueError(
                "expected sampling_weights exactly with sampling 'weights', received "
                f"sampling {self.sampling!r} and sampling_weights {self.sampling_weights}"
            )
        if self.oversample is not None and self.sampling != "natural":
            raise ValueError(
                "expected oversample only with sampling 'natural', received sampling "
                f"{self.sampling!r} and oversample {self.oversample}"
            )
        if self.sampling_weights is not None:
            bad = {name: w for name, w in self.sampling_weights.items() if not w >= 0}
            if bad or not any(self.sampling_weights.values()):
                raise ValueError(
                    "expected sampling_weights >= 0 and one above 0, received "
                    f"{self.sampling_weights}"
                )
        return self

    @model_validator(mode="after")
    def _stages_need_patches(self) -> AugmentConfig:
        if self.patch_stages > 1 and self.patch_size is None:
            raise ValueError(f"expected patch_size with patch_stages {self.patch_stages}")
        return self

    def window_shape(self, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return (H, W, C) of the samples: windows of patch_size, else the images themselves."""
        height, width, channels = image_shape
        side = self.patch_size or max(height, width)
        return min(height, side), min(width, side), channels

    def at_epoch(self, epoch: int, epochs: int, multiple: int) -> AugmentConfig:
        """Return the augmentation of one epoch, its windows as large as its stage has them.

        Args:
            epoch: Counted from 0.
            epochs: Of the whole training.
            multiple: What the sides of windows must be divisible by, as the model needs it.
        """
        if self.patch_size is None or self.patch_stages == 1:
            return self
        stage = min(self.patch_stages, 1 + epoch * self.patch_stages // epochs)
        steps = math.ceil(self.patch_size * stage / self.patch_stages / multiple)
        side = min(self.patch_size, steps * multiple)
        return self.model_copy(update={"patch_size": side, "patch_stages": 1})

    def share(self, operation: str) -> float:
        """Return the share of samples that an operation changes; 0 where it is switched off."""
        if not getattr(self, operation):
            return 0.0
        return self.probability.get(operation, 0.5 if operation in FLIPS else 1.0)

    def uses(self, *operations: str) -> bool:
        """Tell whether any of the operations ever happens."""
        return any(self.share(operation) for operation in operations)
