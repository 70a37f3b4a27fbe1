"""The folder of a training as ``train`` leaves it, without any training."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

CLASSES = {"background": [0, 0, 0], "Blowhole": [255, 0, 0], "Crack": [0, 0, 255]}
IMAGES = ("tile_1", "tile_2")
SIDE = 24


def write_training(
    folder: Path,
    *,
    epochs: int = 5,
    best: int = 4,
    final: bool = False,
    classes: dict[str, list[int]] | None = None,
    every: int = 1,
    names: tuple[str, ...] = IMAGES,
) -> Path:
    """Write training.yaml, metrics.jsonl and the predictions of some images.

    Args:
        folder: Made here.
        epochs: Epochs finished.
        best: The one of the highest objective.
        final: Whether nothing was validated.
        classes: Name to colour.
        every: Epochs from one prediction to the next.
        names: Stems of the images.
    """
    shown = classes or CLASSES
    folder.mkdir(parents=True)
    record = {
        "config": {
            "data": {"source": "somewhere"},
            "train": {"epochs": 9, "schedule": "cosine"},
            "search": {"objective": "mean_foreground_dice"},
        },
        "classes": shown,
        "final": final,
        **({"epochs": 7} if final else {}),
        "versions": {"keras": "3"},
    }
    (folder / "training.yaml").write_text(yaml.safe_dump(record, sort_keys=False))
    lines = [epoch_line(number, best, list(shown), final) for number in range(1, epochs + 1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    _write_pictures(folder / "predictions", range(1, epochs + 1, every), names)
    return folder


def epoch_line(epoch: int, best: int, classes: list[str], final: bool = False) -> dict[str, Any]:
    """A line of metrics.jsonl; the scores fall with the distance from the best epoch."""
    line: dict[str, Any] = {
        "epoch": epoch,
        "train_loss": 2.0 / epoch,
        "validation_loss": None,
        "learning_rate": 0.01 * (1 + math.cos(math.pi * epoch / 9)) / 2,
        "objective": None,
        "mean_foreground_dice": None,
        "dice": {},
        "seconds": {"train": 1.0, "validate": 0.5, "input": 0.1, "total": 1.6},
        "images_per_second": 12.5,
        "time": "2026-01-02T03:04:05.678+00:00",
    }
    if final:
        return line
    hits = [900, *(100 - 10 * abs(epoch - best) - 5 * place for place in range(len(classes) - 1))]
    dice = [2 * hit / (2 * hit + 60) for hit in hits]
    mean = sum(dice[1:]) / len(dice[1:])
    return line | {
        "validation_loss": 1.0 + 0.1 * abs(epoch - 3),
        "objective": mean,
        "mean_foreground_dice": mean,
        "pooled_dice": 0.9,
        "dice": dict(zip(classes, dice, strict=True)),
        "counts": {name: [hit, 20, 40] for name, hit in zip(classes, hits, strict=True)},
    }


def _write_pictures(folder: Path, epochs: range, names: tuple[str, ...]) -> None:
    entries = []
    for number, name in enumerate(names):
        place = folder / f"image_{number}"
        place.mkdir(parents=True)
        image = np.full((SIDE, SIDE, 3), 60 * (number + 1), np.uint8)
        cv2.imwrite(str(place / "image.jpg"), image)
        cv2.imwrite(str(place / "truth.png"), _mask(SIDE // 2))
        for epoch in epochs:
            cv2.imwrite(str(place / f"epoch-{epoch:04d}.png"), _mask(min(epoch, SIDE)))
        entries.append({"folder": place.name, "name": name, "classes": ["Blowhole"]})
    listing = {"format": 1, "split": "valid", "images": entries}
    (folder / "pictures.json").write_text(json.dumps(listing))


def _mask(rows: int) -> np.ndarray[Any, Any]:
    """A mask, red in its first rows."""
    mask = np.zeros((SIDE, SIDE, 3), np.uint8)
    mask[:rows, :, 2] = 255
    return mask
