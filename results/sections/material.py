"""What the report's sections are made of, read and computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from results.analysis.baseline_comparison import own_counts
from results.analysis.baselines import best_baseline
from results.records.evaluation import Evaluation, load_evaluations
from results.records.study import StudyRecord, TrialRecord
from results.style.palette import class_style
from results.tables import StudyTables, tabulate

if TYPE_CHECKING:
    from results.analysis.confirmation import Confirmation


@dataclass(frozen=True, eq=False)
class Material:
    """A study, and what derives from it.

    Attributes:
        study: The study's records.
        generated: ISO time at which the report says it was made.
    """

    study: StudyRecord
    generated: str

    @cached_property
    def tables(self) -> StudyTables:
        return tabulate(self.study)

    @cached_property
    def scored(self) -> tuple[tuple[Evaluation, ...], tuple[str, ...]]:
        """The scored models of ``evaluation/``, and what of it cannot be read."""
        return load_evaluations(self.study.path)

    @cached_property
    def confirmation(self) -> Confirmation | None:
        """What ``confirm`` found; None where it was not run."""
        from results.analysis.confirmation import load_confirmation

        return load_confirmation(self.study.path, self.study)

    @property
    def best(self) -> TrialRecord | None:
        return self.study.incumbent

    @property
    def baseline(self) -> TrialRecord | None:
        """The baseline that the incumbent is compared with; None where it is the only one."""
        found = best_baseline(self.study)
        return None if found is self.best else found

    @cached_property
    def evaluations(self) -> Mapping[str, Evaluation]:
        """Counts by image of "best" and "baseline" on the validation split, where scored."""
        found: dict[str, Evaluation] = {}
        for name, trial in (("best", self.best), ("baseline", self.baseline)):
            if trial is not None:
                evaluation, _ = own_counts(self.study, self.scored[0], trial)
                found |= {} if evaluation is None else {name: evaluation}
        return found

    @cached_property
    def swatches(self) -> Mapping[str, Mapping[str, str | None]]:
        """Of each class its name, its colour and dash in figures, and its own one in the masks."""
        given = self.study.data.get("colors")
        return class_swatches(self.study.classes, given if isinstance(given, Mapping) else {})


def class_swatches(
    classes: Sequence[str], own: Mapping[str, object]
) -> Mapping[str, Mapping[str, str | None]]:
    """Of each class its name, its colour and dash in figures, and its own one in the masks.

    Args:
        classes: Names, background first.
        own: RGB triples of the masks by name; what is none is left out.
    """
    return {
        name: {"name": name, "color": color, "dash": dash, "own": _css(own.get(name))}
        for name, (color, dash) in zip(classes, map(class_style, range(len(classes))), strict=True)
    }


def _css(color: object) -> str | None:
    """Return an RGB triple as CSS; None for anything else, which a record of data may hold."""
    if not isinstance(color, Sequence) or len(color) != 3:
        return None
    if not all(isinstance(part, int) and 0 <= part <= 255 for part in color):
        return None
    return "rgb({}, {}, {})".format(*color)
