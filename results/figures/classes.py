"""Dice per class: of one trial by epoch, and of all trials as a map."""

from __future__ import annotations

from collections.abc import Sequence
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
    small,
    thinned,
)
from results.records.study import StudyRecord
from results.style import palette
from results.style.words import count, listed, number
from results.tables import StudyTables
from results.tables.classes import absent_classes, valued_trials

MOST_COLUMNS = 1000
# Above the drawing, where its distance does not grow with the drawing's height.
TOP_LEGEND = {"y": 1.0, "yanchor": "bottom", "traceorder": "normal"}

_MOST_CELLS = 12_000
_SCALE = [[i / (len(palette.SEQUENTIAL) - 1), c] for i, c in enumerate(palette.SEQUENTIAL)]


def class_curves_figure(study: StudyRecord) -> Drawing:
    """Return the incumbent's Dice of each class by epoch."""
    trial = study.incumbent
    alt = "Dice per class by epoch of the best trial"
    if trial is None:
        return Drawing(None, "No trial is COMPLETE with a value yet.", alt)
    table = tables.class_curves_table(study, trial)
    figure = blank(x="Epoch", y="Dice")
    figure.update_layout(legend={"traceorder": "normal"})
    count_axis(figure, 1, int(trial.curve.epoch.max(initial=1)))
    for index, name in enumerate(study.classes):
        values = table[name]
        if index == 0 or not values.notna().any():
            continue
        color, dash = palette.class_style(index)
        figure.add_scatter(
            x=table.index.to_numpy(),
            y=small(values),
            mode="lines+markers" if len(table) < 3 else "lines",
            name=label(name, 24),
            line={"width": 2, "color": color, "dash": dash},
            hovertemplate="epoch %{x}: %{y:.3f}",
        )
    if not figure.data:
        return Drawing(None, "No foreground class is defined in the validation split.", alt)
    _mark_epoch(figure, trial.curve.epoch[trial.best_row] if trial.best_row is not None else None)
    note = f"Trial {trial.number}, validation split; the dotted line is its best epoch."
    return Drawing(figure, note, alt, height=360)


def _mark_epoch(figure: Any, epoch: int | None) -> None:
    if epoch is not None:
        figure.add_vline(x=int(epoch), line={"width": 1, "dash": "dot", "color": palette.MUTED})


def class_map_figure(data: StudyTables) -> Drawing:
    """Dice of each foreground class in each trial, the trials ordered by value."""
    study = data.study
    alt = "Heat map of Dice by class and trial, best trial first"
    names = study.classes[1:]
    most = min(MOST_COLUMNS, _MOST_CELLS // (len(names) + 1))
    shown, total = valued_trials(data, most)
    if shown.empty:
        return Drawing(None, "No trial has a score yet.", alt)
    dice = data.dice.loc[shown["number"]].to_numpy()[:, 1:]
    matrix = np.vstack([_row_means(dice), dice.T])[::-1]
    rows = unique(["Mean", *(label(name, 24) for name in names)])[::-1]
    columns = _column_labels(shown, study)
    figure = blank(x="Trials, the best value first (some are numbered)", y="")
    gaps = {"xgap": 1 if len(columns) <= 80 else 0, "ygap": 2}
    figure.add_heatmap(
        x=columns,
        y=rows,
        z=matrix.astype(np.float32),
        zmin=0,
        zmax=1,
        colorscale=_SCALE,
        colorbar={"title": {"text": "Dice"}, "thickness": 10, "outlinewidth": 0, "len": 0.9},
        hovertemplate="%{x}<br>%{y}: %{z:.3f}<extra></extra>",
        hoverongaps=False,
        **gaps,
    )
    _add_undefined(figure, columns, rows, np.isnan(matrix), gaps)
    _add_front_marks(figure, columns, shown, study)
    _name_axes(figure, columns, shown, rows)
    note = (
        f"A column is a trial with its Dice at its best epoch on the validation split; ordered by "
        f"{objective_name(study).lower().replace('dice', 'Dice')}, of trials in whatever state. "
        "Grey cells struck out are undefined (the class is in neither truth nor prediction), not "
        f"zero. n = {count(len(shown), 'trial')}."
        + thinned(len(shown), total, "trials with a value")
    )
    height = 130 + (26 if len(rows) <= 12 else 18) * (len(rows) + 1)
    return Drawing(figure, note, alt, height, 560, _map_says(data))


def _row_means(values: Any) -> Any:
    """[n] mean of each row, undefined values left out; NaN where none is defined."""
    defined = ~np.isnan(values)
    total = np.where(defined, values, 0.0).sum(axis=1)
    known = defined.sum(axis=1)
    return np.where(known > 0, total / np.maximum(known, 1), np.nan)


def unique(names: Sequence[str]) -> list[str]:
    """Tell equal names apart, as shortened ones may be: Plotly would draw them as one."""
    seen: dict[str, int] = {}
    made = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        made.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return made


def _column_labels(shown: pd.DataFrame, study: StudyRecord) -> list[str]:
    best = study.incumbent.number if study.incumbent else None
    made = []
    for trial, state, name in zip(shown["number"], shown["state"], shown["baseline"], strict=True):
        text = f"trial {trial}, {state}" + (", the best" if trial == best else "")
        made.append(text + (f", baseline {label(name, 30)}" if isinstance(name, str) else ""))
    return made


def _add_undefined(
    figure: Any, columns: list[str], rows: list[str], undefined: Any, gaps: dict[str, int]
) -> None:
    if not undefined.any():
        return
    figure.add_heatmap(
        x=columns,
        y=rows,
        z=np.where(undefined, 1.0, np.nan).astype(np.float32),
        colorscale=[[0, palette.LINE], [1, palette.LINE]],
        showscale=False,
        hovertemplate="%{x}<br>%{y}: undefined<extra></extra>",
        hoverongaps=False,
        **gaps,
    )
    x: list[str | None] = []
    y: list[str | None] = []
    for row, cells in zip(rows, undefined, strict=True):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], cells, [0]])))
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            x += [columns[start], columns[end - 1], None]
            y += [row, row, None]
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines+markers",
        line={"width": 1.5, "color": palette.MUTED},
        marker={"symbol": "line-ew", "size": 6, "line": {"width": 1.5, "color": palette.MUTED}},
        hoverinfo="skip",
        showlegend=False,
    )


def _add_front_marks(
    figure: Any, columns: list[str], shown: pd.DataFrame, study: StudyRecord
) -> None:
    """Mark the incumbent and the baselines in a row of their own above the map."""
    best = study.incumbent.number if study.incumbent else None
    is_best = (shown["number"] == best).to_numpy()
    is_baseline = shown["baseline"].map(lambda name: isinstance(name, str)).to_numpy(dtype=bool)
    for chosen, name, symbol, color in (
        (is_best, "best trial", "triangle-down", palette.ACCENT),
        (is_baseline & ~is_best, "baseline", "diamond", palette.BASELINE),
    ):
        places = [columns[place] for place in np.flatnonzero(chosen)]
        if places:
            figure.add_scatter(
                x=places,
                y=[" "] * len(places),
                mode="markers",
                name=name,
                cliponaxis=False,
                marker={"symbol": symbol, "size": 11, "color": color},
                hovertemplate="%{x}<extra></extra>",
            )


def _name_axes(figure: Any, columns: list[str], shown: pd.DataFrame, rows: list[str]) -> None:
    places = np.unique(np.linspace(0, len(columns) - 1, min(len(columns), 14)).round().astype(int))
    numbers = shown["number"].to_numpy()
    figure.update_xaxes(
        type="category",
        categoryorder="array",
        categoryarray=columns,
        tickmode="array",
        tickvals=[columns[place] for place in places],
        ticktext=[str(numbers[place]) for place in places],
        tickangle=0,
        rangemode="normal",
        range=[-0.5, len(columns) - 0.5],
    )
    figure.update_yaxes(
        type="category",
        categoryorder="array",
        categoryarray=[*rows, " "],
        tickmode="array",
        tickvals=rows,
        ticktext=rows,
        showgrid=False,
        rangemode="normal",
        range=[-0.5, len(rows) + 0.5],
        ticks="",
    )
    figure.update_layout(legend=TOP_LEGEND)


def _map_says(data: StudyTables) -> str:
    """Of all trials with a value, also those that were left out of the map."""
    trials = data.trials[data.trials["value"].notna()]
    dice = data.dice.loc[trials["number"]].to_numpy()[:, 1:]
    names = data.study.classes[1:]
    absent = absent_classes(data.study)
    there = [place for place, name in enumerate(names) if name not in absent]
    lacking = f" The validation split shows no {listed(sorted(absent))}." if absent else ""
    dice, names = dice[:, there], tuple(names[place] for place in there)
    defined = ~np.isnan(dice)
    counted = defined.sum(axis=1) >= 2
    if not counted.any():
        return lacking.strip()
    lowest = np.where(defined, dice, np.inf)[counted].argmin(axis=1)
    times = np.bincount(lowest, minlength=len(names))
    weakest = int(times.argmax())
    says = (
        f"{names[weakest]} is the weakest class in {times[weakest]:,} of "
        f"{count(int(counted.sum()), 'trial')}"
    )
    best = data.study.incumbent
    row = dice[(trials["number"] == best.number).to_numpy()] if best else dice[:0]
    if not len(row) or np.isnan(row).all():
        return f"{says}.{lacking}"
    low, high = int(np.nanargmin(row[0])), int(np.nanargmax(row[0]))
    return (
        f"{says}; in the best trial Dice lies between {number(row[0, low])} ({names[low]}) and "
        f"{number(row[0, high])} ({names[high]}).{lacking}"
    )
