"""What a prediction gets right and wrong in one image: cells, objects, the truth's probability."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data_pipeline.datasets.labels import IGNORE
from data_pipeline.datasets.resize import Mode, restore

Labels = NDArray[np.uint8]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ImageCounts:
    """Counts of one image, as a row of :class:`results.records.evaluation.Evaluation` has them.

    Attributes:
        size: Height and width that were counted.
        cells: int64 [m, 3], rows (true class, predicted class, pixels), no pixels being 0.
        true_probability: Sum over the counted pixels of the true class's probability.
        objects: int64 [k, 3], rows (class, area, hit) of the true regions, in pixels.
        predicted_objects: int64 [k', 3], the same of the predicted ones.
    """

    size: tuple[int, int]
    cells: Ints
    true_probability: float
    objects: Ints
    predicted_objects: Ints


def decide(
    probabilities: NDArray[np.float32], truth: Labels, mode: Mode | None
) -> tuple[Labels, float]:
    """Take the argmax at the size of the truth; a class at a time, for the sake of memory.

    Args:
        probabilities: float32 [H, W, C], of the prepared image.
        truth: uint8 [h, w], class indices, 255 where not counted.
        mode: How the image was resized; None: the truth has the size of the probabilities.

    Returns:
        The predicted classes, uint8 [h, w], the lowest of equals, 255 where the truth is; and the
        sum over the counted pixels of the true class's probability.
    """
    shape = (truth.shape[0], truth.shape[1])
    predicted = np.zeros(shape, np.uint8)
    highest = np.full(shape, -1.0, np.float32)
    total = 0.0
    for label in range(probabilities.shape[2]):
        layer = probabilities[:, :, label : label + 1]
        layer = (layer if mode is None else restore(layer, shape, mode))[:, :, 0]
        better = layer > highest
        predicted[better] = label
        np.maximum(highest, layer, out=highest)
        total += float(layer[truth == label].sum(dtype=np.float64))
    predicted[truth == IGNORE] = IGNORE
    return predicted, total


def count_image(
    probabilities: NDArray[np.float32], truth: Labels, mode: Mode | None
) -> ImageCounts:
    """Count one image; the arguments are those of :func:`decide`."""
    classes = probabilities.shape[2]
    predicted, total = decide(probabilities, truth, mode)
    return ImageCounts(
        size=(truth.shape[0], truth.shape[1]),
        cells=_cells(truth, predicted, classes),
        true_probability=total,
        objects=_regions(truth, predicted, classes),
        predicted_objects=_regions(predicted, truth, classes),
    )


def _cells(truth: Labels, predicted: Labels, classes: int) -> Ints:
    counted = truth < classes
    pairs = truth[counted].astype(np.int64) * classes + predicted[counted]
    pixels = np.bincount(pairs, minlength=classes * classes)
    found = np.flatnonzero(pixels)
    return np.stack([found // classes, found % classes, pixels[found]], axis=1)


def _regions(labels: Labels, other: Labels, classes: int) -> Ints:
    """8-connected regions of each foreground class, int64 [k, 3]: class, area, pixels in both."""
    rows = []
    for label in np.flatnonzero(np.bincount(labels.ravel(), minlength=256)[1:classes]) + 1:
        hit = (labels == label).astype(np.uint8)
        count, regions, facts, _ = cv2.connectedComponentsWithStats(hit, connectivity=8)
        both = np.bincount(regions[other == label], minlength=count)[1:]
        area = facts[1:, cv2.CC_STAT_AREA]
        rows.append(np.stack([np.full(count - 1, label), area, both], axis=1))
    return np.concatenate([np.zeros((0, 3), np.int64), *rows]).astype(np.int64)
