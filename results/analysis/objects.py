"""Defects found, missed and invented: objects by size, and images by class."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.analysis.scores import BACKGROUND
from results.records.evaluation import Evaluation

SIZES = ("small", "medium", "large")
ALL_SIZES = "all"

# COCO's areas in pixels (Lin et al., "Microsoft COCO", ECCV 2014; cocodataset.org).
_MEDIUM, _LARGE = 32**2, 96**2
_COLUMNS = ["class", "size", "objects", "found", "in_part", "missed", "predicted", "invented"]


def objects_table(evaluation: Evaluation) -> pd.DataFrame:
    """Count the objects of each foreground class, by size.

    An object is an 8-connected region of a class. Of a true one: found is at least half of its
    pixels predicted as its class, in part is less, missed is none. A predicted one is invented if
    none of its pixels is truly of its class.

    Returns:
        Four rows a class: size small (below 32 x 32 pixels, as scored), medium (below 96 x 96),
        large, and all. Columns class, size, objects (true ones: found + in_part + missed), found,
        in_part, missed, predicted (predicted ones, by their own size), invented (of them).
    """
    true, predicted = evaluation.objects, evaluation.predicted_objects
    true_size, predicted_size = _sizes(true), _sizes(predicted)
    rows = []
    for index, name in enumerate(evaluation.classes):
        if index == BACKGROUND:
            continue
        for size in (*range(len(SIZES)), None):
            objects = true[_chosen(true, true_size, index, size)]
            regions = predicted[_chosen(predicted, predicted_size, index, size)]
            label = ALL_SIZES if size is None else SIZES[size]
            rows.append((name, label, *_counted(objects), *_invented(regions)))
    return pd.DataFrame(rows, columns=_COLUMNS)


def _sizes(objects: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.digitize(objects[:, 2], [_MEDIUM, _LARGE]).astype(np.int64)


def _chosen(
    objects: NDArray[np.int64], sizes: NDArray[np.int64], index: int, size: int | None
) -> NDArray[np.bool_]:
    of_class: NDArray[np.bool_] = objects[:, 1] == index
    return of_class if size is None else of_class & (sizes == size)


def _counted(objects: NDArray[np.int64]) -> tuple[int, int, int, int]:
    area, hit = objects[:, 2], objects[:, 3]
    found, missed = int((2 * hit >= area).sum()), int((hit == 0).sum())
    return len(objects), found, len(objects) - found - missed, missed


def _invented(regions: NDArray[np.int64]) -> tuple[int, int]:
    return len(regions), int((regions[:, 3] == 0).sum())


def images_table(evaluation: Evaluation) -> pd.DataFrame:
    """Count the images of each foreground class, whatever the number of pixels.

    Returns:
        One row a class. Columns class, shown (images that show it in truth: found + missed), found
        (the class was predicted in it at all), hit (in at least one of its true pixels), missed,
        invented (predicted where the image does not show it), clean (neither).
    """
    true, predicted = _shown(evaluation)
    hit = evaluation.counts[..., 0] > 0
    table = pd.DataFrame(
        {
            "class": list(evaluation.classes),
            "shown": true.sum(axis=0),
            "found": (true & predicted).sum(axis=0),
            "hit": hit.sum(axis=0),
            "missed": (true & ~predicted).sum(axis=0),
            "invented": (~true & predicted).sum(axis=0),
            "clean": (~true & ~predicted).sum(axis=0),
        }
    )
    return table.drop(index=BACKGROUND).reset_index(drop=True)


def image_confusion(evaluation: Evaluation) -> pd.DataFrame:
    """Tell in how many of the images that show a class another one was predicted at all.

    Returns:
        One row for each pair of classes, background included. Columns class (in truth), predicted,
        shown (images that show the class in truth), images (of them, in which the other one was
        predicted somewhere), share (images / shown, 0..1; NaN where no image shows it).
    """
    true, predicted = _shown(evaluation)
    both = true.astype(np.int64).T @ predicted.astype(np.int64)
    shown = np.repeat(true.sum(axis=0), len(evaluation.classes))
    names = list(evaluation.classes)
    share = np.full(both.size, np.nan)
    np.divide(both.ravel(), shown, out=share, where=shown > 0)
    return pd.DataFrame(
        {
            "class": np.repeat(np.array(names, dtype=object), len(names)),
            "predicted": names * len(names),
            "shown": shown,
            "images": both.ravel(),
            "share": share,
        }
    )


def _shown(evaluation: Evaluation) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """[n, C] whether an image shows a class in truth, and in prediction."""
    counts = evaluation.counts
    true: NDArray[np.bool_] = counts[..., 0] + counts[..., 2] > 0
    predicted: NDArray[np.bool_] = counts[..., 0] + counts[..., 1] > 0
    return true, predicted
