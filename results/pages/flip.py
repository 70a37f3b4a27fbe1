"""The predictions of a training's images, epoch by epoch, on one page that flips through them."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from foundation.files import write_text
from results.pages.page import render
from results.records.training_record import TrainingRecord, TrainingRecordError, load_training
from results.style.words import time_text

FLIP_PAGE = "predictions.html"
FOLDER = "predictions"
LISTING = "pictures.json"

MOST_EPOCHS = 120
MOST_BYTES = 16_000_000  # of the pictures; as text in the page they are a third more


class _FlipEntry(BaseModel):
    model_config = ConfigDict(frozen=True)

    folder: str
    name: str
    classes: tuple[str, ...] = ()


class _FlipsFile(BaseModel):
    model_config = ConfigDict(frozen=True)

    format: Literal[1]
    split: str
    images: tuple[_FlipEntry, ...] = ()


@dataclass(frozen=True)
class Flip:
    """An image and what was predicted for it.

    Attributes:
        name: Its stem.
        classes: Classes that it shows.
        image: File of the photograph.
        truth: File of its mask.
        frames: File of the prediction, by epoch.
    """

    name: str
    classes: tuple[str, ...]
    image: Path
    truth: Path
    frames: Mapping[int, Path]


def write_flip_page(folder: Path | str, target: Path | None = None) -> Path:
    """Write the page of a training's predictions; an earlier one is replaced in one step.

    Args:
        folder: The training's, with its ``predictions/``.
        target: The HTML file; None: ``predictions.html`` in the folder.

    Raises:
        RecordError: for a folder that is no training's, or whose pictures cannot be read.
        OSError: where the page cannot be written.
    """
    page = Path(folder) / FLIP_PAGE if target is None else target
    write_text(page, render_flips(load_training(folder)), durable=False)
    return page


def load_flips(training: TrainingRecord) -> tuple[str, list[Flip]]:
    """List a training's pictures.

    Returns:
        The split that they are of, and the images; of each the epochs that the metrics have.

    Raises:
        TrainingRecordError: where the list is missing, or names files outside ``predictions/``.
    """
    folder = training.path / FOLDER
    try:
        listing = _FlipsFile.model_validate_json((folder / LISTING).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        problem = f"{FOLDER}/{LISTING}: expected a list of pictures, {error}"
        raise TrainingRecordError(training.path, [problem]) from None
    outside = [entry.folder for entry in listing.images if not _is_inside(folder, entry.folder)]
    if outside:
        problem = f"{FOLDER}/{LISTING}: expected folders within {FOLDER}/, received {outside}"
        raise TrainingRecordError(training.path, [problem])
    return listing.split, [_flip(folder, entry, len(training.curve)) for entry in listing.images]


def _is_inside(folder: Path, name: str) -> bool:
    return (folder / name).resolve().parent == folder.resolve()


def _flip(folder: Path, entry: _FlipEntry, epochs: int) -> Flip:
    place = folder / entry.folder
    found = {}
    for path in place.glob("epoch-*.png"):
        text = path.stem.rpartition("-")[2]
        if text.isdecimal() and 1 <= int(text) <= epochs:
            found[int(text)] = path
    return Flip(
        entry.name,
        entry.classes,
        place / "image.jpg",
        place / "truth.png",
        dict(sorted(found.items())),
    )


def shown_epochs(
    flips: Sequence[Flip], best: int | None, most: int = MOST_EPOCHS, bytes_: int = MOST_BYTES
) -> list[int]:
    """Choose the epochs of the page: all, or an even choice with the first, last and best.

    Args:
        flips: The images.
        best: The best epoch; None: there is none.
        most: Epochs at most.
        bytes_: Bytes of the pictures at most, as far as the fewest epochs allow.
    """
    known = sorted({epoch for flip in flips for epoch in flip.frames})
    sizes = {
        epoch: sum(flip.frames[epoch].stat().st_size for flip in flips if epoch in flip.frames)
        for epoch in known
    }
    while True:
        shown = _thinned(known, best, most)
        if sum(sizes[epoch] for epoch in shown) <= bytes_ or most <= 3:
            return shown
        most = max(3, most // 2)


def _thinned(epochs: Sequence[int], best: int | None, most: int) -> list[int]:
    if len(epochs) <= most:
        return list(epochs)
    kept = {epochs[0], epochs[-1], *([best] if best in epochs else ())}
    places = most - len(kept)
    step = (len(epochs) - 1) / (places + 1)
    kept |= {epochs[round(step * place)] for place in range(1, places + 1)}
    return sorted(epoch for epoch in kept if epoch is not None)


def render_flips(training: TrainingRecord, generated: datetime | None = None) -> str:
    """Render the page's HTML.

    Args:
        training: The training.
        generated: The time it says it was made; now by default.
    """
    split, flips = load_flips(training)
    row = training.best_row
    best = None if row is None or training.final else int(training.curve.epoch[row])
    epochs = shown_epochs(flips, best)
    known = {epoch for flip in flips for epoch in flip.frames}
    images = [_image(flip, epochs) for flip in flips]
    return render(
        "flip.html.j2",
        {
            "name": training.path.resolve().name,
            "generated": time_text((generated or datetime.now(UTC)).isoformat()),
            "split": split,
            "final": training.final,
            "legend": list(zip(training.classes, map(_css, training.colors), strict=True)),
            "images": images,
            "epochs": epochs,
            "left_out": len(known) - len(epochs),
            "data": {
                "best": best,
                "epochs": [_numbers(training, epoch) for epoch in epochs],
                "images": [image["frames"] for image in images],
            },
        },
        charts=False,
    )


def _image(flip: Flip, epochs: Sequence[int]) -> dict[str, Any]:
    """Return an image for the template: its frames in the order of the epochs, "" where there is
    none.
    """
    frames = [_uri(flip.frames[epoch]) if epoch in flip.frames else "" for epoch in epochs]
    return {
        "name": flip.name,
        "classes": ", ".join(flip.classes) or "background alone",
        "image": _uri(flip.image),
        "truth": _uri(flip.truth),
        "frames": frames,
    }


def _uri(path: Path) -> str:
    kind = "jpeg" if path.suffix == ".jpg" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _numbers(training: TrainingRecord, epoch: int) -> dict[str, Any]:
    curve = training.curve
    row = int((curve.epoch == epoch).argmax())
    dice = zip(training.classes[1:], curve.dice[row, 1:], strict=True)
    return {
        "epoch": epoch,
        "train": _finite(curve.train_loss[row]),
        "validation": _finite(curve.validation_loss[row]),
        "mean": _finite(curve.mean_foreground_dice[row]),
        "dice": [[name, _finite(value)] for name, value in dice],
    }


def _finite(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None


def _css(color: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
