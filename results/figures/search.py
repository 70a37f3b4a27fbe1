"""The value of the trials over what the search spent: trials, epochs, hours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from results import tables
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
from results.records.study import StudyRecord
from results.style import palette
from results.style.words import count, duration
from results.tables import StudyTables
from results.tables.search import progress_table

MOST_HISTORY_POINTS = 2000


@dataclass(frozen=True)
class _Axis:
    """What the values are drawn over: a column of the table, its title, where a mark goes."""

    column: str
    title: str
    place: str


_AXES = {
    "trials": _Axis("number", "Trial", "at its number"),
    "epochs": _Axis(
        "epochs_spent",
        "Epochs trained by all trials",
        "at the epochs of all trials that had ended when it did",
    ),
    "time": _Axis("hours", "Hours since the first trial began", "at the time it ended"),
}


def history_figure(data: StudyTables, over: str = "trials") -> Drawing:
    """Return the value of every trial, by state, under the line of the best so far.

    Args:
        data: the study's tables.
        over: "trials", "epochs" or "time".
    """
    axis = _AXES[over]
    alt = f"Value of each trial over {over}, with the best so far"
    table = tables.history_table(data.trials)
    if over != "trials":
        table = progress_table(data.study, data.trials)
    table = table[table[axis.column].notna()]
    if not table["value"].notna().any():
        why = "No trial has a value yet."
        if data.trials["value"].notna().any():
            why = "The study directory does not tell when its trials ended."
        return Drawing(None, why, alt, height=400)
    improving = table.loc[table["best"] > table["best"].shift(fill_value=-math.inf), "number"]
    named = table.loc[table["baseline"].notna(), "number"]
    shown = tables.thin(table, MOST_HISTORY_POINTS, {*improving, *named})
    figure = _drawn(data.study, table, shown, axis)
    note = f"Each mark is a trial, {axis.place}, at the height of its best epoch; PRUNED and "
    note += "RUNNING ones are hollow. The line is the best COMPLETE trial so far."
    note += thinned(len(shown), len(table), "trials")
    return Drawing(figure, note, alt, height=400, says=history_sentence(data.study, table, over))


def _drawn(study: StudyRecord, table: pd.DataFrame, shown: pd.DataFrame, axis: _Axis) -> Any:
    figure = blank(x=axis.title, y=objective_name(study))
    places = table[axis.column]
    # Marks on the border are whole: the collapsed baseline stands in the corner of the plot.
    if axis.column == "number":
        count_axis(figure, 0, int(places.max()))
    else:
        figure.update_xaxes(range=padded(0, float(places.max())), rangemode="normal")
    figure.update_yaxes(range=padded(0, 1.05 * table["value"].max() or 1.0), rangemode="normal")
    plain = shown["baseline"].isna()
    for state in ("PRUNED", "RUNNING", "COMPLETE"):
        _add_trials(figure, shown[(shown["state"] == state) & plain], state, axis)
    _add_failures(figure, shown[(shown["state"] == "FAIL") & plain], axis)
    _add_best_line(figure, table, axis)
    _add_baselines(figure, shown[~plain], axis)
    return figure


def _places(rows: pd.DataFrame, axis: _Axis) -> Any:
    values = rows[axis.column]
    return values.to_numpy() if axis.column == "number" else small(values)


def _add_trials(figure: Any, rows: pd.DataFrame, state: str, axis: _Axis) -> None:
    if rows.empty:
        return
    color = palette.STATE_COLORS[state]
    size = 8 if len(rows) <= 200 else 5
    filled = {"size": size, "color": color, "line": {"width": 1, "color": palette.PAPER}}
    symbol = "circle-dot" if state == "RUNNING" else "circle"
    hollow = {
        "symbol": symbol,
        "size": size - 1,
        "color": palette.PAPER,
        "line": {"width": 1.5, "color": color},
    }
    figure.add_scatter(
        x=_places(rows, axis),
        y=small(rows["value"]),
        customdata=rows[["number", "epochs"]].to_numpy(np.int32),
        mode="markers",
        name=state,
        marker=filled if state == "COMPLETE" else hollow,
        hovertemplate="trial %{customdata[0]}: %{y:.3f} after %{customdata[1]} epochs"
        f"<extra>{state}</extra>",
    )


def _add_failures(figure: Any, rows: pd.DataFrame, axis: _Axis) -> None:
    if rows.empty:
        return
    figure.add_scatter(
        x=_places(rows, axis),
        y=small(rows["value"].fillna(0.0)),
        customdata=rows["number"].to_numpy(),
        mode="markers",
        name="FAIL",
        marker={"symbol": "x-thin", "size": 8, "line": {"width": 2, "color": palette.ALERT}},
        hovertemplate="trial %{customdata} failed after %{y:.3f}<extra>FAIL</extra>",
    )


def _add_best_line(figure: Any, table: pd.DataFrame, axis: _Axis) -> None:
    steps = table[table["best"].notna()]
    changed = steps["best"] != steps["best"].shift()
    changed |= steps[axis.column] == steps[axis.column].max()
    corners = steps[changed]
    if corners.empty:
        return
    figure.add_scatter(
        x=_places(corners, axis),
        y=small(corners["best"]),
        customdata=corners["number"].to_numpy(),
        mode="lines",
        line={"shape": "hv", "width": 2, "color": palette.INK},
        name="best so far",
        hovertemplate="best after trial %{customdata}: %{y:.3f}<extra></extra>",
    )


def _add_baselines(figure: Any, rows: pd.DataFrame, axis: _Axis) -> None:
    if rows.empty:
        return
    figure.add_scatter(
        x=_places(rows, axis),
        y=small(rows["value"].fillna(0.0)),
        text=[label(name) for name in rows["baseline"]],
        customdata=rows["number"].to_numpy(),
        mode="markers",
        name="baseline",
        marker={
            "symbol": "diamond",
            "size": 11,
            "color": palette.BASELINE,
            "line": {"width": 1, "color": palette.PAPER},
        },
        hovertemplate="trial %{customdata}, baseline %{text}: %{y:.3f}<extra></extra>",
    )


def history_sentence(study: StudyRecord, table: pd.DataFrame, over: str) -> str:
    """Return where the best COMPLETE trial was found, and how much was spent after it."""
    incumbent = study.incumbent
    row = table[table["number"] == (-1 if incumbent is None else incumbent.number)]
    if incumbent is None or row.empty:
        best = table.sort_values("value", ascending=False).iloc[0]
        return (
            f"No trial is COMPLETE yet; the highest value so far, {best['value']:.3f}, is of the "
            f"{best['state']} trial {best['number']}."
        )
    name = f"trial {incumbent.number}"
    name += f", the baseline “{incumbent.baseline}”" if incumbent.baseline else ""
    said = f"The best is {name}, at {incumbent.value:.3f}"
    trainings = study.trainings(incumbent).words()
    said += f" ({trainings})" if trainings else ""
    place, last = float(row[_AXES[over].column].iloc[0]), float(table[_AXES[over].column].max())
    if over == "trials":
        later = int(((table["number"] > incumbent.number) & (table["state"] != "RUNNING")).sum())
        better = "no better mean" if study.repeats_wanted else "nothing better"
        after = f"{count(later, 'trial')} after it brought {better}"
        return f"{said}; {after if later else 'no later trial has ended'}."
    share = f" ({100 * place / last:.0f} %)" if last > 0 else ""
    if over == "epochs":
        return f"{said}, found within {place:,.0f} of {last:,.0f} epochs{share}."
    return f"{said}, found after {duration(3600 * place)} of {duration(3600 * last)}{share}."
