"""Counts of one model's predictions, image by image: what ``evaluation/*.npz`` holds.

Stored once, by who has the images and the model; every score, interval, confusion matrix and list
of objects derives from it, without either. An image's confusion matrix is kept as its cells that
are not zero, so that many classes cost nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from foundation.errors import UserError
from foundation.files import whole_file
from results.records.schemas import Flips

FORMAT = 1
FOLDER = "evaluation"

Resolution = Literal["native", "prepared"]
Ints = NDArray[np.int64]

_FACTS = (
    "name",
    "split",
    "resolution",
    "classes",
    "trial",
    "epoch",
    "seed",
    "fold",
    "fingerprint",
    "flips",
    "created",
)
_BROKEN = (OSError, LookupError, TypeError, ValueError, EOFError, BadZipFile)


class EvaluationError(UserError, ValueError):
    """A file of counts that cannot be read."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one model predicted on the n images of a split.

    Attributes:
        name: The model's: "trial-00012", or a confirmation's "trial-00012-seed-1-fold-0".
        split: train, valid or test.
        resolution: native: at the images' own size. prepared: at the size of the prepared data,
            where the images themselves could not be reached.
        classes: Names of the C classes, background first.
        images: Name of each image, `<split>/<stem>`, unique.
        groups: Object photographed in each image.
        sizes: int64 [n, 2], height and width that were scored.
        cells: int64 [m, 4], a row (image, true class, predicted class, pixels) for every pair of
            classes that an image has pixels of; pixels without a label are in none.
        true_probability: float64 [n], sum over an image's counted pixels of the probability that
            the model gives to the true class.
        objects: int64 [k, 4], a row (image, class, area, hit) for every true object, an 8-connected
            region of a foreground class: its pixels, and how many of them were predicted as its
            class.
        predicted_objects: int64 [k', 4], the same for every predicted region: its pixels, and how
            many of them are truly of its class.
        fingerprint: Of the data.
        trial: Number of the trial, or of the trial whose config was trained again.
        epoch: Its best epoch, whose weights were scored.
        seed: Of the training; None: the trial's own.
        fold: Of a cross-validation; None: none.
        flips: Mirror images whose answers were averaged: none, horizontal or all.
        created: ISO time.
    """

    name: str
    split: str
    resolution: Resolution
    classes: tuple[str, ...]
    images: tuple[str, ...]
    groups: tuple[str, ...]
    sizes: Ints
    cells: Ints
    true_probability: NDArray[np.float64]
    objects: Ints
    predicted_objects: Ints
    fingerprint: str
    trial: int | None = None
    epoch: int | None = None
    seed: int | None = None
    fold: int | None = None
    flips: Flips = "none"
    created: str = ""

    @property
    def mirrored(self) -> str:
        """What the answers are averaged over, as the end of a clause; "" of no mirror images."""
        others = {"horizontal": "mirror image", "all": "three mirror images"}.get(self.flips)
        return f", answers averaged over each image and its {others}" if others else ""

    @property
    def counts(self) -> Ints:
        """int64 [n, C, 3]: true positives, false positives, false negatives of each image."""
        counts = np.zeros((len(self.images), len(self.classes), 3), np.int64)
        image, truth, predicted, pixels = self.cells.T
        right = truth == predicted
        np.add.at(counts, (image[right], truth[right], 0), pixels[right])
        np.add.at(counts, (image[~right], predicted[~right], 1), pixels[~right])
        np.add.at(counts, (image[~right], truth[~right], 2), pixels[~right])
        return counts

    @property
    def confusion(self) -> Ints:
        """int64 [C, C]: pixels of each true class (row) by predicted class (column)."""
        matrix = np.zeros((len(self.classes),) * 2, np.int64)
        _, truth, predicted, pixels = self.cells.T
        np.add.at(matrix, (truth, predicted), pixels)
        return matrix

    @property
    def pixels(self) -> Ints:
        """int64 [n]: counted pixels of each image."""
        total = np.zeros(len(self.images), np.int64)
        np.add.at(total, self.cells[:, 0], self.cells[:, 3])
        return total

    @property
    def pooled_dice(self) -> float:
        """The reference's metric: all classes pooled, the background too; for comparison alone.

        The mean over all counted pixels of the true class's probability; NaN without pixels.
        """
        total = int(self.pixels.sum())
        return float(self.true_probability.sum()) / total if total else float("nan")

    def save(self, path: Path) -> None:
        """Write it as one .npz without pickled objects, in one step.

        Raises:
            OSError: where the file cannot be written; an earlier one is then kept.
        """
        facts = {"format": FORMAT} | {name: getattr(self, name) for name in _FACTS}
        arrays: dict[str, Any] = {
            "facts": np.array(json.dumps(facts)),
            "images": np.array(self.images, np.str_),
            "groups": np.array(self.groups, np.str_),
            **{name: getattr(self, name) for name in _ARRAYS},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, durable=False) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: Path) -> Evaluation:
        """Read what ``save`` wrote.

        Raises:
            EvaluationError: for a file that is missing, damaged or of another format.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                facts = json.loads(str(file["facts"]))
                if facts.pop("format") != FORMAT:
                    raise ValueError(f"expected format {FORMAT}")
                facts["classes"] = tuple(facts["classes"])
                evaluation = cls(
                    images=tuple(map(str, file["images"])),
                    groups=tuple(map(str, file["groups"])),
                    **{name: file[name] for name in _ARRAYS},
                    **facts,
                )
            _check(evaluation)
        except _BROKEN as error:
            raise EvaluationError(f"{path}: expected the counts of a model, {error}") from None
        return evaluation


_ARRAYS = ("sizes", "cells", "true_probability", "objects", "predicted_objects")


def _check(evaluation: Evaluation) -> None:
    count, classes = len(evaluation.images), len(evaluation.classes)
    lengths = {len(evaluation.groups), len(evaluation.sizes), len(evaluation.true_probability)}
    if lengths != {count}:
        raise ValueError(f"expected {count} groups, sizes and probabilities, received {lengths}")
    for name, limits in (
        ("cells", (count, classes, classes)),
        ("objects", (count, classes)),
        ("predicted_objects", (count, classes)),
    ):
        table = getattr(evaluation, name)
        if table.ndim != 2 or table.shape[1] != 4 or (table < 0).any():
            raise ValueError(f"expected {name} of shape [rows, 4], all >= 0")
        if len(table) and (table[:, : len(limits)].max(axis=0) >= limits).any():
            raise ValueError(f"expected {name} within {count} images and {classes} classes")


def load_evaluations(study_dir: Path) -> tuple[tuple[Evaluation, ...], tuple[str, ...]]:
    """Read what a study directory's ``evaluation/`` holds.

    Returns:
        The counts of every model, by file name; and what could not be read, a sentence each.
    """
    found: list[Evaluation] = []
    problems: list[str] = []
    for path in sorted((Path(study_dir) / FOLDER).glob("*.npz")):
        try:
            found.append(Evaluation.load(path))
        except EvaluationError as error:
            problems.append(str(error))
    return tuple(found), tuple(problems)


def of_trial(
    evaluations: Sequence[Evaluation], number: int, split: str = "valid"
) -> Evaluation | None:
    """Return the counts of a trial's own model on a split; None where it was not scored."""
    for evaluation in evaluations:
        if (evaluation.trial, evaluation.split, evaluation.seed) == (number, split, None):
            return evaluation
    return None
