"""The hyperparameters: what made the difference, and what to search next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from results.analysis import pareto
from results.analysis.boundary_analysis import edges_table
from results.figures.contours import contours_note
from results.figures.drawing import objective_name
from results.figures.parallel import MOST_CLASSES, axes_of, dice_places, parallel_figure
from results.figures.pareto import pareto_figure
from results.figures.slices import kinds_of, slice_figures, slices_note
from results.records.searched import searched_fields
from results.records.study import StudyRecord
from results.sections.material import Material
from results.sections.parameter_parts import (
    contour_part,
    edge_part,
    found_importances,
    importance_part,
    pareto_rows,
    tradeoff_parts,
)
from results.tables import StudyTables
from results.tables.parameters import (
    best_trials,
    common_table,
    shown_trials,
    target_classes,
)


def build(material: Material) -> dict[str, Any]:
    """Return what the section's template prints."""
    study, data = material.study, material.tables
    found = found_importances(study)
    return {
        "objective": objective_name(study),
        "importances": [importance_part(study, one) for one in found],
        "slices": slice_figures(data),
        "slices_note": slices_note(data),
        "contours": contour_part(data, found),
        "contours_note": contours_note(data),
        "parallel": parallel_figure(data),
        "edges": edge_part(study),
        "tradeoffs": tradeoff_parts(study),
        "fronts": {name: pareto_figure(study, name) for name in pareto.minimized(study)},
        "pareto": pareto_rows(study),
        "trials": trials_json(data),
    }


def frames(material: Material) -> Mapping[str, pd.DataFrame]:
    """Return the section's tables, for files."""
    fields = list(searched_fields(material.study.config).values())
    return {
        "importances": _all_importances(material.study),
        "best_trials_have": common_table(best_trials(material.tables), fields),
        "range_edges": edges_table(material.study).table,
        "pareto": pareto.pareto_table(material.study),
    } | {
        f"front_{measure}": pareto.tradeoff_table(material.study, measure).table
        for measure in pareto.TRADED
    }


def _all_importances(study: StudyRecord) -> pd.DataFrame:
    found = found_importances(study)
    return pd.concat([one.table.assign(evaluator=one.evaluator) for one in found])


def trials_json(data: StudyTables) -> dict[str, Any]:
    """Return the trials that the figures show, in the order of the parallel coordinates.

    The page's script brushes with it and shows another class: numbers of the trials, of each axis
    its places and how to read them, of each target (the objective first) its values.
    """
    shown = shown_trials(data)
    names = ["", *target_classes(data.study)]
    values = [shown["value"], *(data.dice.loc[shown["number"], name] for name in names[1:])]
    return {
        "numbers": [int(trial) for trial in shown["number"]],
        "kinds": list(kinds_of(data, shown)),
        "fields": [
            {
                "name": axis.field.name,
                "log": axis.log,
                "choices": list(axis.choices),
                "places": _digits(axis.places(shown[axis.field.name])),
            }
            for axis in axes_of(data)
        ],
        "targets": [
            {"name": name or objective_name(data.study), "values": _digits(column)}
            for name, column in zip(names, values, strict=True)
        ],
        "undefined": float(dice_places(np.array([np.nan]))[0]),
        "one_class": len(target_classes(data.study)) > MOST_CLASSES,
    }


def _digits(values: Any) -> list[float | None]:
    """Return numbers with four digits behind the point, null for NaN: a screen shows no more."""
    return [round(float(v), 4) if np.isfinite(v) else None for v in np.asarray(values, np.float64)]
