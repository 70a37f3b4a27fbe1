"""A study for notebooks and scripts: its tables as pandas, its figures as plotly."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from results.exports.choice import chosen, exported_config
from results.figures.drawing import Drawing
from results.pages.report import report_tables
from results.records import study as records
from results.records.study import StudyRecord, TrialRecord
from results.sections import SECTIONS, Material

# Keys of a section's values that say nothing of what is drawn.
_UNSPOKEN = {"drawing", "figure", "parts"}


class Study:
    """A study, finished or still running, as its report shows it.

    Args:
        record: What its directory says.

    Attributes:
        record: The same: its config, classes and trials with all their epochs.
    """

    def __init__(self, record: StudyRecord) -> None:
        self.record = record
        self._material = Material(record, datetime.now(UTC).isoformat(timespec="seconds"))

    @cached_property
    def tables(self) -> Mapping[str, pd.DataFrame]:
        """The report's tables by name, such as "trials", "class_scores" and "epochs"."""
        return report_tables(self._material)

    @cached_property
    def figures(self) -> Mapping[str, Any]:
        """The report's figures by section and name, as plotly figures, which notebooks show.

        Such as "search curves" and "classes map"; of several alike the second has a 2 behind its
        name. A figure of nothing is left out.
        """
        found: dict[str, Any] = {}
        for section in SECTIONS:
            for path, drawing in _drawings(section.build(self._material)):
                name = " ".join([section.name, *path])
                alike = sum(other.startswith(name) for other in found)
                found[f"{name} {alike + 1}" if alike else name] = drawing.figure
        return found

    @property
    def best(self) -> TrialRecord | None:
        """The COMPLETE trial of the highest value; None without one."""
        return self.record.incumbent

    def __repr__(self) -> str:
        best = "none yet" if self.best is None else f"trial {self.best.number}, {self.best.value}"
        return f"<Study {self.record.name!r}: {len(self.record.trials)} trials, best {best}>"


def load_study(path: Path | str) -> Study:
    """Read a study directory.

    Raises:
        RecordError: listing everything in it that cannot be read.
    """
    return Study(records.load_study(path))


def best_config(study: Study, trial: int | None = None) -> dict[str, Any]:
    """Return the config that ``export`` writes to best.yaml: constants, and where they come from.

    Args:
        study: The study. Of one that was confirmed, it is the config that confirmed best.
        trial: Number of a trial whose config is wanted instead.

    Raises:
        ExportError: where there is no such trial, or none is COMPLETE with a value.
    """
    return exported_config(study.record, chosen(study.record, trial))


def _drawings(values: object, path: tuple[str, ...] = ()) -> Iterator[tuple[list[str], Drawing]]:
    """Yield each drawing among the values of a section, with the names that lead to it."""
    if isinstance(values, Drawing):
        if values.figure is not None:
            yield list(dict.fromkeys(path)), values
    elif isinstance(values, Mapping):
        # What stands beside a drawing names it, where its own key does not.
        named = [str(values[key]) for key in ("name", "title") if isinstance(values.get(key), str)]
        for key, value in values.items():
            spoken = re.sub("[_-]+", " ", str(key))
            yield from _drawings(value, (*path, *(named[:1] if key in _UNSPOKEN else [spoken])))
    elif isinstance(values, Sequence) and not isinstance(values, str | bytes):
        for value in values:
            yield from _drawings(value, path)
