"""Plotly figures of a study, each drawn from tables and told with a note of what it shows.

Everything that a user named (classes, choices, parameters) passes through ``label``: Plotly reads
a little markup in texts, and a class called ``<b>`` is no markup.
"""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from results import palette, pareto, tables
from results.importance import Importances
from results.records import StudyRecord
from results.searched import SearchedField, searched_fields, short_names
from results.tables import StudyTables

MOST_HISTORY_POINTS = 2000
MOST_CURVES = 60
MOST_LINES = 300
_FONT = 'Inter, "Segoe UI", system-ui, -apple-system, "Helvetica Neue", Arial, sans-serif'
_MOST_AXES = 12


@dataclass(frozen=True)
class Drawing:
    """A figure, or the reason why there is none.

    Attributes:
        figure: a plotly Figure; None where there is nothing to draw.
        note: what was drawn and what was left out, or why nothing was; plain text.
        alt: the figure in a few words, for those who do not see it.
        height: pixels on a screen.
        min_width: pixels below which it scrolls instead of shrinking.
    """

    figure: Any
    note: str
    alt: str
    height: int = 380
    min_width: int = 0


def label(text: object, most: int = 60) -> str:
    """Make a user's text safe for Plotly: shortened, its markup shown instead of read."""
    shown = str(text)
    shown = shown if len(shown) <= most else shown[: most - 1] + "…"
    return html.escape(shown, quote=False)


def objective_name(study: StudyRecord) -> str:
    """The objective in words: "Mean foreground Dice"."""
    words = study.objective.replace("_", " ").replace("dice", "Dice")
    return words[:1].upper() + words[1:]


def history_figure(data: StudyTables) -> Drawing:
    """The value of every trial by its number, by state, under the line of the best so far."""
    table = tables.history_table(data.trials)
    alt = "Value of each trial by number, with the best so far"
    if not table["value"].notna().any():
        return Drawing(None, "No trial has a value yet.", alt)
    improving = set(table.loc[table["best"] > table["best"].shift(fill_value=-math.inf), "number"])
    named = set(table.loc[table["baseline"].notna(), "number"])
    shown = tables.thin(table, MOST_HISTORY_POINTS, improving | named)
    figure = _figure(x="Trial", y=objective_name(data.study))
    # Marks on the border are whole: the collapsed baseline stands in the corner of the plot.
    _count_axis(figure, 0, int(table["number"].max()))
    figure.update_yaxes(range=_padded(0, 1.05 * table["value"].max() or 1.0), rangemode="normal")
    for state in ("PRUNED", "RUNNING", "COMPLETE"):
        _add_trials(figure, shown[(shown["state"] == state) & shown["baseline"].isna()], state)
    _add_failures(figure, shown[(shown["state"] == "FAIL") & shown["baseline"].isna()])
    _add_best_line(figure, table)
    _add_baselines(figure, shown[shown["baseline"].notna()])
    note = "Each mark is a trial at its best epoch; the line is the best COMPLETE trial so far."
    return Drawing(figure, note + _thinned(len(shown), len(table), "trials"), alt, height=400)


def _add_trials(figure: Any, rows: pd.DataFrame, state: str) -> None:
    if rows.empty:
        return
    color = palette.STATE_COLORS[state]
    size = 8 if len(rows) <= 200 else 5
    filled = {"size": size, "color": color, "line": {"width": 1, "color": palette.PAPER}}
    hollow = {"size": size - 1, "color": palette.PAPER, "line": {"width": 1.5, "color": color}}
    figure.add_scatter(
        x=rows["number"].to_numpy(),
        y=_small(rows["value"]),
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
        y=_small(rows["value"].fillna(0.0)),
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
        y=_small(corners["best"]),
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
        y=_small(rows["value"].fillna(0.0)),
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
    figure = _figure(x="Epoch", y=title)
    _count_axis(figure, 1, int(curves["epoch"].max()))
    if column.endswith("loss"):
        figure.update_yaxes(rangemode="normal")
    for state in ("PRUNED", "FAIL", "RUNNING", "COMPLETE"):
        numbers = set(shown.loc[shown["state"] == state, "number"]) - set(front)
        _add_curves(figure, curves[curves["number"].isin(numbers)], column, state)
    for number, (name, color) in front.items():
        _add_front_curve(figure, curves[curves["number"] == number], column, name, color)
    return Drawing(figure, _thinned(len(shown), len(trials), "trials").strip(), alt, height=360)


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
        y=np.insert(_small(curves[column]), ends, np.nan),
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
        y=_small(curve[column]),
        mode="lines+markers",
        name=name,
        line={"width": 2.5, "color": color},
        marker={"size": 5},
        hovertemplate="epoch %{x}: %{y:.3f}<extra>" + name + "</extra>",
    )


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
    others = table[~table["front"]].head(MOST_HISTORY_POINTS)
    front = table[table["front"]].sort_values([measure, "value"])
    figure = _figure(x=title, y=objective_name(study))
    figure.update_layout(legend={"traceorder": "normal"})
    faint = {"size": 7, "color": palette.PAPER, "line": {"width": 1.5, "color": palette.FAINT}}
    marked = {"size": 9, "color": palette.ACCENT}
    single = len(pareto.minimized(study)) == 1
    for rows, name, marker in ((others, "beaten", faint), (front, "Pareto front", marked)):
        if rows.empty:
            continue
        figure.add_scatter(
            x=_small(rows[measure]),
            y=_small(rows["value"]),
            customdata=rows["number"].to_numpy(),
            # With more objectives the front is no line in this plane.
            mode="lines+markers" if single and rows is front else "markers",
            line={"shape": "hv", "width": 1.5, "color": palette.ACCENT},
            name=name,
            marker=marker,
            hovertemplate="trial %{customdata}: %{y:.3f} with %{x:.4g}<extra>" + name + "</extra>",
        )
    note = "No COMPLETE trial is at least as good as one of the front in every objective and "
    note += "better in one." + _thinned(len(others) + len(front), len(table), "trials")
    return Drawing(figure, note, alt, height=360)


def class_curves_figure(study: StudyRecord) -> Drawing:
    """The incumbent's Dice of each class by epoch."""
    trial = study.incumbent
    alt = "Dice per class by epoch of the best trial"
    if trial is None:
        return Drawing(None, "No trial is COMPLETE with a value yet.", alt)
    table = tables.class_curves_table(study, trial)
    figure = _figure(x="Epoch", y="Dice")
    figure.update_layout(legend={"traceorder": "normal"})
    _count_axis(figure, 1, int(trial.curve.epoch.max(initial=1)))
    for index, name in enumerate(study.classes):
        values = table[name]
        if index == 0 or not values.notna().any():
            continue
        color, dash = palette.class_style(index)
        figure.add_scatter(
            x=table.index.to_numpy(),
            y=_small(values),
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
        {"label": "<b>value</b>", "values": _small(shown["value"]), "range": [0, top or 1]}
    )
    figure = _parallel(dimensions, _small(shown["value"]), top)
    note = "Each line is a trial that was completed or pruned, darker for higher values. "
    note += "Drag along an axis to keep some of them." + _thinned(len(shown), len(table), "trials")
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
        font={"family": _FONT}, margin={"l": max(70, 20 + 7 * first), "r": 50, "t": 56, "b": 24}
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
    figure = _figure(x="Importance (sums to 1)", y=None)
    figure.add_bar(
        x=_small(table["importance"]),
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


def _figure(x: str, y: str | None) -> Any:
    figure = go.Figure()
    axis = {
        "gridcolor": palette.LINE,
        "zeroline": False,
        "linecolor": palette.FAINT,
        "ticks": "outside",
        "tickcolor": palette.FAINT,
        "ticklen": 4,
        "automargin": True,
        "title_standoff": 8,
    }
    figure.update_layout(
        template="none",
        font={"family": _FONT, "size": 13, "color": palette.INK},
        paper_bgcolor=palette.PAPER,
        plot_bgcolor=palette.PAPER,
        margin={"l": 56, "r": 16, "t": 16, "b": 48},
        legend={
            "orientation": "h",
            "x": 0,
            "y": -0.2,
            "yanchor": "top",
            "font": {"size": 12},
            "traceorder": "reversed",
        },
        hoverlabel={"font": {"family": _FONT, "size": 13}},
        showlegend=y is not None,
    )
    figure.update_xaxes(title={"text": x}, showgrid=y is None, rangemode="tozero", **axis)
    figure.update_yaxes(title={"text": y} if y else None, rangemode="tozero", **axis)
    return figure


def _count_axis(figure: Any, first: int, last: int) -> None:
    figure.update_xaxes(range=_padded(first, last), rangemode="normal")
    if last - first < 10:
        figure.update_xaxes(dtick=1, tick0=0)


def _padded(low: float, high: float) -> list[float]:
    margin = 0.025 * (high - low) or 0.5
    return [float(low - margin), float(high + margin)]


def _small(values: pd.Series) -> Any:
    # Half the bytes of float64, and more digits than a screen has pixels.
    return values.to_numpy(dtype=np.float32)


def _thinned(shown: int, total: int, what: str) -> str:
    if shown >= total:
        return ""
    return (
        f" Shows {shown:,} of {total:,} {what}: the best, the baselines and an even choice of "
        "the rest by rank."
    )
