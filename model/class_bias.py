"""A bias per class, fitted so that the argmax decides for Dice rather than for the likely class.

The class of highest probability minimises errors of pixels; the mask of highest Dice needs other
thresholds, above all for rare classes and after training with class weights (Lipton, Elkan and
Naryanaswamy, "Optimal Thresholding of Classifiers to Maximize F1 Measure" (2014),
https://arxiv.org/abs/1402.1892). A bias that is added to a class' logit is such a threshold, and
is part of the model's last layer: no format of it changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

LARGEST = 3.0  # a factor of 20 on a class' odds
_STEP = 0.25
_GRID = np.arange(-LARGEST, LARGEST + _STEP / 2, _STEP)
_PASSES = 3
_SMALLEST_GAIN = 1e-4  # of the mean Dice, below which a bias is left as it is
_MOST_PIXELS = 500_000
_LEAST_PROBABILITY = 1e-7

Floats = NDArray[np.float64]


class Predictions:
    """Predicted and true classes of some images, as far as a bias could change them.

    All pixels of a foreground class are kept, and those of the background where one is not far
    behind. Beyond half a million every second one is dropped, and so on, the others counting for
    it.

    Args:
        num_classes: C, the background included.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self._stride = 1
        self._logs = np.empty((0, num_classes), np.float32)
        self._labels = np.empty(0, np.uint8)

    def add(self, mask: NDArray[np.uint8], probabilities: NDArray[np.float32]) -> None:
        """Take an image.

        Args:
            mask: uint8 [H, W]; labels from C on (255) are not counted.
            probabilities: float32 [H, W, C].
        """
        labels = mask.reshape(-1)
        logs = np.log(np.maximum(probabilities.reshape(-1, self.num_classes), _LEAST_PROBABILITY))
        near = logs[:, 1:].max(axis=1) + LARGEST > logs[:, 0]
        rows = np.flatnonzero((labels < self.num_classes) & ((labels > 0) | near))
        rows = rows[:: self._stride]
        self._logs = np.concatenate([self._logs, logs[rows]])
        self._labels = np.concatenate([self._labels, labels[rows]])
        while len(self._labels) > _MOST_PIXELS:
            self._stride *= 2
            self._logs, self._labels = self._logs[::2], self._labels[::2]

    def pixels(self) -> Floats:
        """Pixels of each true class among those that are kept, [C]."""
        counts = np.bincount(self._labels, minlength=self.num_classes)
        return self._stride * counts.astype(float)

    def confusion(self, bias: Floats) -> Floats:
        """Count (true class, predicted class) with a bias, [C, C]."""
        pairs = self._labels * np.int64(self.num_classes)
        pairs += (self._logs + bias.astype(np.float32)).argmax(axis=1)
        counts = np.bincount(pairs, minlength=self.num_classes**2).astype(float)
        return self._stride * counts.reshape(self.num_classes, self.num_classes)

    def confusions(self, bias: Floats, label: int) -> Floats:
        """Count (true class, predicted class) for each bias of the grid for a class, [G, C, C].

        The class takes a pixel from the first bias on that lifts it above the others' best.
        """
        others = self._logs + bias.astype(np.float32)
        others[:, label] = -np.inf
        second = others.argmax(axis=1)
        needed = others[np.arange(len(others)), second] - self._logs[:, label]
        place = np.searchsorted(_GRID, needed, side="right")  # G: the class never takes it
        cells = (len(_GRID) + 1) * self.num_classes**2
        index = (place * self.num_classes + self._labels) * self.num_classes + second
        first = np.bincount(index, minlength=cells).astype(float)
        first = first.reshape(-1, self.num_classes, self.num_classes)
        taken = np.cumsum(first, axis=0)[:-1]
        confusion: Floats = first.sum(axis=0)[np.newaxis] - taken
        confusion[:, :, label] += taken.sum(axis=2)
        return self._stride * confusion


def fit_bias(parts: Sequence[Predictions]) -> Floats:
    """Return the bias of each class that gives the highest mean Dice of the foreground.

    Found class by class, three times over, on a grid of quarters from -3 to 3; of equals the
    smallest. The background's is 0, and so is that of a class that no mask shows: nothing tells
    what it should be.

    Returns:
        float64 [C].
    """
    shown = _shown(parts)
    bias = np.zeros(parts[0].num_classes)
    best = float(_mean_dice(sum(part.confusion(bias) for part in parts), shown))
    for _ in range(_PASSES):
        before = bias.copy()
        for label in shown:
            values = _mean_dice(sum(part.confusions(bias, label) for part in parts), shown)
            equals = np.flatnonzero(values >= values.max() - 1e-12)
            place = min(equals, key=lambda index: abs(_GRID[index]))
            if values[place] > best + _SMALLEST_GAIN:
                best, bias[label] = float(values[place]), _GRID[place]
        if (bias == before).all():
            break
    return bias


@dataclass(frozen=True)
class BiasGain:
    """Mean foreground Dice without a bias and with it.

    Attributes:
        without: As the model is.
        fitted: On the very images that the bias was fitted to: flattering.
        held_out: On each part of the images with the bias that was fitted to the others.

    All NaN where no mask shows a foreground class.
    """

    without: float
    fitted: float
    held_out: float


def gain_of(parts: Sequence[Predictions], bias: Floats) -> BiasGain:
    """Measure what a bias brings, also on images that it was not fitted to.

    Args:
        parts: No object in two of them. Of a single one ``held_out`` is ``fitted``.
        bias: Fitted to all of them.
    """
    shown = _shown(parts)
    none = np.zeros_like(bias)
    apart = [fit_bias([p for p in parts if p is not part]) for part in parts if len(parts) > 1]
    without, fitted, held_out = (
        float(_mean_dice(sum(p.confusion(b) for p, b in zip(parts, each, strict=True)), shown))
        for each in ([none] * len(parts), [bias] * len(parts), apart or [bias])
    )
    return BiasGain(without, fitted, held_out)


def _shown(parts: Sequence[Predictions]) -> NDArray[np.int64]:
    """Return the foreground classes that a mask shows."""
    pixels = np.sum([part.pixels() for part in parts], axis=0)
    return np.flatnonzero(pixels[1:]) + 1


def _mean_dice(confusion: Floats | int, shown: NDArray[np.int64]) -> Floats:
    """Return the mean Dice of the classes that are shown, of each of [..., C, C]."""
    counts = np.asarray(confusion)
    if not len(shown):
        return np.full(counts.shape[:-2], np.nan)
    both = counts[..., shown, shown]
    sums = counts.sum(axis=-2)[..., shown] + counts.sum(axis=-1)[..., shown]
    mean: Floats = (2 * both / np.maximum(sums, 1)).mean(axis=-1)
    return mean


def add_bias(model: keras.Model, bias: Floats) -> None:
    """Add a bias to a model's last layer, in place.

    Args:
        model: Whose layer ``probabilities`` is a softmax, or a sigmoid of the class 1.
        bias: float64 [C].
    """
    variable = model.get_layer("probabilities").bias
    shift = bias if variable.shape[0] > 1 else bias[1:] - bias[0]
    variable.assign(variable.numpy() + shift)
