"""Which images of a scored model are worth a look, and which classes it takes for another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from results.analysis import scores
from results.records.evaluation import Evaluation
from results.style.words import listed

WORST, MEDIAN, BEST = "worst", "median", "best"


def image_scores(evaluation: Evaluation) -> pd.DataFrame:
    """Dice of every image: index image; columns group, mean (foreground), then the C classes' Dice.

    The classes' columns are numbered 0..C-1, for a class may have any name; NaN where undefined.
    """
    values = np.stack([scores.dice(rows) for rows in evaluation.counts])
    table = pd.DataFrame(values, index=pd.Index(evaluation.images, name="image"))
    table.insert(0, "mean", [scores.mean_foreground(row) for row in values])
    table.insert(0, "group", list(evaluation.groups))
    return table


def chosen_images(evaluation: Evaluation) -> pd.DataFrame:
    """Return the worst, the median (the lower of two) and the best image of each foreground class.

    By the image's Dice of the class, among the images that show it in truth; of equals the first
    by name.

    Returns:
        Columns class, place ("worst", "median", "best"; with one or two images joined: "worst and
        median"), image, group, dice, mean (foreground Dice of the image), images (that show the
        class in truth); by class and place. A class that no image shows has no row.
    """
    table, counts = image_scores(evaluation), evaluation.counts
    rows: list[dict[str, Any]] = []
    for label in range(scores.BACKGROUND + 1, len(evaluation.classes)):
        there = np.flatnonzero(counts[:, label, 0] + counts[:, label, 2])
        for image, places in _three(table[label].iloc[there]).items():
            row: dict[str, Any] = {"class": evaluation.classes[label]}
            row |= {"place": listed(places)}
            row |= {"image": image, "group": table.at[image, "group"]}
            row |= {"dice": table.at[image, label], "mean": table.at[image, "mean"]}
            rows.append(row | {"images": len(there)})
    columns = ["class", "place", "image", "group", "dice", "mean", "images"]
    return pd.DataFrame(rows, columns=columns)


def _three(dice: pd.Series) -> dict[str, list[str]]:
    """Name the places of the chosen of a class's images."""
    if dice.empty:
        return {}
    ordered = sorted((float(value), str(name)) for name, value in dice.items())
    best = min(ordered, key=lambda pair: (-pair[0], pair[1]))
    chosen: dict[str, list[str]] = {}
    for place, (_, name) in (
        (WORST, ordered[0]),
        (MEDIAN, ordered[(len(ordered) - 1) // 2]),
        (BEST, best),
    ):
        chosen.setdefault(name, []).append(place)
    return chosen


def error_pixels(evaluation: Evaluation) -> pd.DataFrame:
    """Wrong pixels of every image: index image, columns missed, invented, confused, true.

    Missed: of a foreground class, predicted as background. Invented: background, predicted as a
    class. Confused: of a class, predicted as another. True: of any foreground class.
    """
    image, truth, predicted, pixels = evaluation.cells.T
    true, found = truth > scores.BACKGROUND, predicted > scores.BACKGROUND
    kinds = {
        "missed": true & ~found,
        "invented": found & ~true,
        "confused": true & found & (truth != predicted),
        "true": true,
    }
    count = len(evaluation.images)
    columns = {
        name: np.bincount(image[mask], weights=pixels[mask], minlength=count).astype(np.int64)
        for name, mask in kinds.items()
    }
    return pd.DataFrame(columns, index=pd.Index(evaluation.images, name="image"))


def confusion_table(evaluation: Evaluation) -> pd.DataFrame:
    """Return pixels of each true class by predicted class.

    Returns:
        Columns true, predicted, pixels, share (of the true class's pixels, 0..1; NaN without one);
        every pair of classes, in their order.
    """
    matrix = evaluation.confusion
    total = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, total, out=np.full(matrix.shape, np.nan), where=total > 0)
    names = list(evaluation.classes)
    return pd.DataFrame(
        {
            "true": np.repeat(names, len(names)),
            "predicted": names * len(names),
            "pixels": matrix.ravel(),
            "share": shares.ravel(),
        }
    )
