"""Pictures of scored models for the report: each one's worst, median and best images of a class.

``evaluation/pictures.json`` lists them; its paths are relative to ``evaluation/``. An image's files
are named by its record, so that none ever shows another image.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.datasets.tiling import flipped
from data_pipeline.stores.store import Store
from foundation.files import read_json, whole_file, write_json
from results.analysis.scores import dice
from results.records.evaluation import FOLDER, Evaluation, Resolution
from search.scoring.counting import decide
from search.scoring.model import Images, predicted

LONGEST_SIDE = 320
PICTURES = "pictures.json"
AUGMENTATION = "augmentation.json"

_LOCK = ".lock"
_SHEET = "augmentation.jpg"
_ROWS, _SAMPLES, _SHEET_SIDE = 4, 5, 160
_SHEET_BYTES = 150_000
_QUALITIES = (85, 75, 60, 45, 30)

Pixels = NDArray[np.uint8]


def picks(evaluations: Iterable[Evaluation]) -> list[int]:
    """Choose the images to show: the union over models and foreground classes.

    Args:
        evaluations: Of one split, the images in the same order in each.

    Returns:
        Indices, ascending, of each model's worst, median (the lower of two) and best image of each
        class: by the image's Dice of the class, of equals the first by name, among the images that
        truly show the class.
    """
    chosen: set[int] = set()
    for evaluation in evaluations:
        counts = evaluation.counts
        scores = np.stack([dice(image) for image in counts])
        for label in range(1, len(evaluation.classes)):
            there = np.flatnonzero(counts[:, label, 0] + counts[:, label, 2])
            chosen |= _three([(scores[i, label], evaluation.images[i], int(i)) for i in there])
    return sorted(chosen)


def _three(rows: list[tuple[float, str, int]]) -> set[int]:
    """Return the worst, the median and the best of rows (score, name, index)."""
    if not rows:
        return set()
    ordered = sorted(rows)
    best = min(rows, key=lambda row: (-row[0], row[1]))  # the first by name of equals, too
    return {row[2] for row in (ordered[0], ordered[(len(rows) - 1) // 2], best)}


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Keep other processes that draw a study's pictures waiting.

    Where the file system knows no locks, nothing does.
    """
    folder = directory / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def are_drawn(directory: Path, facts: Mapping[str, Any]) -> bool:
    """Return whether pictures.json has the models and data that ``facts_of`` gave.

    It may have more models, and of the images' own size where the prepared one would do.
    """
    told = read_json(directory / FOLDER / PICTURES)
    models = told.get("models", {})
    same = all(told.get(key) == facts[key] for key in ("split", "fingerprint"))
    sharp = told.get("resolution") in ("native", facts["resolution"])
    return same and sharp and facts["models"].items() <= models.items()


def facts_of(
    evaluations: Sequence[Evaluation], resolution: Resolution | None = None
) -> dict[str, Any]:
    """Return what pictures depend on: the models and their epochs, the data, the resolution.

    Args:
        evaluations: Of the models.
        resolution: Of the pictures themselves; None: the best that was scored at.
    """
    best: Resolution = (
        "native" if any(e.resolution == "native" for e in evaluations) else "prepared"
    )
    return {
        "split": evaluations[0].split,
        "fingerprint": evaluations[0].fingerprint,
        "resolution": resolution or best,
        "models": {e.name: _drawn(e) for e in evaluations},
    }


def _drawn(evaluation: Evaluation) -> list[Any]:
    """Return what the pictures of a model depend on; of no flips nothing is said, as before."""
    flips = [] if evaluation.flips == "none" else [evaluation.flips]
    return [evaluation.epoch, evaluation.resolution, *flips]


def draw_pictures(
    directory: Path,
    images: Images,
    models: Mapping[str, Path],
    evaluations: Sequence[Evaluation],
    batch_size: int = 8,
    beat: Callable[[], None] = lambda: None,
) -> list[str]:
    """Predict the chosen images again with every model, and write what the report shows.

    Args:
        directory: The study's.
        images: Of the split that was scored.
        models: Name to ``.keras`` file.
        evaluations: Of these models, in any order; the pictures are predicted with their flips.
        batch_size: Images a step.
        beat: Called for each model and image: the drawing goes on.

    Returns:
        Names of the files written, within the study directory; pictures.json the last.

    Raises:
        data_pipeline.problems.DataError: where a source file cannot be read.
    """
    from model.inference import Predictor, load_model

    folder = directory / FOLDER
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    indices = picks(evaluations)
    flips = {evaluation.name: evaluation.flips for evaluation in evaluations}
    entries = {index: _draw_image(folder, images, index) for index in indices}
    shape, classes = images.store.image_shape, images.store.num_classes
    for name, path in models.items():
        beat()
        ask = flipped(Predictor(load_model(path, shape, classes)).predict, flips[name])
        shown = ((index, images.shown(index)) for index in indices)
        for index, each, probabilities in predicted(shown, ask, batch_size):
            labels, _ = decide(probabilities, each.mask, images.mode)
            place = f"pictures/{_stem(images, index)}.{name}.png"
            beat()
            write_labels(folder / place, labels)
            entries[index]["predictions"][name] = place
    facts = facts_of(evaluations, images.resolution)
    listing = {"format": 1, **facts, "images": list(entries.values())}
    write_json(folder / PICTURES, listing)
    return [*_remove_others(folder, entries.values()), f"{FOLDER}/{PICTURES}"]


def _draw_image(folder: Path, images: Images, index: int) -> dict[str, Any]:
    image, mask = images.read(index)
    split = images.store.splits[images.split]
    stem = f"pictures/{_stem(images, index)}"
    write_photograph(folder / f"{stem}.jpg", image)
    write_labels(folder / f"{stem}.truth.png", mask)
    return {
        "name": f"{images.split}/{split.stems[index]}",
        "group": split.groups[index],
        "image": f"{stem}.jpg",
        "truth": f"{stem}.truth.png",
        "predictions": {},
    }


def write_photograph(path: Path, image: Pixels) -> None:
    """Write an image, uint8 [h, w, channels], as a small .jpg, in one step."""
    small = _shrunk(image, cv2.INTER_AREA)
    _write(path, ".jpg", _bgr(small), (cv2.IMWRITE_JPEG_QUALITY, 90))


def write_labels(path: Path, labels: Pixels) -> None:
    """Write a label map, uint8 [h, w], as a small .png, in one step."""
    _write(path, ".png", _shrunk(labels, cv2.INTER_NEAREST_EXACT))


def _stem(images: Images, index: int) -> str:
    return f"{images.split}-{index:04d}"


def _remove_others(folder: Path, entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Remove the pictures that are listed no more; return those that are."""
    listed = [
        place
        for entry in entries
        for place in (entry["image"], entry["truth"], *entry["predictions"].values())
    ]
    for path in (folder / "pictures").iterdir():
        if f"pictures/{path.name}" not in listed:
            path.unlink(missing_ok=True)
    return [f"{FOLDER}/{place}" for place in listed]


def draw_augmentation(directory: Path, store: Store, config: AugmentConfig) -> list[str]:
    """Write augmentation.jpg: training images in rows, each followed by augmented samples.

    Returns:
        Names of the files written, within the study directory; none where they are there.

    Raises:
        ValueError: where the augmentation does not fit the data.
    """
    facts = {"fingerprint": store.fingerprint, "augment": config.model_dump(mode="json")}
    folder = directory / FOLDER
    told = read_json(folder / AUGMENTATION)
    if (folder / _SHEET).is_file() and all(told.get(key) == facts[key] for key in facts):
        return []
    from data_pipeline.augmentation.preview import operations, preview, sheet

    rows = preview(store, config, images=_ROWS, samples=_SAMPLES)
    folder.mkdir(parents=True, exist_ok=True)
    _write_small(folder / _SHEET, _bgr(sheet(rows, store.colors, _SHEET_SIDE)))
    named = ", ".join(name.replace("_", " ") for name, _, _ in operations(config))
    caption = (
        f"Training images of {' x '.join(map(str, store.image_shape[:2]))} pixels, each first as "
        f"it is and then as {_SAMPLES} samples that a trial may see ({named or 'unchanged'}); the "
        "outlines are the masks."
    )
    told = {"rows": len(rows), "samples": _SAMPLES, "caption": caption, **facts}
    write_json(folder / AUGMENTATION, told)
    return [f"{FOLDER}/{_SHEET}", f"{FOLDER}/{AUGMENTATION}"]


def _shrunk(picture: Pixels, interpolation: int) -> Pixels:
    """Return a picture whose longer side is at most 320 pixels; a smaller one as it is."""
    height, width = picture.shape[:2]
    scale = LONGEST_SIDE / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small: Pixels = cv2.resize(picture, size, interpolation=interpolation)
    return small


def _bgr(picture: Pixels) -> Pixels:
    colored = picture.ndim == 3 and picture.shape[2] == 3
    turned: Pixels = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if colored else picture
    return turned


def _write_small(path: Path, picture: Pixels) -> None:
    for quality in _QUALITIES:
        options = (cv2.IMWRITE_JPEG_QUALITY, quality)
        if len(cv2.imencode(".jpg", picture, options)[1]) <= _SHEET_BYTES:
            break
    _write(path, ".jpg", picture, options)


def _write(path: Path, suffix: str, picture: Pixels, options: Sequence[int] = ()) -> None:
    """Write a picture, so that a reader finds the old one or the new one, never a part."""
    with whole_file(path, durable=False) as temporary:
        temporary.write_bytes(cv2.imencode(suffix, picture, tuple(options))[1].tobytes())
