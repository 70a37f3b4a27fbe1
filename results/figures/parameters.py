"""The searched fields: parallel coordinates, importances, Pareto fronts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from results import palette, pareto, tables
from results.figures.drawing import FONT, Drawing, blank, label, objective_name, small, thinned
from results.importance import Importances
from results.records import StudyRecord
from results.searched import SearchedField, searched_fields, short_names
from results.tables import StudyTables

MOST_POINTS = 2000
MOST_LINES = 300
_MOST_AXES = 12


def pareto_figure(study: StudyRecord, measure: str) -> Drawing:
    """The COMPLETE trials by value and by one of what is minimised, the Pareto front in front.

    Args:
        study: a study of several objectives.
        measure: one of ``pareto.minimized(study)``.
    """
    title = pareto.MEASURES[measure][0]
    alt = f"{objective_name(study)} of each trial against {title.lower()}, the Pareto front marked"
    table = pareto.pareto_table(study)
    if table.empty:
        return Drawing(None, "No trial is COMPLETE with a value and its cost yet.", alt)
    others = table[~table["front"]].head(MOST_POINTS)
    front = table[table["front"]].sort_values([measure, "value"])
    figure = blank(x=title, y=objective_name(study))
    figure.update_layout(legend={"traceorder": "normal"})
    faint = {"size": 7, "color": palette.PAPER, "line": {"width": 1.5, "color": palette.FAINT}}
    marked = {"size": 9, "color": palette.ACCENT}
    single = len(pareto.minimized(study)) == 1
    for rows, name, marker in ((others, "beaten", faint), (front, "Pareto front", marked)):
        if rows.empty:
            continue
        figure.add_scatter(
            x=small(rows[measure]),
            y=small(rows["value"]),
            customdata=rows["number"].to_numpy(),
            # With more objectives the front is no line in this plane.
            mode="lines+markers" if single and rows is front else "markers",
            line={"shape": "hv", "width": 1.5, "color": palette.ACCENT},
            name=name,
            marker=marker,
            hovertemplate="trial %{customdata}: %{y:.3f} with %{x:.4g}<extra>" + name + "</extra>",
        )
    note = "No COMPLETE trial is at least as good as one of the front in every objective and "
    note += "better in one." + thinned(len(others) + len(front), len(table), "trials")
    return Drawing(figure, note, alt, height=360)


def parallel_figure(data: StudyTables) -> Drawing:
    """Parameters and value of trials as lines across parallel axes; drag on an axis to filter."""
    fields = searched_fields(data.study.config)
    alt = "Parallel coordinates of the searched fields and the value"
    table = data.trials
    table = table[table["value"].notna() & table["state"].isin(["COMPLETE", "PRUNED"])]
    if not fields or len(table) < 2:
        return Drawing(None, "Needs two finished trials with a value and a searched field.", alt)
    shown = tables.thin(table, MOST_LINES, {t.number for t in data.study.baselines})
    # The best are drawn last, on top of the others.
    shown = shown.sort_values("value")
    drawn = list(fields)[:_MOST_AXES]
    names = short_names(list(fields))
    dimensions = [_dimension(fields[name], names[name], shown[name]) for name in drawn]
    top = float(shown["value"].max())
    dimensions.append(
        {"label": "<b>value</b>", "values": small(shown["value"]), "range": [0, top or 1]}
    )
    figure = _parallel(dimensions, small(shown["value"]), top)
    note = "Each line is a trial that was completed or pruned, darker for higher values. "
    note += "Drag along an axis to keep some of them." + thinned(len(shown), len(table), "trials")
    if len(fields) > len(drawn):
        note += f" The first {len(drawn)} of {len(fields)} searched fields."
    width = max(640, 110 * len(dimensions))
    return Drawing(figure, note, alt, height=430, min_width=width)


def _parallel(dimensions: list[dict[str, Any]], values: Any, top: float) -> Any:
    # The first axis' labels stand left of it, in the margin.
    first = max((len(text) for text in dimensions[0].get("ticktext", ())), default=0)
    scale = list(zip(np.linspace(0, 1, len(palette.LINE_SCALE)), palette.LINE_SCALE, strict=True))
    figure = go.Figure(
        go.Parcoords(
            dimensions=dimensions,
            line={"color": values, "colorscale": scale, "cmin": 0, "cmax": top or 1},
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


def _dimension(field: SearchedField, name: str, values: pd.Series) -> dict[str, Any]:
    if field.kind == "choice":
        return _choice_dimension(field, name, values)
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
    ends = [*numbers[np.isfinite(numbers)], field.low or 0.0, field.high or 0.0]
    low, high = min(ends), max(ends)
    if field.log and low > 0:
        powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
        ticks = [10.0**power for power in powers] or [low, high]
        return {
            "label": label(name, 20),
            "values": np.log10(numbers).astype(np.float32),
            "range": [math.log10(low), math.log10(high)],
            "tickvals": [math.log10(tick) for tick in ticks],
            "ticktext": [f"{tick:g}" for tick in ticks],
        }
    dimension = {"label": label(name, 20), "values": numbers.astype(np.float32)}
    dimension["range"] = [low, high] if high > low else [low - 0.5, high + 0.5]
    if field.kind == "int" and high - low <= 12:
        dimension["tickvals"] = list(range(int(low), int(high) + 1))
    return dimension


def _choice_dimension(field: SearchedField, name: str, values: pd.Series) -> dict[str, Any]:
    # A baseline may have a value that was not among the choices.
    strings = [str(choice) for choice in field.choices]
    strings += sorted({str(value) for value in values} - set(strings))
    places = {text: place for place, text in enumerate(strings)}
    return {
        "label": label(name, 20),
        "values": np.array([places[str(value)] for value in values], dtype=np.float32),
        "range": [-0.25, len(strings) - 0.75],
        "tickvals": list(range(len(strings))),
        "ticktext": [label(text, 20) for text in strings],
    }


def importance_figure(found: Importances) -> Drawing:
    """Bars of the parameter importances."""
    alt = "Importance of each searched field"
    if found.reason is not None:
        return Drawing(None, found.reason, alt)
    table = found.table.iloc[::-1]
    names = short_names(list(table["parameter"]))
    figure = blank(x="Importance (sums to 1)", y=None)
    figure.add_bar(
        x=small(table["importance"]),
        y=[label(names[name], 28) for name in table["parameter"]],
        orientation="h",
        marker={"color": palette.ACCENT},
        text=[f"{share:.2f}" for share in table["importance"]],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{x:.3f}<extra></extra>",
    )
    figure.update_layout(bargap=0.35, margin={"t": 12})
    figure.update_xaxes(range=[0, 1.12 * float(table["importance"].max())])
    figure.update_yaxes(showgrid=False)
    note = f"PED-ANOVA over {found.trials} COMPLETE trials: what set the best tenth apart. "
    if found.trials < 50:
        note += "So few trials give a hint, not a ranking. "
    note += "A narrow range makes a field look unimportant."
    return Drawing(figure, note, alt, height=max(240, 90 + 36 * len(table)))
