"""Reads the epochs of a trial, its metrics.jsonl, into arrays.

A large study has some 500,000 lines. msgspec decodes them as they should be, three times as fast
as pydantic; a file that holds anything else is read again line by line with pydantic, which takes
more (NaN and infinity, which are no JSON) and says what is wrong where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from results.records.schemas import EpochLine

Floats = NDArray[np.float64]
Told = Callable[[ValidationError, int], None]


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

    def __len__(self) -> int:
        return len(self.epoch)


# The structs are schemas.EpochLine and its parts again, for msgspec; a test holds them together.
class _Seconds(msgspec.Struct, frozen=True, gc=False):
    train: float | None = None
    validate: float | None = None
    total: float | None = None
    input: float | None = None


class _Worker(msgspec.Struct, frozen=True, gc=False):
    host: str
    pid: int


class Line(msgspec.Struct, frozen=True, gc=False):
    """A line of metrics.jsonl, one epoch: see :class:`results.records.schemas.EpochLine`."""

    epoch: Annotated[int, msgspec.Meta(ge=1)]
    dice: dict[str, float | None]
    train_loss: float | None = None
    validation_loss: float | None = None
    learning_rate: float | None = None
    objective: float | None = None
    pruning_value: float | None = None
    mean_foreground_dice: float | None = None
    pooled_dice: float | None = None
    soft_dice: dict[str, float | None] = {}
    counts: dict[str, tuple[float, float, float]] = {}
    seconds: _Seconds = _Seconds()
    images_per_second: float | None = None
    time: datetime | None = None
    worker: _Worker | None = None


_DECODER = msgspec.json.Decoder(Line)
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


def parse_lines(content: bytes, told: Told) -> list[Line]:
    """Read the contents of a metrics.jsonl.

    Args:
        content: Its bytes. A last line that is no JSON is left out: it may be in the making, or
            have been when the machine went down.
        told: Called with what is wrong with another line, and the line's number from 1.

    Returns:
        The lines that are right, in the file's order.
    """
    try:
        return _DECODER.decode_lines(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _parse_one_by_one(content, told)


def _parse_one_by_one(content: bytes, told: Told) -> list[Line]:
    lines = [line for line in content.split(b"\n") if line.strip()]
    parsed = []
    for number, text in enumerate(lines, start=1):
        try:
            line = EpochLine.model_validate_json(text)
        except ValidationError as error:
            torn = error.errors()[0]["type"] == "json_invalid"
            if not (torn and number == len(lines)):
                told(error, number)
        else:
            parsed.append(msgspec.convert(line.model_dump(by_alias=True), Line))
    return parsed


def unknown_classes(lines: Sequence[Line], classes: Sequence[str]) -> set[str]:
    """The names of classes in lines that are none of ``classes``."""
    known = set(classes)
    return {name for line in lines if not line.dice.keys() <= known for name in line.dice} - known


def curve_of(lines: Sequence[Line], classes: Sequence[str]) -> Curve:
    """Return lines as columns by epoch; of an epoch trained twice the later line stands."""
    rows = _in_order(lines)
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
        **dict(zip(_NUMBERS, np.ascontiguousarray(numbers.T), strict=True)),
    )


def _in_order(lines: Sequence[Line]) -> Sequence[Line]:
    latest = {line.epoch: line for line in lines}
    epochs = sorted(latest)
    in_order = [line.epoch for line in lines] == epochs
    return lines if in_order else [latest[epoch] for epoch in epochs]


def _names(workers: Sequence[_Worker | None]) -> tuple[str, ...]:
    names = {one: f"{one.host}/{one.pid}" if one else "" for one in set(workers)}
    return tuple([names[worker] for worker in workers])


def _picked(
    tables: Sequence[Mapping[str, Any]], names: Sequence[str], absent: Any
) -> list[Sequence[Any]]:
    """The values of ``names`` in each table, ``absent`` where one has none."""
    pick = itemgetter(*names)
    try:
        # Of a single name the getter gives the value itself.
        return [pick(table) if len(names) > 1 else (pick(table),) for table in tables]
    except KeyError:
        return [[table.get(name, absent) for name in names] for table in tables]


def _floats(values: Sequence[Any]) -> Floats:
    # NumPy reads None as NaN when the type is given.
    return np.array(values, dtype=np.float64)
