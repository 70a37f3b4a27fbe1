"""The hyperparameters: what made the difference, and what to search next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from results import pareto
from results.figures.drawing import objective_name
from results.figures.parameters import importance_figure, parallel_figure, pareto_figure
from results.importance import importances
from results.records import StudyRecord
from results.sections.material import Material
from results.words import number

MOST_ROWS = 200


def build(material: Material) -> dict[str, Any]:
    """What the section's template prints."""
    study = material.study
    return {
        "parallel": parallel_figure(material.tables),
        "importance": importance_figure(importances(study)),
        "fronts": {name: pareto_figure(study, name) for name in pareto.minimized(study)},
        "pareto": pareto_rows(study),
    }


def frames(material: Material) -> Mapping[str, pd.DataFrame]:
    """The section's tables, for files."""
    return {
        "importances": importances(material.study).table,
        "pareto": pareto.pareto_table(material.study),
    }


def pareto_rows(study: StudyRecord) -> dict[str, Any]:
    """The Pareto front as a table: its heads and its rows, the best value first."""
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
