"""Several studies on one page: what each found, how fast, and whether they can be compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from foundation.files import write_text
from results.analysis.confirmation import Confirmation
from results.figures.comparison import (
    OVER,
    differences_figure,
    histories_figure,
    incumbents_figure,
)
from results.pages.page import render
from results.records.searched import searched_fields
from results.records.study import RecordError, StudyRecord, load_study
from results.sections.material import Material
from results.style.words import NONE, count, number, time_text, value_text
from results.tables import comparison

COMPARISON_NAME = "comparison.html"


@dataclass(frozen=True, eq=False)
class Compared:
    """Studies by label, and what derives from each."""

    materials: Mapping[str, Material]

    @property
    def studies(self) -> dict[str, StudyRecord]:
        return {label: material.study for label, material in self.materials.items()}

    @property
    def scored(self) -> dict[str, Sequence[Any]]:
        return {label: material.scored[0] for label, material in self.materials.items()}


def write_comparison(study_dirs: Sequence[Path | str], target: Path | str) -> Path:
    """Write a page that compares studies, the first one being what the others are compared with.

    Args:
        study_dirs: Two study directories or more.
        target: The HTML file; replaced in one step.

    Returns:
        ``target``.

    Raises:
        RecordError: for directories that cannot be read as studies; lists every problem of each.
        ValueError: for fewer than two studies, or one that is given twice.
        OSError: where the page cannot be written.
    """
    paths = [Path(path) for path in study_dirs]
    if len(paths) < 2:
        raise ValueError(f"expected two studies or more to compare, received {len(paths)}")
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, render_comparison(_load(paths)), durable=False)
    return target


def _load(paths: Sequence[Path]) -> list[StudyRecord]:
    studies, problems = [], []
    places = [path.resolve() for path in paths]
    for path, place in zip(paths, places, strict=True):
        if places.count(place) > 1:
            problems.append(f"{path}: expected each study once")
            continue
        try:
            studies.append(load_study(path))
        except RecordError as error:
            problems += [f"{path}: {problem}" for problem in error.problems]
    if problems:
        raise RecordError(paths[0].parent, list(dict.fromkeys(problems)))
    return studies


def render_comparison(studies: Sequence[StudyRecord], generated: datetime | None = None) -> str:
    """Render the page's HTML.

    Args:
        studies: Two or more.
        generated: The time it says it was made; now by default.
    """
    made = (generated or datetime.now(UTC)).isoformat()
    names = comparison.labels(studies)
    compared = Compared(
        {name: Material(study, made) for name, study in zip(names, studies, strict=True)}
    )
    differences, reasons = comparison.differences_table(compared.studies, compared.scored)
    incumbents = comparison.incumbents_table(compared.studies, compared.scored)
    warnings = comparison.split_warnings(compared.studies, compared.scored)
    drawing = incumbents_figure(incumbents, names)
    if warnings:  # the highest of scores on different images is no winner
        drawing = replace(drawing, says="These scores are of different images or aims: see above.")
    return render(
        "comparison.html.j2",
        {
            "names": names,
            "generated": time_text(made),
            "studies": [{"name": n, "facts": _facts(s)} for n, s in compared.studies.items()],
            "warnings": warnings,
            "incumbents": drawing,
            "class_table": _class_table(incumbents, names, mark=not warnings),
            "differences": differences_figure(differences, names[0]),
            "reasons": reasons,
            "confirmed": _confirmed(compared.materials),
            "unread": _unread(compared.materials),
            "histories": _histories(compared.materials),
            "configs": _configs(compared.studies),
            "parameters": _parameters(compared.studies),
            "data": _data(compared.studies),
        },
    )


def _facts(study: StudyRecord) -> str:
    best = study.incumbent
    value = "no value yet" if best is None else f"{number(best.value)} (trial {best.number})"
    return f"{count(len(study.trials), 'trial')}, {value}"


def _histories(materials: Mapping[str, Material]) -> dict[str, Any]:
    tables = {
        name: comparison.progress_table(material.study, material.tables.trials)
        for name, material in materials.items()
    }
    return {over: histories_figure(tables, over) for over in OVER}


def _class_table(table: pd.DataFrame, names: Sequence[str], mark: bool) -> dict[str, Any]:
    """Dice and intervals by class; ``mark``: whether the highest of a row stands out."""
    rows = []
    for kind, name in _mean_first(table):
        chosen = (table["kind"] == kind) & (table["class"] == name)
        cells = table[chosen].set_index("study")
        best = cells["dice"].max()
        row: list[dict[str, Any]] = [{"text": name}]
        row += [
            _interval_cell(cells.loc[study], strong=mark and bool(cells.loc[study, "dice"] == best))
            if study in cells.index
            else {"text": NONE, "num": True}
            for study in names
        ]
        rows.append(row)
    return {"heads": _heads("Class", names), "rows": rows}


def _mean_first(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Kind and name of each row: the mean first, the background last, as everywhere."""
    pairs = list(dict.fromkeys(zip(table["kind"], table["class"], strict=True)))
    background = next((pair for pair in pairs if pair[0] == "class"), None)
    return sorted(pairs, key=lambda pair: (pair[0] == "class", pair == background))


def _heads(first: str, names: Sequence[str], numeric: bool = True) -> list[dict[str, Any]]:
    return [{"text": first}, *({"text": name, "num": numeric} for name in names)]


def _interval_cell(row: Any, strong: bool) -> dict[str, Any]:
    text = number(row["dice"])
    if not math.isnan(row["low"]):
        text += f" ({row['low']:.2f}–{row['high']:.2f})"
    return {"text": text, "num": True, "strong": strong}


def _confirmed(materials: Mapping[str, Material]) -> dict[str, Any] | None:
    rows = []
    for name, material in materials.items():
        found = _confirmation(material)
        if isinstance(found, str) or found is None or found.incumbent is None:
            continue
        best: Any = found.ranking.set_index("trial").loc[found.incumbent]
        split = f"{found.plan.folds}-fold" if found.plan.folds else found.plan.split
        interval = NONE if math.isnan(best["low"]) else f"{best['low']:.3f} to {best['high']:.3f}"
        texts = (number(best["mean"]), interval, str(best["seeds"]), split)
        cells = [{"text": text, "num": True} for text in texts]
        rows.append([{"text": f"{name}, trial {found.incumbent}"}, *cells])
    heads = _heads("Config", ["Mean", "95 % interval", "Seeds", "Scored on"])
    return {"heads": heads, "rows": rows} if rows else None


def _confirmation(material: Material) -> Confirmation | str | None:
    """Return a study's confirmation, or why it cannot be read."""
    try:
        return material.confirmation
    except RecordError as error:
        return "; ".join(error.problems)


def _unread(materials: Mapping[str, Material]) -> list[str]:
    """Return what of the studies could not be read, a sentence each; the rest of the page
    stands.
    """
    found = []
    for name, material in materials.items():
        confirmation = _confirmation(material)
        problems = [*material.scored[1], *([confirmation] if isinstance(confirmation, str) else ())]
        found += [f"{name}: {problem}." for problem in problems]
    return found


def _configs(studies: Mapping[str, StudyRecord]) -> dict[str, Any]:
    table = comparison.config_differences(studies)
    if table.empty:
        return {"lead": "The configs are the same, field by field.", "rows": []}
    lead = f"The configs differ in {count(len(table), 'field')}; searched fields as their ranges."
    return {"lead": lead, "heads": _heads("Field", list(studies), False), "rows": _text_rows(table)}


def _text_rows(table: pd.DataFrame) -> list[list[dict[str, Any]]]:
    return [
        [{"text": str(name)}, *({"text": str(value)} for value in row)]
        for name, row in zip(table.index, table.itertuples(index=False), strict=True)
    ]


def _parameters(studies: Mapping[str, StudyRecord]) -> dict[str, Any]:
    fields = dict.fromkeys(f for study in studies.values() for f in searched_fields(study.config))
    rows = [[{"text": f}, *({"text": _value(s, f)} for s in studies.values())] for f in fields]
    return {"heads": _heads("Field", list(studies), False), "rows": rows}


def _value(study: StudyRecord, field: str) -> str:
    """Return the incumbent's value of a field: searched, else as the study's config fixes it."""
    if study.incumbent is not None and field in study.incumbent.params:
        return value_text(study.incumbent.params[field])
    section, _, key = field.partition(".")
    fixed = (study.config.get(section) or {}).get(key)
    return NONE if isinstance(fixed, Mapping) else value_text(fixed)


def _data(studies: Mapping[str, StudyRecord]) -> dict[str, Any]:
    table = comparison.data_differences(studies)
    different = [str(fact).lower() for fact in table.index[table["differs"]]]
    lead = (
        f"Different: {', '.join(different)}."
        if different
        else "The data are the same: files, preparation and split."
    )
    rows = _text_rows(table.drop(columns="differs"))
    for cells, differs in zip(rows, table["differs"], strict=True):
        for cell in cells[1:]:
            cell["strong"] = bool(differs)
    return {"lead": lead, "heads": _heads("Fact", list(studies), False), "rows": rows}
