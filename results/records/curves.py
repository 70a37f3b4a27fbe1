"""The epochs of a trial as arrays, one row an epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.records.epochs import Epoch, Worker, in_order

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curve:
    """What a trial's epochs measured, one row an epoch, in order; NaN where not measured.

    Attributes:
        epoch: [E] int64, 1-based.
        train_loss, validation_loss, learning_rate: [E].
        objective: [E] what the study maximises.
        pruning_value: [E] what the pruner saw.
        mean_foreground_dice, pooled_dice: [E] in 0..1.
        dice, soft_dice: [E, C] in 0..1, columns in the order of the study's classes.
        counts: [E, C, 3] true positives, false positives and false negatives in pixels.
        train_seconds, validate_seconds, total_seconds: [E].
        input_seconds: [E] of those of training, spent waiting for images.
        images_per_second: [E] training images.
        ended: [E] seconds since 1970.
        workers: E names of the processes that trained, "host/pid"; "" where not recorded.
        fold: [E] int64, 0 without folds.
        fold_objective: [E] the objective of the fold alone.
        fold_done: [E] whether it was the fold's last epoch.
    """

    epoch: NDArray[np.int64]
    train_loss: Floats
    validation_loss: Floats
    learning_rate: Floats
    objective: Floats
    pruning_value: Floats
    mean_foreground_dice: Floats
    pooled_dice: Floats
    dice: Floats
    soft_dice: Floats
    counts: Floats
    train_seconds: Floats
    validate_seconds: Floats
    total_seconds: Floats
    input_seconds: Floats
    images_per_second: Floats
    ended: Floats
    workers: tuple[str, ...]
    fold: NDArray[np.int64]
    fold_objective: Floats
    fold_done: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.epoch)

    def telling(self) -> NDArray[np.bool_]:
        """Return which epochs tell what the trial is worth: see ``epochs.best_of``."""
        finished = self.fold[self.fold_done].max(initial=0)
        rows: NDArray[np.bool_] = self.fold == finished
        return rows

    def fold_values(self) -> list[float]:
        """Return the objective of each finished fold alone, at its best epoch; [] without folds."""
        values = []
        for fold in self.fold[self.fold_done]:
            rows = np.flatnonzero((self.fold == fold) & np.isfinite(self.objective))
            if len(rows):
                values.append(float(self.fold_objective[rows[np.argmax(self.objective[rows])]]))
        return values


# Columns of numbers, by where a line has them.
_NUMBERS = {
    "train_loss": "train_loss",
    "validation_loss": "validation_loss",
    "learning_rate": "learning_rate",
    "objective": "objective",
    "pruning_value": "pruning_value",
    "mean_foreground_dice": "mean_foreground_dice",
    "pooled_dice": "pooled_dice",
    "train_seconds": "seconds.train",
    "validate_seconds": "seconds.validate",
    "total_seconds": "seconds.total",
    "input_seconds": "seconds.input",
    "images_per_second": "images_per_second",
}
_numbers_of = attrgetter(*_NUMBERS.values())
_flat = chain.from_iterable
_NOT_COUNTED = (np.nan, np.nan, np.nan)


def unknown_classes(epochs: Sequence[Epoch], classes: Sequence[str]) -> set[str]:
    """Return the names of classes in epochs that are none of ``classes``."""
    known = set(classes)
    return {name for each in epochs if not each.dice.keys() <= known for name in each.dice} - known


def curve_of(epochs: Sequence[Epoch], classes: Sequence[str]) -> Curve:
    """Return epochs as columns; of an epoch trained twice the later line counts."""
    rows = in_order(epochs)
    shape = (len(rows), len(classes))
    counts = _picked([row.counts for row in rows], classes, _NOT_COUNTED)
    numbers = _floats([_numbers_of(row) for row in rows]).reshape(len(rows), len(_NUMBERS))
    return Curve(
        epoch=np.array([row.epoch for row in rows], dtype=np.int64),
        dice=_floats(_picked([row.dice for row in rows], classes, None)).reshape(shape),
        soft_dice=_floats(_picked([row.soft_dice for row in rows], classes, None)).reshape(shape),
        counts=np.fromiter(_flat(_flat(counts)), np.float64).reshape(*shape, 3),
        ended=_floats([None if row.time is None else row.time.timestamp() for row in rows]),
        workers=_names([row.worker for row in rows]),
        fold=np.array([row.fold or 0 for row in rows], dtype=np.int64),
        fold_done=np.array([row.fold_done for row in rows], dtype=np.bool_),
        fold_objective=_floats([row.fold_objective for row in rows]),
        **dict(zip(_NUMBERS, np.ascontiguousarray(numbers.T), strict=True)),
    )


def _names(workers: Sequence[Worker | None]) -> tuple[str, ...]:
    names = {one: f"{one.host}/{one.pid}" if one else "" for one in set(workers)}
    return tuple([names[worker] for worker in workers])


def _picked(
    tables: Sequence[Mapping[str, Any]], names: Sequence[str], absent: Any
) -> list[Sequence[Any]]:
    """Return the values of ``names`` in each table, ``absent`` where one has none."""
    pick = itemgetter(*names)
    try:
        # Of a single name the getter gives the value itself.
        return [pick(table) if len(names) > 1 else (pick(table),) for table in tables]
    except KeyError:
        return [[table.get(name, absent) for name in names] for table in tables]


def _floats(values: Sequence[Any]) -> Floats:
    # NumPy reads None as NaN when the type is given.
    return np.array(values, dtype=np.float64)
