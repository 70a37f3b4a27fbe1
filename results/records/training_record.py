"""Reads the folder of a training, as ``train`` writes it, into plain frozen records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from results.records import file_names
from results.records.curves import Curve, curve_of
from results.records.epochs import METRICS, read_lines
from results.records.study import RecordError

RECORD = file_names.TRAINING

Floats = NDArray[np.float64]
Rgb = tuple[int, int, int]


class TrainingRecordError(RecordError):
    """The folder of a training that cannot be read; lists what is wrong."""

    def __init__(self, path: Path, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = [f"  - {problem}" for problem in problems]
        ValueError.__init__(self, "\n".join([f"cannot read the training in {path}:", *lines]))


@dataclass(frozen=True, eq=False)
class TrainingRecord:
    """A training as its folder tells it.

    Attributes:
        path: The folder.
        classes: Names of the C classes, background first.
        colors: Their RGB colours in masks.
        final: Whether it is trained on the validation images too, and nothing is validated.
        epochs: How many it may take.
        objective: What the best epoch is chosen by.
        config: The whole config.
        versions: Of the packages that it was last begun with.
        curve: Its epochs.
    """

    path: Path
    classes: tuple[str, ...]
    colors: tuple[Rgb, ...]
    final: bool
    epochs: int
    objective: str
    config: Mapping[str, Any]
    versions: Mapping[str, str]
    curve: Curve

    @cached_property
    def best_row(self) -> int | None:
        """Row of the epoch that the model is of; None before there is one."""
        if self.final:
            return len(self.curve) - 1 if len(self.curve) else None
        finite = np.flatnonzero(np.isfinite(self.curve.objective))
        if not finite.size:
            return None
        return int(finite[np.argmax(self.curve.objective[finite])])

    @cached_property
    def iou(self) -> Floats:
        """Intersection over union, [E, C] in 0..1; NaN where undefined or not counted."""
        counts = self.curve.counts
        unions = counts.sum(axis=2)
        overlaps: Floats = np.full(unions.shape, np.nan)
        np.divide(counts[..., 0], unions, out=overlaps, where=unions > 0)
        return overlaps


def load_training(folder: Path | str) -> TrainingRecord:
    """Read a training's folder, finished or running.

    Raises:
        TrainingRecordError: listing what is missing or wrong.
    """
    path = Path(folder)
    told = _told(path)
    classes = tuple(map(str, told["classes"]))
    colors = tuple((int(r), int(g), int(b)) for r, g, b in told["classes"].values())
    config = told["config"]
    planned = (config.get("train") or {}).get("epochs", 0)
    return TrainingRecord(
        path=path,
        classes=classes,
        colors=colors,
        final=told.get("final") is True,
        epochs=int(told.get("epochs", planned)),
        objective=str((config.get("search") or {}).get("objective", "mean_foreground_dice")),
        config=config,
        versions=told.get("versions") or {},
        curve=_curve(path, classes),
    )


def _told(path: Path) -> dict[str, Any]:
    try:
        told = yaml.safe_load((path / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrainingRecordError(path, [f"{RECORD}: not found"]) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise TrainingRecordError(path, [f"{RECORD}: cannot be read: {error}"]) from None
    needed = ("config", "classes")
    if not isinstance(told, dict) or not all(isinstance(told.get(n), dict) for n in needed):
        raise TrainingRecordError(path, [f"{RECORD}: expected the fields {', '.join(needed)}"])
    wrong = [n for n, color in told["classes"].items() if not _is_color(color)]
    if wrong:
        raise TrainingRecordError(path, [f"{RECORD}: classes: expected [r, g, b] for {wrong}"])
    return told


def _is_color(color: object) -> bool:
    return (
        isinstance(color, list)
        and len(color) == 3
        and all(isinstance(part, int) and 0 <= part <= 255 for part in color)
    )


def _curve(path: Path, classes: Sequence[str]) -> Curve:
    problems: list[str] = []
    try:
        content = (path / METRICS).read_bytes()
    except FileNotFoundError:
        content = b""
    epochs = read_lines(
        content, lambda problem, number: problems.append(f"{METRICS}, line {number}: {problem}")
    )
    if problems:
        raise TrainingRecordError(path, problems)
    return curve_of(epochs, classes)
