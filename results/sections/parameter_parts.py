"""Parts of the section on hyperparameters: importances, contours, edges, what a Dice costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from results.analysis import pareto
from results.analysis.boundary_analysis import edges_table, edges_yaml
from results.analysis.evaluators import Evaluator
from results.analysis.importance import TargetImportances, importance_table
from results.figures.contours import contour_figure
from results.figures.drawing import Drawing, objective_name
from results.figures.importance import by_importance, importance_figure
from results.figures.parallel import MOST_CLASSES
from results.figures.pareto import amount, measure_title, tradeoff_figure
from results.records.searched import searched_fields, short_names
from results.records.study import StudyRecord
from results.style.words import count, listed, number
from results.tables import StudyTables
from results.tables.parameters import leading_pairs, target_classes

MOST_ROWS = 200
EVALUATORS: Mapping[Evaluator, tuple[str, str]] = {
    "ped_anova": ("PED-ANOVA", "PED-ANOVA: what sets the best tenth of the trials apart"),
    "fanova": (
        "fANOVA",
        "fANOVA: the share of variance that a field alone explains in a forest",
    ),
    "mean_decrease_impurity": (
        "Mean decrease impurity",
        "Mean decrease impurity: how much a forest's splits on the field part good from bad",
    ),
}
REPEATED: Mapping[Evaluator, str] = {
    "ped_anova": "trials drawn with replacement",
    "fanova": "forests of other seeds",
    "mean_decrease_impurity": "forests of other seeds",
}


def found_importances(study: StudyRecord) -> list[TargetImportances]:
    """Return importances by each of Optuna's evaluators: the forests for few classes alone."""
    few = len(target_classes(study)) <= MOST_CLASSES
    return [
        importance_table(study, evaluator, classes=few or evaluator == "ped_anova")
        for evaluator in EVALUATORS
    ]


def importance_part(study: StudyRecord, found: TargetImportances) -> dict[str, Any]:
    """Return one evaluator's figure."""
    title, how = EVALUATORS[found.evaluator]
    part = {"name": found.evaluator, "title": title}
    if found.table.empty:
        reason = found.reason or "Nothing is known of what moves the Dice."
        alt = "Importance of each searched field"
        return part | {"drawing": Drawing(None, reason, alt)}
    # A class may be called like the objective.
    target = found.table["target"].where(found.table["kind"] == "class", "")
    classes = target_classes(study)
    names = {"": objective_name(study)} | {name: name for name in classes}
    table = found.table.assign(target=target)
    table = table[table["target"].isin(list(names))]
    trials = int(table["trials"].max())
    note = f"{how}, from {count(trials, 'COMPLETE trial')}; range: 10th to 90th percentile of "
    note += f"{count(found.repeats, 'repeat')}, {REPEATED[found.evaluator]}."
    left_out = [name for name in found.left_out if name in classes]
    if left_out:
        note += f" Not told: {listed(left_out)} ({found.left_out[left_out[0]].rstrip('.')})."
    if classes and set(table["target"]) == {""} and not left_out:
        note += f" For {len(classes)} classes only PED-ANOVA is told class by class."
    return part | {"drawing": importance_figure(table, note, names)}


def contour_part(data: StudyTables, found: Sequence[TargetImportances]) -> dict[str, Any]:
    """Return the contours of the pairs of the most important fields, or why there are none."""
    objective = found[0].table[found[0].table["kind"] == "objective"]
    if len(objective) < 2:
        why = found[0].reason or found[0].left_out.get(data.study.objective, "")
        return {"reason": f"The most important fields are not known. {why}".strip()}
    parameters = by_importance(objective, data.study.objective)
    drawings = [contour_figure(data, pair) for pair in leading_pairs(parameters[:3])]
    return {"reason": "", "drawings": drawings}


def edge_part(study: StudyRecord) -> dict[str, Any]:
    """Return the fields at an edge of their range, and the wider ranges as YAML."""
    edges = edges_table(study)
    if edges.reason is not None:
        return {"says": edges.reason, "rows": []}
    if edges.table.empty:
        says = f"The best of {count(edges.trials, 'COMPLETE trial')} crowd no end of a range: "
        return {"says": says + "the ranges that were searched are wide enough.", "rows": []}
    names = short_names(list(searched_fields(study.config)))
    found = edges.table.to_dict("records")
    heads = ["Field", "End", "Best trials there", "By chance", "Searched", "Search next"]
    return {
        "says": edge_words(found, names),
        "heads": [
            {"text": head, "num": head in ("Best trials there", "By chance")} for head in heads
        ],
        "rows": [_edge_cells(row) for row in found],
        "note": f"{edges.rule} From {count(edges.trials, 'COMPLETE trial')}.",
        "yaml": edges_yaml(study) if any(row["wider"] for row in found) else "",
    }


def edge_words(found: Sequence[Mapping[Any, Any]], names: Mapping[str, str]) -> str:
    """Return which fields ran into which end, as a sentence."""
    parts = []
    for why, whose in (
        ("best trials", "the best trials crowd"),
        ("incumbent", "the best trial is at"),
    ):
        ends = [
            f"the {row['end']} end of {names[row['parameter']]}"
            for row in found
            if row["why"] == why
        ]
        if ends:
            parts.append(f"{whose} {listed(ends)}")
    where = "; ".join(parts)
    where = where[:1].upper() + where[1:]
    stuck = [names[row["parameter"]] for row in found if not row["wider"]]
    if len(stuck) == len(found):
        return f"{where}: there the range can be no wider."
    text = f"{where}: search further there."
    return text + (f" No wider can be: {listed(stuck)}." if stuck else "")


def _edge_cells(row: Mapping[Any, Any]) -> list[dict[str, Any]]:
    there = f"{row['at_end']} of {row['top']}"
    if row["why"] == "incumbent":
        there += ", the best one"
    chance = f"{row['chance'] * row['top']:.1f} of {row['top']}"
    wider = row["wider"] or f"as it is: {row['note']}"
    return [
        {"text": row["parameter"]},
        {"text": row["end"]},
        {"text": there, "num": True},
        {"text": chance, "num": True},
        {"text": row["searched"]},
        {"text": wider, "strong": bool(row["wider"])},
    ]


_SHORT: Mapping[str, str] = {
    "parameters": "Parameters",
    "gflops": "Operations",
    "activation_mb": "Memory",
    "latency_ms": "Latency",
    "seconds": "Training time",
}


def tradeoff_parts(study: StudyRecord) -> list[dict[str, Any]]:
    """Dice against each cost that is known: figure and front."""
    tables = [pareto.tradeoff_table(study, measure) for measure in pareto.TRADED]
    return [_tradeoff_part(study, found) for found in tables if not found.table.empty]


def _tradeoff_part(study: StudyRecord, found: pareto.Tradeoff) -> dict[str, Any]:
    front = found.table[found.table["front"]].head(MOST_ROWS).to_dict("records")
    top = float(found.table["value"].max())
    return {
        "name": found.measure,
        "title": _SHORT[found.measure],
        "drawing": tradeoff_figure(study, found),
        "heads": [
            {"text": "Trial on the front"},
            {"text": objective_name(study), "num": True},
            {"text": "Below the best", "num": True},
            {"text": measure_title(found.measure), "num": True},
        ],
        "rows": [
            [
                {"text": _trial_text(row)},
                {"text": number(row["value"]), "num": True},
                {"text": number(top - row["value"]), "num": True},
                {"text": _amount(found.measure, row[found.measure]), "num": True},
            ]
            for row in front
        ],
    }


def _amount(measure: str, value: float) -> str:
    return amount(measure, value).removesuffix(" parameters")


def _trial_text(row: Mapping[Any, Any]) -> str:
    name = row["baseline"]
    return f"{row['number']}, {name}" if isinstance(name, str) else str(row["number"])


def pareto_rows(study: StudyRecord) -> dict[str, Any]:
    """Return the Pareto front as a table: its heads and its rows, the best value first."""
    table, names = pareto.pareto_table(study), pareto.minimized(study)
    front = table[table["front"]].head(MOST_ROWS)
    return {
        "heads": [objective_name(study), *(pareto.MEASURES[name][0] for name in names)],
        "rows": [
            {
                "trial": row["number"],
                "baseline": row["baseline"] if isinstance(row["baseline"], str) else "",
                "cells": [number(row["value"]), *(f"{row[name]:,.4g}" for name in names)],
            }
            for row in front.to_dict("records")
        ],
    }
