"""Predictions of a simulated study: label maps are drawn, and everything else is counted on them.

A tile shows up to two defects, as ellipses. A model that reaches a Dice of d for a class finds most
of them at d near one, misplaced and shrunk the more the lower d is; at zero it sees background.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from results.analysis import scores
from results.records.evaluation import FOLDER, Evaluation
from results.records.study import TrialRecord, load_study
from tests.results.simulated_study import FINGERPRINT, SPLITS, Simulation

HEIGHT, WIDTH = 72, 96
IMAGES = {name: (images, groups) for name, _, images, groups in SPLITS}

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Defect:
    """One ellipse: class index, centre (x, y), half axes and angle in degrees."""

    label: int
    centre: tuple[int, int]
    axes: tuple[int, int]
    angle: int


@dataclass(frozen=True)
class Tile:
    """An image with its truth; ``group``: the object photographed."""

    name: str
    group: str
    defects: tuple[Defect, ...]
    truth: Labels


def write_evaluations(
    path: Path, simulation: Simulation, trials: Sequence[int] | None = None
) -> list[Evaluation]:
    """Write ``evaluation/`` of a study that ``write_study`` wrote.

    Args:
        trials: whose models were scored; None: the incumbent's and the baselines'.

    Returns:
        The counts, in the order of ``trials``.
    """
    study = load_study(path)
    if trials is None:
        best = [study.incumbent] if study.incumbent else []
        scored = list(dict.fromkeys([*best, *study.baselines]))
    else:
        scored = [trial for trial in study.trials if trial.number in trials]
    shown = tiles(simulation, "valid")
    predictions = {t.number: predict(shown, levels_of(t), seed=t.number) for t in scored}
    found = []
    for trial in scored:
        name = f"trial-{trial.number:05d}"
        counted = evaluate(
            name, shown, predictions[trial.number], simulation, split="valid", trial=trial
        )
        counted.save(path / FOLDER / f"valid-{name}.npz")
        found.append(counted)
    write_pictures(path / FOLDER, shown, predictions, found)
    write_augmentation(path / FOLDER)
    return found


def levels_of(trial: TrialRecord) -> NDArray[np.float64]:
    """[C] Dice at the trial's best epoch; undefined: 0."""
    row = trial.best_row
    return (
        np.zeros(trial.curve.dice.shape[1]) if row is None else np.nan_to_num(trial.curve.dice[row])
    )


@cache
def _tiles(
    stem: str, classes: int, absent: tuple[int, ...], split: str, seed: int
) -> tuple[Tile, ...]:
    images, groups = IMAGES[split]
    rng = np.random.default_rng((seed, 77, images))
    shown = [index for index in range(1, classes) if index not in absent]
    made = []
    for number in range(images):
        some = rng.permutation(shown)[: rng.integers(0, 3)].tolist()
        defects = tuple(_defect(label, rng) for label in some)
        group = f"{stem}{number % groups:02d}"
        name = f"{split}/{group}-{number // groups}"
        made.append(Tile(name, group, defects, _draw(defects)))
    return tuple(made)


def tiles(simulation: Simulation, split: str) -> tuple[Tile, ...]:
    """The images of a split."""
    names = simulation.classes
    absent = tuple(names.index(name) for name in simulation.absent) if split == "valid" else ()
    return _tiles(simulation.stem, len(names), absent, split, simulation.seed)


def _defect(label: int, rng: np.random.Generator) -> Defect:
    x, y = int(rng.integers(10, WIDTH - 10)), int(rng.integers(10, HEIGHT - 10))
    axes = int(rng.integers(3, 16)), int(rng.integers(2, 8))
    return Defect(label, (x, y), axes, int(rng.integers(0, 180)))


def _draw(defects: Sequence[Defect]) -> Labels:
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for one in defects:
        cv2.ellipse(labels, one.centre, one.axes, one.angle, 0, 360, one.label, -1)
    return labels


def predict(shown: Sequence[Tile], levels: NDArray[np.float64], *, seed: int) -> tuple[Labels, ...]:
    """What a model sees that reaches ``levels`` [C] of Dice."""
    rng = np.random.default_rng((seed, 78))
    return tuple(_draw(list(_seen(tile, levels, rng))) for tile in shown)


def _seen(tile: Tile, levels: NDArray[np.float64], rng: np.random.Generator) -> list[Defect]:
    seen = []
    for one in tile.defects:
        level = float(levels[one.label])
        found, confused, off = rng.random(), rng.random(), rng.standard_normal(2)
        if found > level**0.5:
            continue
        x, y = (int(at + 6 * (1 - level) * o) for at, o in zip(one.centre, off, strict=True))
        axes = max(1, round(one.axes[0] * (0.3 + 0.7 * level**0.5))), one.axes[1]
        other = 1 + one.label % (len(levels) - 1) if confused > 0.95 else one.label
        seen.append(Defect(other, (x, y), axes, one.angle))
    if levels[1:].max(initial=0.0) > 0 and rng.random() > 0.9:
        seen.append(_defect(int(rng.integers(1, len(levels))), rng))
    return seen


def evaluate(
    name: str,
    shown: Sequence[Tile],
    predictions: Sequence[Labels],
    simulation: Simulation,
    *,
    split: str,
    trial: TrialRecord,
    seed: int | None = None,
    fold: int | None = None,
) -> Evaluation:
    """Count predictions of a split's images as a scored model's."""
    classes = len(simulation.classes)
    counted = [
        _cells(tile.truth, seen, classes) for tile, seen in zip(shown, predictions, strict=True)
    ]
    right = [int(cells[cells[:, 0] == cells[:, 1], 2].sum()) for cells in counted]
    truths = [tile.truth for tile in shown]
    return Evaluation(
        name=name,
        split=split,
        resolution="native",
        classes=simulation.classes,
        images=tuple(tile.name for tile in shown),
        groups=tuple(tile.group for tile in shown),
        sizes=np.tile(np.array([HEIGHT, WIDTH], np.int64), (len(shown), 1)),
        cells=_numbered(counted),
        true_probability=0.98 * np.array(right, np.float64),
        objects=_objects(truths, predictions),
        predicted_objects=_objects(predictions, truths),
        fingerprint=FINGERPRINT,
        trial=trial.number,
        epoch=trial.best_epoch,
        seed=seed,
        fold=fold,
        created="2026-03-02T15:00:00+00:00",
    )


def _cells(truth: Labels, seen: Labels, classes: int) -> NDArray[np.int64]:
    """[m, 3] true class, predicted class, pixels."""
    pairs = np.bincount(truth.ravel().astype(np.int64) * classes + seen.ravel())
    at = np.flatnonzero(pairs)
    return np.stack([at // classes, at % classes, pairs[at]], axis=1)


def _numbered(tables: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The tables below each other, with the image's index before each row."""
    index = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    return np.concatenate([index[:, None], np.concatenate(tables)], axis=1).astype(np.int64)


def _objects(maps: Sequence[Labels], others: Sequence[Labels]) -> NDArray[np.int64]:
    """[k, 4] image, class, area and hit of every 8-connected region of a class but background."""
    rows = []
    for image, (labels, other) in enumerate(zip(maps, others, strict=True)):
        for label in np.unique(labels)[1:].tolist():
            count, regions = cv2.connectedComponents((labels == label).astype(np.uint8), None, 8)
            areas = np.bincount(regions.ravel(), minlength=count)
            hits = np.bincount(regions[other == label], minlength=count)
            rows += [(image, label, areas[i], hits[i]) for i in range(1, count)]
    return np.array(rows, np.int64).reshape(-1, 4)


def write_pictures(
    folder: Path,
    shown: Sequence[Tile],
    predictions: dict[int, tuple[Labels, ...]],
    found: Sequence[Evaluation],
) -> None:
    """Write pictures.json and the worst, median and best images of each model and class."""
    chosen = sorted({index for counts in found for index in chosen_images(counts)})
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    images = []
    for place, index in enumerate(chosen):
        stem, tile = f"pictures/{place:04d}", shown[index]
        seen = {f"trial-{number:05d}": maps[index] for number, maps in predictions.items()}
        _write(folder / f"{stem}.jpg", _photograph(tile))
        _write(folder / f"{stem}.truth.png", tile.truth)
        for model, labels in seen.items():
            _write(folder / f"{stem}.{model}.png", labels)
        images.append(
            {
                "name": tile.name,
                "group": tile.group,
                "image": f"{stem}.jpg",
                "truth": f"{stem}.truth.png",
                "predictions": {model: f"{stem}.{model}.png" for model in seen},
            }
        )
    told = {"format": 1, "split": "valid", "images": images}
    (folder / "pictures.json").write_text(json.dumps(told), encoding="utf-8")


def chosen_images(counts: Evaluation) -> set[int]:
    """Indices of the worst, median and best image of each class, of those that show it."""
    chosen: set[int] = set()
    table = counts.counts
    dice = np.array([scores.dice(rows) for rows in table])
    for label in range(1, len(counts.classes)):
        shows = np.flatnonzero(table[:, label, 0] + table[:, label, 2])
        if shows.size:
            ranked = sorted(shows.tolist(), key=lambda i: (dice[i, label], counts.images[i]))
            best = min(shows.tolist(), key=lambda i: (-dice[i, label], counts.images[i]))
            chosen |= {ranked[0], ranked[(len(ranked) - 1) // 2], best}
    return chosen


def _photograph(tile: Tile) -> Labels:
    rng = np.random.default_rng(len(tile.name) + sum(map(ord, tile.name)))
    noise = rng.normal(0, 6, (HEIGHT, WIDTH))
    return (130 + noise - 60 * (tile.truth > 0)).clip(0, 255).astype(np.uint8)


def _write(path: Path, image: Labels) -> None:
    suffix = path.suffix
    options = [cv2.IMWRITE_JPEG_QUALITY, 90] if suffix == ".jpg" else []
    _, data = cv2.imencode(suffix, image, options)
    path.write_bytes(data.tobytes())


def write_augmentation(folder: Path, rows: int = 2, samples: int = 4) -> None:
    """Write augmentation.jpg and augmentation.json: an image a row, then samples of it."""
    rng = np.random.default_rng(5)
    lines = []
    for _ in range(rows):
        image = _photograph(Tile("train/a", "a", (), _draw([_defect(1, rng)])))
        turned = [np.roll(image, int(rng.integers(-9, 9)), axis=1) for _ in range(samples)]
        lines.append(np.hstack([image, *turned]))
    _write(folder / "augmentation.jpg", np.vstack(lines))
    told: dict[str, Any] = {"rows": rows, "samples": samples, "caption": "rotation 10, flips"}
    (folder / "augmentation.json").write_text(json.dumps(told), encoding="utf-8")
