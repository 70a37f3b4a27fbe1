"""Dice per class: which classes a configuration wins, and which it gives up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from results.analysis.baselines import ranked
from results.figures.class_spread import class_correlation_figure, class_spread_figure
from results.figures.classes import class_map_figure
from results.figures.drawing import objective_name
from results.records.searched import searched_fields, short_names
from results.records.study import StudyRecord
from results.sections import class_words as words
from results.sections.material import Material
from results.style import palette
from results.style.words import NONE, number, value_text
from results.tables import StudyTables
from results.tables import classes as class_tables

MOST_ROWS = 200


def build(material: Material) -> dict[str, Any]:
    """Return what the section's template prints."""
    data = material.tables
    return {
        "map": class_map_figure(data),
        "spread": class_spread_figure(data),
        "winners": words.winners(class_tables.class_winners(data), data.study),
        "correlation": class_correlation_figure(data),
        "scores": words.scores_view(material),
        "pooled": words.pooled_view(material),
        "matrix": matrix(data),
        "swatches": material.swatches,
    }


def frames(material: Material) -> Mapping[str, pd.DataFrame]:
    """Return the section's tables, for files."""
    data = material.tables
    dice, _ = class_tables.compared_trials(data)
    trials = words.front_trials(material)
    counts, _ = class_tables.model_counts(trials, material.evaluations)
    return {
        "dice_per_class": data.dice,
        "class_spread": class_tables.class_spread(dice),
        "class_winners": class_tables.class_winners(data),
        "class_correlation": class_tables.class_correlation(dice),
        "class_scores": class_tables.class_scores(data.study.classes, counts),
        "pooled_scores": class_tables.pooled_scores(data.study, trials, material.evaluations),
    }


def matrix(data: StudyTables) -> dict[str, Any]:
    """Return the trials x classes table, best trials first."""
    study, trials = data.study, data.trials
    keep = {t.number for t in study.baselines}
    ordered = ranked(trials)
    shown = ordered[ordered["number"].isin({*ordered["number"].head(MOST_ROWS), *keep})]
    dice = data.dice.reindex(columns=_foreground_first(study.classes))
    names = list(searched_fields(study.config))
    records = shown.to_dict("records")
    note = "Shown are scores on the validation split at each trial's best epoch. "
    note += "Select a column's head to sort by it; scroll sideways for the searched fields. "
    note += "Striped cells are undefined."
    if len(shown) < len(trials):
        note += (
            f" The best {len(shown):,} of {len(trials):,} trials (baselines included); the others "
            "are in the study directory."
        )
    incumbent = study.incumbent
    rows = [
        _matrix_row(record, dice.loc[record["number"]], names)
        | {"incumbent": incumbent is not None and record["number"] == incumbent.number}
        for record in records
    ]
    return {
        "lead": "Dice of each class in each trial: which classes a configuration wins, "
        "and which it gives up.",
        "columns": _matrix_columns(study, names),
        "rows": rows,
        "note": note,
    }


def _foreground_first(classes: tuple[str, ...]) -> list[str]:
    return [*classes[1:], classes[0]]


def _matrix_columns(study: StudyRecord, names: list[str]) -> list[dict[str, Any]]:
    short = short_names(names)
    columns = [("Trial", "Trial number", False), ("State", "State of the trial", False)]
    columns.append(("Value", objective_name(study), True))
    columns += [(name, f"Dice of {name}", True) for name in _foreground_first(study.classes)]
    columns.append(("Best epoch", "Epoch of the highest value", True))
    columns.append(("Epochs", "Epochs trained", True))
    columns += [(short[name], name, True) for name in names]
    return [
        {
            "name": name,
            "title": title,
            "numeric": numeric,
            "sorted": place == 2,
            "field": place >= len(columns) - len(names),
        }
        for place, (name, title, numeric) in enumerate(columns)
    ]


def _matrix_row(record: Mapping[Any, Any], dice: pd.Series, names: list[str]) -> dict[str, Any]:
    scored = [_score_cell(float(value)) for value in (record["value"], *dice.to_list())]
    # Background is near 1 in every trial: its colour would outshine the classes that matter.
    scored[-1] |= {"plain": scored[-1]["fill"] is not None}
    others = [_plain_cell(record[name]) for name in ("best_epoch", "epochs", *names)]
    baseline = record["baseline"]
    return {
        "number": record["number"],
        "state": record["state"],
        "color": palette.STATE_COLORS[record["state"]],
        "baseline": baseline if isinstance(baseline, str) else None,
        "scores": scored,
        "others": others,
    }


def _score_cell(score: float) -> dict[str, Any]:
    colors = palette.cell_colors(score)
    if colors is None:
        return {"plain": False, "fill": None}
    cell = {"plain": False, "fill": colors[0], "ink": colors[1]}
    return cell | {"text": number(score), "sort": f"{score:.6g}"}


def _plain_cell(value: Any) -> dict[str, Any]:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    numeric = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    text = value_text(value)
    return {"text": text, "numeric": numeric, "sort": "" if text == NONE else str(value)}
