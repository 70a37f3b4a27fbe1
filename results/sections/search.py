"""The search: what became of its trials, and how they learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from results import palette, tables
from results.figures.classes import class_curves_figure
from results.figures.drawing import objective_name
from results.figures.search import curves_figure, history_figure
from results.proposals import load_untrained
from results.records import StudyRecord
from results.sections.material import Material
from results.tables import StudyTables
from results.words import count, duration

_MOST_NUMBERS = 12


def build(material: Material) -> dict[str, Any]:
    """What the section's template prints."""
    study, data = material.study, material.tables
    return {
        "lead": search_lead(study),
        "states": state_rows(data),
        "untrained": load_untrained(study.path).sentences(),
        "failures": failure_rows(study),
        "objective": objective_name(study),
        "history": history_figure(data),
        "curves": curves_figure(data, "objective", objective_name(study)),
        "class_curves": class_curves_figure(study),
        "loss": curves_figure(data, "validation_loss", "Validation loss"),
    }


def frames(material: Material) -> Mapping[str, pd.DataFrame]:
    """The section's tables, for files."""
    data = material.tables
    return {
        "trials": data.trials,
        "history": tables.history_table(data.trials),
        "epochs": data.curves,
        "failures": tables.failures_table(data.study),
    }


def state_rows(data: StudyTables) -> list[dict[str, Any]]:
    """Trials by state."""
    table = tables.states_table(data.trials)
    return [
        {
            "name": str(state),
            "trials": int(row["trials"]),
            "trials_text": f"{int(row['trials']):,}",
            "detail": f"{count(int(row['epochs']), 'epoch')}, {duration(float(row['seconds']))}"
            if row["trials"]
            else "",
            "color": palette.STATE_COLORS[str(state)],
        }
        for state, row in table.iterrows()
    ]


def search_lead(study: StudyRecord) -> str:
    """What the search maximised and by what it pruned."""
    text = f"Objective: {objective_name(study).lower().replace('dice', 'Dice')} on the validation "
    text += "split, at each trial's best epoch."
    if study.pruning_metric and study.pruning_metric != study.objective:
        metric = study.pruning_metric.replace("_", " ").replace("dice", "Dice")
        text += f" The pruner was shown the {metric} instead, which moves earlier."
    if study.with_state("RUNNING"):
        text += " The study was still running, or was interrupted, when this report was made."
    return text


def failure_rows(study: StudyRecord) -> list[dict[str, Any]]:
    """Reasons of failures with the trials they befell."""
    rows = []
    for _, row in tables.failures_table(study).head(20).iterrows():
        numbers = row["numbers"]
        text = ", ".join(str(n) for n in numbers[:_MOST_NUMBERS])
        more = len(numbers) - _MOST_NUMBERS
        rows.append(
            {
                "trials": row["trials"],
                "reason": row["reason"][:300],
                "numbers": text + (f" and {more:,} more" if more > 0 else ""),
            }
        )
    return rows
