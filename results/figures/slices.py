"""Slices: the value of trials against each searched field by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from results.figures.axes import Axis, set_axis, spread
from results.figures.drawing import Drawing, blank, label, objective_name, small, thinned
from results.figures.parallel import axes_of, span_text
from results.records.searched import searched_fields
from results.style import palette
from results.style.words import count
from results.tables import StudyTables
from results.tables.parameters import best_trials, common_table, scored_trials, shown_trials

# Kinds of trials by shape and colour: COMPLETE, PRUNED, baseline, best.
MARKS = {
    "COMPLETE": {"symbol": "circle", "size": 6, "color": palette.STATE_COLORS["COMPLETE"]},
    "PRUNED": {"symbol": "x-thin", "size": 6, "line": {"width": 1.5, "color": palette.FAINT}},
    "baseline": {"symbol": "diamond", "size": 11, "color": palette.BASELINE},
    "best": {"symbol": "star", "size": 15, "color": palette.INK},
}


def slice_figures(data: StudyTables) -> list[Drawing]:
    """Return a small figure for each searched field, in their order; empty with nothing to show."""
    shown = shown_trials(data)
    if shown.empty:
        return []
    fields = searched_fields(data.study.config)
    common = common_table(best_trials(data), list(fields.values())).to_dict("records")
    kinds = kinds_of(data, shown)
    return [
        _slice(data, axis, shown, kinds, row)
        for axis, row in zip(axes_of(data), common, strict=False)  # the first fields have an axis
    ]


def kinds_of(data: StudyTables, shown: pd.DataFrame) -> pd.Series:
    """Of each trial what it is drawn as: one of ``MARKS``."""
    incumbent = data.study.incumbent
    kinds = shown["state"].where(shown["baseline"].isna(), "baseline")
    best = shown["number"] == (incumbent.number if incumbent else -1)
    return kinds.where(~best, "best")


def slices_note(data: StudyTables) -> str:
    """Return how to read the slices, once for all of them."""
    shown, scored = shown_trials(data), scored_trials(data)
    note = f"Each mark is one of {count(len(shown), 'trial')}: Dice on the validation split at its "
    note += "best epoch against what it had of the field. Choices and whole numbers are spread "
    note += "sideways so that trials do not hide each other; pruned trials stand at the best they "
    note += "had reached. The fields were searched together: what looks like the effect of one may "
    note += "be that of another. "
    return (note + thinned(len(shown), len(scored), "trials")).strip()


def _slice(
    data: StudyTables, axis: Axis, shown: pd.DataFrame, kinds: pd.Series, common: Mapping[Any, Any]
) -> Drawing:
    objective = objective_name(data.study)
    figure = blank(x=axis.title, y=objective)
    places = axis.places(shown[axis.field.name])
    texts = np.array([label(axis.value_at(place), 24) for place in places])
    across = places + spread(axis, shown["number"])
    for kind, marker in MARKS.items():
        rows = (kinds == kind).to_numpy()
        if not rows.any():
            continue
        part = shown[rows]
        figure.add_scatter(
            x=across[rows].astype(np.float32),
            y=small(part["value"]),
            customdata=part["number"].to_numpy(),
            text=texts[rows],
            mode="markers",
            cliponaxis=False,
            marker=marker,
            name=kind,
            hovertemplate="trial %{customdata}, %{text}: %{y:.3f}<extra>" + kind + "</extra>",
        )
    set_axis(axis, figure.update_xaxes)
    figure.update_yaxes(title_font_size=13, tickfont_size=11)
    figure.update_layout(showlegend=False, margin={"l": 52, "r": 12, "t": 8, "b": 44})
    alt = f"{objective} of each trial against {axis.field.name}"
    return Drawing(figure, "", alt, height=250, says=_says(common))


def _says(common: Mapping[Any, Any]) -> str:
    trials = int(common["trials"])
    if not trials:
        return "No COMPLETE trial has a value yet."
    whose = "The only COMPLETE trial" if trials == 1 else f"The best {trials} trials"
    if common["choices"]:
        parts = [f"{text} ({number})" for text, number in common["choices"][:4]]
        return f"{whose}: {', '.join(parts)}."
    return f"{whose}: {span_text(common['low'], common['high'])}."
