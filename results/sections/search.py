"""The search: what became of its trials, how they learned, whether to go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from results import tables
from results.analysis.convergence import convergence
from results.analysis.savings import savings
from results.analysis.timeline import timeline
from results.figures.classes import class_curves_figure
from results.figures.curves import class_curves_sentence, curves_figure
from results.figures.drawing import objective_name
from results.figures.search import history_figure
from results.figures.timeline import timeline_figure, utilisation_figure
from results.records.proposals import Untrained, load_untrained
from results.records.study import StudyRecord
from results.sections.material import Material
from results.sections.outlook import MORE, outlook, pruning
from results.style import palette
from results.style.words import count, duration
from results.tables import StudyTables
from results.tables.search import progress_table, stops_table

_MOST_NUMBERS = 12
_MOST_REASONS = 20
_LEGEND_COLUMNS, _LEGEND_LINE = 4, 20


def build(material: Material) -> dict[str, Any]:
    """Return what the section's template prints."""
    study, data = material.study, material.tables
    class_curves, workers = class_curves_figure(study), timeline(study)
    # The legend of many classes takes lines of its own below the plot.
    lines = max(0, len(study.classes) // _LEGEND_COLUMNS - 1)
    return {
        "lead": search_lead(study),
        "states": state_rows(data),
        "untrained": untrained_text(load_untrained(study.path)),
        "failures": failure_rows(study),
        "objective": objective_name(study),
        "histories": [
            {"name": over, "drawing": history_figure(data, over)}
            for over in ("trials", "epochs", "time")
        ],
        "curves": curves_figure(data, "objective", objective_name(study)),
        "class_curves": replace(
            class_curves,
            says=class_curves_sentence(study),
            height=class_curves.height + _LEGEND_LINE * lines,
        ),
        "loss": curves_figure(data, "validation_loss", "Validation loss"),
        "outlook": outlook(convergence(study, MORE)),
        "timeline": timeline_figure(workers, study),
        "utilisation": utilisation_figure(workers),
        "pruning": pruning(savings(study)),
    }


def frames(material: Material) -> Mapping[str, pd.DataFrame]:
    """Return the section's tables, for files."""
    study, data, workers = material.study, material.tables, timeline(material.study)
    return {
        "trials": data.trials,
        "history": progress_table(study, data.trials),
        "epochs": data.curves,
        "failures": tables.failures_table(study),
        "stops": stops_table(data.trials),
        "convergence": convergence(study, MORE).table,
        "timeline": workers.segments,
        "timeline_marks": workers.marks,
        "utilisation": workers.utilisation,
        "savings": savings(study).table,
    }


def state_rows(data: StudyTables) -> list[dict[str, Any]]:
    """Return trials by state."""
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
    """Return what the search maximised and by what it pruned."""
    text = f"Objective: {objective_name(study).lower().replace('dice', 'Dice')} on the validation "
    text += "split, at each trial's best epoch."
    if study.pruning_metric and study.pruning_metric != study.objective:
        metric = study.pruning_metric.replace("_", " ").replace("dice", "Dice")
        text += f" The pruner was shown the {metric} instead, which moves earlier."
    if study.with_state("RUNNING"):
        text += " The study was still running, or was interrupted, when this report was made."
    return text


def untrained_text(untrained: Untrained) -> str:
    """Return proposals that were not trained, with why; empty without any."""
    sentences = untrained.sentences()
    if not sentences:
        return ""
    text = f"Not trained: {'; '.join(sentences)}. A proposal is refused where its model breaks a "
    return text + "limit of the config; a duplicate has the parameters of an earlier trial."


def failure_rows(study: StudyRecord) -> list[dict[str, Any]]:
    """Return reasons of failures with the trials they befell."""
    rows = []
    for row in tables.failures_table(study).head(_MOST_REASONS).to_dict("records"):
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
