"""The settings of a data set: frozen, constants only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

SYNTHETIC = "synthetic"
SPLITS = ("train", "valid", "test")

Color = tuple[int, int, int]


class SplitConfig(BaseModel):
    """How an undivided images/ + masks/ pair is split; data with split folders keeps its own.

    Raises:
        pydantic.ValidationError: for shares that leave no training images, a broken pattern, a
            pattern beside group_folders, or a fold that is none of the folds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    valid: float = Field(0.2, gt=0, lt=1, description="Share of the groups for validation.")
    test: float = Field(0.2, ge=0, lt=1, description="Share of the groups for the final test.")
    seed: int = Field(0, ge=0, description="Seed of the assignment of groups to splits.")
    group_pattern: str | None = Field(
        None,
        description="Regular expression searched in the stem; its first group (or whole match) "
        "names the object photographed. Images of one object are never divided. None: "
        "dataset.yaml's groups, else the stem without known augmentation prefixes.",
    )
    group_folders: bool = Field(
        False,
        description="Whether the sub-folder below images/ that a picture lies in names the object "
        "photographed, as in images/<object>/a.png. Overrules dataset.yaml's groups.",
    )
    folds: int | None = Field(
        None,
        ge=2,
        description="For small data: deal all but the test split into so many folds by group, of "
        "which one validates and the others train. The test split stays as it is without folds. "
        "None: one validation split, by the share valid.",
    )
    fold: int = Field(0, ge=0, description="Which of the folds validates, counted from 0.")

    @model_validator(mode="after")
    def _training_images_remain(self) -> SplitConfig:
        if self.valid + self.test >= 1:
            raise ValueError(f"expected valid + test < 1, received {self.valid} + {self.test}")
        return self

    @model_validator(mode="after")
    def _fold_exists(self) -> SplitConfig:
        if self.folds is None and self.fold:
            raise ValueError(f"expected folds where fold is given, received fold {self.fold} alone")
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(
                f"expected fold < folds (counted from 0), received fold {self.fold} of {self.folds}"
            )
        return self

    @model_validator(mode="after")
    def _one_way_to_group(self) -> SplitConfig:
        if self.group_folders and self.group_pattern is not None:
            raise ValueError(
                "expected group_folders or group_pattern, received both: the pattern "
                f"{self.group_pattern!r} is searched in <folder>/<name> and can tell folders too"
            )
        return self

    @field_validator("group_pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(
                    f"expected a regular expression, received {value!r}: {error}"
                ) from None
        return value


class DataConfig(BaseModel):
    """Where images and masks come from and how they are prepared.

    Raises:
        pydantic.ValidationError: for a value out of range, fewer than two classes, or two classes
            of one colour.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(
        SYNTHETIC,
        description="Folder of the data set, or 'synthetic' for the embedded demo data. Holds "
        "<split>/images and <split>/masks (splits train, valid, test), or one images/ + masks/.",
    )
    classes: dict[str, Color] | None = Field(
        None,
        description="Class name to its RGB colour in the masks (rgb_map), in index order, "
        "background first. None: from the folder's dataset.yaml.",
    )
    image_size: tuple[int, int] = Field(
        (128, 128), description="Height and width in pixels that every image is resized to."
    )
    channels: Literal[1, 3] = Field(1, description="1: grey. 3: RGB.")
    resize: Literal["stretch", "letterbox"] = Field(
        "stretch",
        description="stretch: sides scaled independently. letterbox: aspect kept, the border "
        "filled and its pixels labelled 255, which no loss or score counts.",
    )
    color_tolerance: int = Field(
        32,
        ge=0,
        le=127,
        description="Largest distance per channel from a mask pixel to its class colour; covers "
        "anti-aliased edges. Colours further away are an error.",
    )
    on_bad: Literal["error", "skip"] = Field(
        "error", description="error: one error lists every bad file. skip: leave them out, warn."
    )
    store_path: Path | None = Field(
        None, description="Folder of prepared stores. None: <source>.prepared beside the source."
    )
    split: SplitConfig = Field(default_factory=SplitConfig)
    synthetic_seed: int = Field(0, ge=0, description="Seed of the embedded data set.")
    synthetic_tiles: int = Field(
        60,
        ge=12,
        description="Tiles of the embedded data set; each is seen in up to six exposures.",
    )

    @field_validator("image_size", mode="before")
    @classmethod
    def _square(cls, value: object) -> object:
        return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("image_size")
    @classmethod
    def _sides(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not all(8 <= side <= 4096 for side in value):
            raise ValueError(f"expected sides of 8 to 4096 pixels, received {list(value)}")
        return value

    @field_validator("classes")
    @classmethod
    def _distinct_colors(cls, value: dict[str, Color] | None) -> dict[str, Color] | None:
        if value is None:
            return None
        if not 2 <= len(value) <= 255:
            raise ValueError(
                f"expected 2 to 255 classes with background first, received {len(value)}"
            )
        seen: dict[Color, str] = {}
        for name, color in value.items():
            if not all(0 <= part <= 255 for part in color):
                raise ValueError(
                    f"expected a colour of 0..255 for {name!r}, received {list(color)}"
                )
            if color in seen:
                raise ValueError(
                    f"expected one colour a class, received {list(color)} for both "
                    f"{seen[color]!r} and {name!r}"
                )
            seen[color] = name
        return value
