"""Pictures of a study's scored models, as ``evaluation/pictures.json`` lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from results.records.evaluation import FOLDER

LISTING = "pictures.json"
UNCOUNTED = 255

Pixels = NDArray[np.uint8]


class PictureError(ValueError):
    """A picture, or the list of them, that cannot be read."""


class _PictureEntry(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    group: str = ""
    image: str
    truth: str
    predictions: dict[str, str] = {}


class _PicturesFile(BaseModel):
    model_config = ConfigDict(frozen=True)

    format: Literal[1]
    split: str
    images: tuple[_PictureEntry, ...] = ()


@dataclass(frozen=True)
class Picture:
    """An image of a split with its truth and what models predicted.

    Attributes:
        name: Of the image, ``<split>/<stem>``.
        group: The object photographed.
        image: File of the photograph.
        truth: File of its label map.
        predictions: File of a label map by the model's name, "trial-00012".
    """

    name: str
    group: str
    image: Path
    truth: Path
    predictions: Mapping[str, Path]


def load_pictures(study_dir: Path) -> dict[str, Picture]:
    """List a study's pictures by the image's name; their files are not opened.

    Returns:
        Empty where none were made.

    Raises:
        PictureError: for a list that cannot be read, or one with paths outside ``evaluation/``.
    """
    folder = Path(study_dir) / FOLDER
    path = folder / LISTING
    if not path.is_file():
        return {}
    try:
        listing = _PicturesFile.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise PictureError(f"{path}: expected a list of pictures, {error}") from None
    entries = listing.images
    outside = [
        place
        for entry in entries
        for place in (entry.image, entry.truth, *entry.predictions.values())
        if not (folder / place).resolve().is_relative_to(folder.resolve())
    ]
    if outside:
        raise PictureError(f"{path}: expected paths within {FOLDER}/, received {outside}")
    return {
        entry.name: Picture(
            name=entry.name,
            group=entry.group,
            image=folder / entry.image,
            truth=folder / entry.truth,
            predictions={model: folder / place for model, place in entry.predictions.items()},
        )
        for entry in entries
    }


def read_photograph(path: Path) -> Pixels:
    """Read a photograph: [H, W, 3] blue, green, red.

    Raises:
        PictureError: where it cannot be read.
    """
    return _read(path, cv2.IMREAD_COLOR)


def read_labels(path: Path) -> Pixels:
    """Read a label map: [H, W] class indices, 255 where nothing is counted.

    Raises:
        PictureError: where it cannot be read.
    """
    return _read(path, cv2.IMREAD_GRAYSCALE)


def _read(path: Path, mode: int) -> Pixels:
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise PictureError(f"{path}: expected a picture, {error}") from None
    image = cv2.imdecode(data, mode) if data.size else None
    if image is None:
        raise PictureError(f"{path}: expected a picture, received a file that is none")
    pixels: Pixels = image.astype(np.uint8)
    return pixels
