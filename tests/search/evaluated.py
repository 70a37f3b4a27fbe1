"""A data set whose images show what is predicted of them, and a model that reads it off them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_pipeline.config import DataConfig
from search.inference.model_metadata import ModelMetadata
from tests.data_pipeline.files import CLASSES, encode, rgb_mask, write_yaml
from tests.model.lookup import SHARPNESS

SIDE = 8  # that the model takes; the images have twice that


@dataclass
class Lookup:
    """As ``tests.model.lookup``, in NumPy; it counts what it is asked."""

    classes: int = 3
    asked: int = 0

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.asked += len(images)
        numbers = np.arange(self.classes)
        logits = -SHARPNESS * (images[..., :1].astype(np.float64) - numbers) ** 2
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)


def facts(path: Path, **changed: Any) -> ModelMetadata:
    """What is known of a model of the tiny classes, as a record would tell it."""
    known = ModelMetadata(
        path=path,
        image_shape=(SIDE, SIDE, 1),
        num_classes=3,
        classes=tuple(CLASSES),
        colors=tuple(CLASSES.values()),
        source=path.with_name("best.yaml"),
        data=DataConfig(image_size=(SIDE, SIDE)),
        named=True,
        colored=True,
    )
    return replace(known, **changed)


def square(top: int, left: int, label: int, shape: tuple[int, int] = (16, 16)) -> NDArray[np.uint8]:
    mask = np.zeros(shape, np.uint8)
    mask[top : top + 4, left : left + 4] = label
    return mask


def write(folder: Path, stem: str, shown: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    """Write images/<stem>.png, which shows what is predicted, and masks/<stem>.png."""
    for kind, data in (("images", encode(".png", shown)), ("masks", rgb_mask(mask))):
        path = folder / kind / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def write_data(folder: Path) -> Path:
    """Three splits; of the test's images the first is half right, the second all."""
    write_yaml(folder)
    write(folder / "train", "t", square(0, 0, 1), square(0, 0, 1))
    write(folder / "valid", "v", square(0, 8, 1), square(0, 8, 1))
    write(folder / "test", "a", square(4, 6, 1), square(4, 4, 1))
    write(folder / "test", "b", square(8, 8, 2), square(8, 8, 2))
    return folder
