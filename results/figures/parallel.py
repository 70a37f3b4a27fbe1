"""Parallel coordinates: fields, value and Dice per class of trials, to be brushed."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from results.figures.axes import Axis, axis_of
from results.figures.drawing import FONT, Drawing, label, objective_name, thinned
from results.records.searched import searched_fields, short_names
from results.records.study import StudyRecord
from results.style import palette
from results.style.words import count
from results.tables import StudyTables
from results.tables.parameters import (
    best_trials,
    common_table,
    narrowest,
    scored_trials,
    shown_trials,
    target_classes,
)

MOST_FIELDS = 12
MOST_CLASSES = 8
_UNDEFINED = -0.06


def axes_of(data: StudyTables) -> list[Axis]:
    """Return the axes of the searched fields of the trials that are shown, at most
    ``MOST_FIELDS``.
    """
    fields, shown = searched_fields(data.study.config), shown_trials(data)
    names = short_names(list(fields))
    return [axis_of(fields[n], names[n], shown[n]) for n in list(fields)[:MOST_FIELDS]]


def parallel_figure(data: StudyTables) -> Drawing:
    """Return fields, value and Dice per class of trials as lines across parallel axes."""
    fields = searched_fields(data.study.config)
    alt = "Parallel coordinates of the searched fields, the value and the Dice of each class"
    scored = scored_trials(data)
    if not fields or len(scored) < 2:
        return Drawing(None, "Needs two finished trials with a value and a searched field.", alt)
    shown, axes = shown_trials(data), axes_of(data)
    dimensions = [_dimension(axis, axis.places(shown[axis.field.name])) for axis in axes]
    values = shown["value"].to_numpy(dtype=np.float64)
    dimensions.append(dice_dimension(f"<b>{_value_name(data.study)}</b>", values))
    for name in drawn_classes(data.study):
        dice = data.dice.loc[shown["number"], name].to_numpy(dtype=np.float64)
        dimensions.append(dice_dimension(label(name, 16), dice))
    note = "Each line is a completed or pruned trial, its colour stronger for higher Dice. "
    note += "Drag along an axis to keep a part of it, click beside the part to let go. "
    note += _left_out(data.study) + thinned(len(shown), len(scored), "trials")
    if len(fields) > len(axes):
        note += f" The first {len(axes)} of {len(fields)} searched fields."
    width = max(640, 104 * len(dimensions))
    figure = _parallel(dimensions, values)
    return Drawing(figure, note.strip(), alt, height=430, min_width=width, says=shared_words(data))


def drawn_classes(study: StudyRecord) -> tuple[str, ...]:
    """Return the classes that have an axis: all where they are few, else the one that is chosen."""
    classes = target_classes(study)
    return classes if len(classes) <= MOST_CLASSES else classes[:1]


def _value_name(study: StudyRecord) -> str:
    words = objective_name(study).replace("Mean foreground", "Mean").replace("Worst class", "Worst")
    return label(words, 16)


def _left_out(study: StudyRecord) -> str:
    classes = target_classes(study)
    if len(classes) <= MOST_CLASSES:
        return ""
    return f"One of {len(classes)} classes has an axis: the one chosen above. "


def dice_dimension(name: str, values: Any) -> dict[str, Any]:
    """Return an axis of Dice: undefined ones lie below 0, where there are any."""
    known = values[np.isfinite(values)]
    top = max(float(known.max(initial=0.0)), 0.05)
    dimension = {"label": name, "values": _rounded(dice_places(values)), "range": [0.0, top]}
    if len(known) < len(values):
        ticks = [tick / 5 for tick in range(6) if tick / 5 <= top] or [0.0]
        dimension["range"] = [_UNDEFINED, top]
        dimension["tickvals"] = [_UNDEFINED, *ticks]
        dimension["ticktext"] = ["undefined", *(f"{tick:.1f}" for tick in ticks)]
    return dimension


def dice_places(values: Any) -> Any:
    """Return where Dice lies on its axis: undefined below 0."""
    return np.where(np.isfinite(values), values, _UNDEFINED)


def _dimension(axis: Axis, places: Any) -> dict[str, Any]:
    dimension: dict[str, Any] = {"label": axis.title, "values": _rounded(places)}
    dimension["range"] = [axis.low, axis.high]
    if axis.choices:
        dimension["range"] = [-0.25, axis.high + 0.25]
    if axis.ticks is not None:
        dimension |= {"tickvals": list(axis.ticks), "ticktext": list(axis.texts)}
    return dimension


def _rounded(places: Any) -> Any:
    return np.asarray(places, dtype=np.float32)


def _parallel(dimensions: list[dict[str, Any]], values: Any) -> Any:
    # The first axis' labels stand left of it, in the margin.
    first = max((len(text) for text in dimensions[0].get("ticktext", ())), default=0)
    top = float(np.max(values))
    scale = list(zip(np.linspace(0, 1, len(palette.LINE_SCALE)), palette.LINE_SCALE, strict=True))
    figure = go.Figure(
        go.Parcoords(
            dimensions=dimensions,
            line={"color": _rounded(values), "colorscale": scale, "cmin": 0, "cmax": top or 1},
            labelfont={"size": 13, "color": palette.INK},
            tickfont={"size": 12, "color": palette.MUTED},
            rangefont={"size": 1, "color": "rgba(0,0,0,0)"},
            unselected={"line": {"color": palette.LINE, "opacity": 0.25}},
        )
    )
    figure.update_layout(
        font={"family": FONT}, margin={"l": max(70, 20 + 7 * first), "r": 50, "t": 56, "b": 24}
    )
    figure.update_layout(template="none", paper_bgcolor=palette.PAPER)
    return figure


def shared_words(data: StudyTables) -> str:
    """Return what the best trials have in common, as a sentence."""
    best, fields = best_trials(data), searched_fields(data.study.config)
    if len(best) < 2:
        return f"{count(len(best), 'COMPLETE trial')} with a value: nothing in common to tell yet."
    names = short_names(list(fields))
    whose = f"The best {len(best)} COMPLETE trials"
    narrow = narrowest(common_table(best, list(fields.values()))).head(3)
    if narrow.empty:
        return f"{whose} cover more than half of every field's range: no field settles it alone."
    parts = []
    for row in narrow.to_dict("records"):
        if row["choices"]:
            what = " or ".join(text for text, _ in row["choices"])
        else:
            what = span_text(row["low"], row["high"])
        parts.append(f"{names[row['parameter']]} {what}")
    return f"{whose} have in common: {'; '.join(parts)}."


def span_text(low: float, high: float) -> str:
    """Return a range for people: "3 to 5"; one value where the ends are the same."""
    ends = [f"{end:.0f}" if float(end).is_integer() else f"{end:.3g}" for end in (low, high)]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
