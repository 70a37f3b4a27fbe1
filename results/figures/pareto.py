"""Pareto fronts: Dice against what a model or its training costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from results.analysis import pareto
from results.analysis.pareto import TRADED, Tradeoff
from results.figures.drawing import Drawing, blank, objective_name, small, thinned
from results.figures.slices import MARKS
from results.records.study import StudyRecord
from results.style import palette
from results.style.words import count, duration, magnitude

MOST_POINTS = 2000
NEAR = 0.02
_POWERS = 20


def pareto_figure(study: StudyRecord, measure: str) -> Drawing:
    """Return the COMPLETE trials by value and by one of what is minimised, the Pareto front in
    front.

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
    return Drawing(figure, note, alt, height=360, says=_says(front, len(table), title))


def _says(front: pd.DataFrame, trials: int, title: str) -> str:
    text = f"{len(front)} of {trials} COMPLETE trials are on the front"
    best = front.sort_values(["value", "number"], ascending=[False, True]).iloc[0]
    return f"{text}; its highest Dice is {best['value']:.3f}, trial {best['number']:.0f}."


def tradeoff_figure(study: StudyRecord, found: Tradeoff) -> Drawing:
    """Return the COMPLETE trials by value and by one cost, the front, the best and the baselines
    marked.

    Args:
        study: the study's records.
        found: of ``tradeoff_table``.
    """
    title = measure_title(found.measure)
    alt = f"{objective_name(study)} of each trial against {title.lower()}, the front marked"
    table = found.table
    if table.empty:
        return Drawing(None, found.reason or "No trial has a value and this cost.", alt)
    figure = blank(x=title, y=objective_name(study))
    figure.update_layout(legend={"traceorder": "normal"})
    others = table[~table["front"]]
    shown = others.head(MOST_POINTS)
    front = table[table["front"]].sort_values([found.measure, "value"])
    incumbent = study.incumbent
    best = table[table["number"] == (incumbent.number if incumbent else -1)]
    baselines = table[table["baseline"].notna()]
    for rows, name, style in (
        (shown, "other trials", _OTHERS),
        (front, "front", _FRONT),
        (baselines, "baseline", {"mode": "markers", "marker": MARKS["baseline"]}),
        (best, "best trial", {"mode": "markers", "marker": MARKS["best"]}),
    ):
        if not rows.empty:
            _add_trials(figure, rows, found.measure, name, style)
    note = _tradeoff_note(found, len(shown), len(others))
    if spans_powers(table[found.measure]):
        figure.update_xaxes(type="log", rangemode="normal", dtick="D2", tickformat="~s")
        note += " The cost stands by its logarithm."
    return Drawing(figure, note, alt, height=360, says=tradeoff_words(found))


def spans_powers(costs: pd.Series) -> bool:
    """Return whether the highest cost is so far above the lowest that an axis needs its
    logarithm.
    """
    return bool(costs.min() > 0 and costs.max() > _POWERS * costs.min())


_OTHERS: Mapping[str, Any] = {
    "mode": "markers",
    "marker": {"size": 7, "color": palette.PAPER, "line": {"width": 1.5, "color": palette.FAINT}},
}
_FRONT: Mapping[str, Any] = {
    "mode": "lines+markers",
    "line": {"shape": "hv", "width": 1.5, "color": palette.ACCENT},
    "marker": {"size": 9, "color": palette.ACCENT},
}


def _add_trials(
    figure: Any, rows: pd.DataFrame, measure: str, name: str, style: Mapping[str, Any]
) -> None:
    figure.add_scatter(
        x=small(rows[measure]),
        y=small(rows["value"]),
        customdata=rows["number"].to_numpy(),
        name=name,
        cliponaxis=False,
        hovertemplate="trial %{customdata}: %{y:.3f} for %{x:.4g}<extra>" + name + "</extra>",
        **style,
    )


def measure_title(measure: str) -> str:
    """Return a measure with its unit: "Training time (s)"."""
    name, unit = TRADED[measure]
    return f"{name} ({unit})" if unit else name


def amount(measure: str, value: float) -> str:
    """Return an amount of a measure for people: "1.9 M parameters", "12 min", "0.42 GFLOP"."""
    if measure == "seconds":
        return duration(value)
    if measure == "parameters":
        return f"{magnitude(value)} parameters"
    return f"{value:.3g} {TRADED[measure][1]}"


def near_best(found: Tradeoff) -> Mapping[Any, Any] | None:
    """Return the cheapest trial within ``NEAR`` of the highest value; None in an empty table."""
    if found.table.empty:
        return None
    near = found.table[found.table["value"] >= found.table["value"].max() - NEAR]
    cheapest = near.sort_values([found.measure, "value", "number"], ascending=[True, False, True])
    rows: list[dict[Any, Any]] = cheapest.head(1).to_dict("records")
    return rows[0]


def tradeoff_words(found: Tradeoff) -> str:
    """Return the cheapest configuration near the best one, as a sentence."""
    cheap, best = near_best(found), found.table.to_dict("records")[0]
    if cheap is None:
        return ""
    cost, most = cheap[found.measure], best[found.measure]
    if cheap["number"] == best["number"]:
        text = f"Nothing cheaper comes within {NEAR} of the best, trial {best['number']}: "
        return text + f"{best['value']:.3f} for {amount(found.measure, most)}."
    text = f"The cheapest within {NEAR} of the best is trial {cheap['number']}: "
    text += f"{cheap['value']:.3f} for {amount(found.measure, cost)}, where the best, trial "
    text += f"{best['number']}, has {best['value']:.3f} for {amount(found.measure, most)}"
    if most > 0 and not cost < most:
        return text + "."
    return text + (f" ({100 * (1 - cost / most):.0f} % less)." if most > 0 else ".")


def _tradeoff_note(found: Tradeoff, shown: int, others: int) -> str:
    note = f"{count(len(found.table), 'COMPLETE trial')}, validation split. On the front no trial "
    note += "is as good for less or better for as much. "
    note += _MEANT[found.measure]
    if found.left_out:
        note += f" Left out: {count(found.left_out, 'COMPLETE trial')} without this cost."
    if shown < others:
        note += f" Of the others the best {shown:,} of {others:,} are shown."
    return note


_MEANT: Mapping[str, str] = {
    "parameters": "Parameters are those of the whole model.",
    "gflops": "Operations are counted for the forward pass of one image, not timed.",
    "activation_mb": "Memory is estimated for the activations of one image's forward pass.",
    "latency_ms": "Latency was measured where the trials ran, one image at a time.",
    "seconds": "Time is that of all the epochs that a trial trained, shared machines included.",
}
