"""How the search went: history, learning curves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from results import palette, tables
from results.figures.drawing import (
    Drawing,
    blank,
    count_axis,
    label,
    objective_name,
    padded,
    small,
    thinned,
)
from results.records import StudyRecord
from results.tables import StudyTables

MOST_HISTORY_POINTS = 2000
MOST_CURVES = 60


def history_figure(data: StudyTables) -> Drawing:
    """The value of every trial by its number, by state, under the line of the best so far."""
    table = tables.history_table(data.trials)
    alt = "Value of each trial by number, with the best so far"
    if not table["value"].notna().any():
        return Drawing(None, "No trial has a value yet.", alt)
    improving = set(table.loc[table["best"] > table["best"].shift(fill_value=-math.inf), "number"])
    named = set(table.loc[table["baseline"].notna(), "number"])
    shown = tables.thin(table, MOST_HISTORY_POINTS, improving | named)
    figure = blank(x="Trial", y=objective_name(data.study))
    # Marks on the border are whole: the collapsed baseline stands in the corner of the plot.
    count_axis(figure, 0, int(table["number"].max()))
    figure.update_yaxes(range=padded(0, 1.05 * table["value"].max() or 1.0), rangemode="normal")
    for state in ("PRUNED", "RUNNING", "COMPLETE"):
        _add_trials(figure, shown[(shown["state"] == state) & shown["baseline"].isna()], state)
    _add_failures(figure, shown[(shown["state"] == "FAIL") & shown["baseline"].isna()])
    _add_best_line(figure, table)
    _add_baselines(figure, shown[shown["baseline"].notna()])
    note = "Each mark is a trial at its best epoch; the line is the best COMPLETE trial so far."
    return Drawing(figure, note + thinned(len(shown), len(table), "trials"), alt, height=400)


def _add_trials(figure: Any, rows: pd.DataFrame, state: str) -> None:
    if rows.empty:
        return
    color = palette.STATE_COLORS[state]
    size = 8 if len(rows) <= 200 else 5
    filled = {"size": size, "color": color, "line": {"width": 1, "color": palette.PAPER}}
    hollow = {"size": size - 1, "color": palette.PAPER, "line": {"width": 1.5, "color": color}}
    figure.add_scatter(
        x=rows["number"].to_numpy(),
        y=small(rows["value"]),
        customdata=rows["epochs"].to_numpy(),
        mode="markers",
        name=state,
        marker=filled if state == "COMPLETE" else hollow,
        hovertemplate="trial %{x}: %{y:.3f} after %{customdata} epochs<extra>" + state + "</extra>",
    )


def _add_failures(figure: Any, rows: pd.DataFrame) -> None:
    if rows.empty:
        return
    figure.add_scatter(
        x=rows["number"].to_numpy(),
        y=small(rows["value"].fillna(0.0)),
        mode="markers",
        name="FAIL",
        marker={"symbol": "x-thin", "size": 8, "line": {"width": 2, "color": palette.ALERT}},
        hovertemplate="trial %{x} failed after %{y:.3f}<extra>FAIL</extra>",
    )


def _add_best_line(figure: Any, table: pd.DataFrame) -> None:
    steps = table[table["best"].notna()]
    changed = steps["best"] != steps["best"].shift()
    changed |= steps["number"] == steps["number"].max()
    corners = steps[changed]
    if corners.empty:
        return
    figure.add_scatter(
        x=corners["number"].to_numpy(),
        y=small(corners["best"]),
        mode="lines",
        line={"shape": "hv", "width": 2, "color": palette.INK},
        name="best so far",
        hovertemplate="best after trial %{x}: %{y:.3f}<extra></extra>",
    )


def _add_baselines(figure: Any, rows: pd.DataFrame) -> None:
    if rows.empty:
        return
    figure.add_scatter(
        x=rows["number"].to_numpy(),
        y=small(rows["value"].fillna(0.0)),
        text=[label(name) for name in rows["baseline"]],
        mode="markers",
        name="baseline",
        marker={
            "symbol": "diamond",
            "size": 11,
            "color": palette.BASELINE,
            "line": {"width": 1, "color": palette.PAPER},
        },
        hovertemplate="trial %{x}, baseline %{text}: %{y:.3f}<extra></extra>",
    )


def curves_figure(data: StudyTables, column: str, title: str) -> Drawing:
    """One column of the epochs by epoch for each trial, incumbent and baseline in front.

    Args:
        data: the study's tables.
        column: a column of ``tables.curves_table``.
        title: name of the y axis.
    """
    alt = f"{title} by epoch, a line for each trial"
    curves = data.curves[np.isfinite(data.curves[column])]
    if curves.empty:
        return Drawing(None, "No epoch is finished yet.", alt)
    trials = data.trials[data.trials["number"].isin(curves["number"].unique())]
    front = _front_trials(data.study)
    shown = tables.thin(trials, MOST_CURVES, set(front))
    figure = blank(x="Epoch", y=title)
    count_axis(figure, 1, int(curves["epoch"].max()))
    if column.endswith("loss"):
        figure.update_yaxes(rangemode="normal")
    for state in ("PRUNED", "FAIL", "RUNNING", "COMPLETE"):
        numbers = set(shown.loc[shown["state"] == state, "number"]) - set(front)
        _add_curves(figure, curves[curves["number"].isin(numbers)], column, state)
    for number, (name, color) in front.items():
        _add_front_curve(figure, curves[curves["number"] == number], column, name, color)
    return Drawing(figure, thinned(len(shown), len(trials), "trials").strip(), alt, height=360)


def _front_trials(study: StudyRecord) -> dict[int, tuple[str, str]]:
    front = {}
    baseline, incumbent = tables.best_baseline(study), study.incumbent
    if baseline is not None:
        front[baseline.number] = ("baseline", palette.BASELINE)
    if incumbent is not None:
        front[incumbent.number] = (f"best (trial {incumbent.number})", palette.ACCENT)
    return front


def _add_curves(figure: Any, curves: pd.DataFrame, column: str, state: str) -> None:
    if curves.empty:
        return
    numbers = curves["number"].to_numpy()
    # One trace for all trials of a state, a gap after each: sixty traces are slow to draw.
    ends = np.flatnonzero(np.diff(numbers)) + 1
    figure.add_scatter(
        x=np.insert(curves["epoch"].to_numpy(dtype=np.float32), ends, np.nan),
        y=np.insert(small(curves[column]), ends, np.nan),
        customdata=np.insert(numbers, ends, 0),
        mode="lines+markers",
        name=state,
        line={"width": 1.2, "color": palette.CURVE_COLORS[state]},
        marker={"size": 3},
        hovertemplate="trial %{customdata}, epoch %{x}: %{y:.3f}<extra>" + state + "</extra>",
    )


def _add_front_curve(figure: Any, curve: pd.DataFrame, column: str, name: str, color: str) -> None:
    if curve.empty:
        return
    figure.add_scatter(
        x=curve["epoch"].to_numpy(),
        y=small(curve[column]),
        mode="lines+markers",
        name=name,
        line={"width": 2.5, "color": color},
        marker={"size": 5},
        hovertemplate="epoch %{x}: %{y:.3f}<extra>" + name + "</extra>",
    )
