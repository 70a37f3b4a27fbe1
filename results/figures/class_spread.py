"""Dice per class over trials: its spread, and which classes gain together."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from results.analysis.baselines import best_baseline
from results.figures.classes import TOP_LEGEND, unique
from results.figures.drawing import Drawing, blank, label, small
from results.style import palette
from results.style.words import count, listed, number
from results.tables import StudyTables
from results.tables.classes import absent_classes, class_correlation, class_spread, compared_trials

MOST_POINTS = 120
FEW_TRIALS = 20

_DIVERGING = [[0.0, palette.BASELINE], [0.5, palette.PAPER], [1.0, palette.ACCENT]]


def class_spread_figure(data: StudyTables) -> Drawing:
    """Return how the trials' Dice of each foreground class is spread: boxes, trials as points."""
    dice, which = compared_trials(data)
    alt = f"Spread of Dice per class over {which} trials"
    table = class_spread(dice)
    drawn = table[table["trials"] > 0]
    if drawn.empty:
        return Drawing(None, "No finished trial has a defined foreground class yet.", alt)
    figure = blank(x="Dice", y="")
    for place, name in enumerate(table["class"]):
        if table["trials"].iloc[place]:
            color, _ = palette.class_style(place + 1)
            _add_box(figure, table.iloc[place], place, color)
            _add_points(figure, dice[name].dropna(), place, color)
    _add_references(figure, data, table)
    names = [
        f"{label(name, 22)}  n={trials:,}"
        for name, trials in zip(table["class"], table["trials"], strict=True)
    ]
    ends = [len(table) - 0.4, -0.6]
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=names, showgrid=False)
    figure.update_yaxes(range=ends, rangemode="normal", ticks="")
    figure.update_xaxes(range=[-0.01, 1.01], rangemode="normal", showgrid=True)
    figure.update_layout(legend=TOP_LEGEND, margin={"t": 40})
    note = (
        f"Boxes hold the middle half of the {which} trials around their median, whiskers reach to "
        "the smallest and largest; n = trials in which the class is defined. A point is a trial"
    )
    note += (
        f" (an even choice of {MOST_POINTS} by rank, where there are more)."
        if table["trials"].max() > MOST_POINTS
        else "."
    )
    return Drawing(
        figure,
        note,
        alt,
        110 + 44 * len(table),
        480,
        _spread_says(drawn, which, absent_classes(data.study)),
    )


def _add_box(figure: Any, row: pd.Series, place: int, color: str) -> None:
    figure.add_box(
        y=[place],
        q1=[row["lower"]],
        median=[row["median"]],
        q3=[row["upper"]],
        lowerfence=[row["low"]],
        upperfence=[row["high"]],
        orientation="h",
        width=0.34,
        line={"color": color, "width": 1.5},
        fillcolor="rgba(0,0,0,0)",
        hoverinfo="x",
        showlegend=False,
    )


def _add_points(figure: Any, values: pd.Series, place: int, color: str) -> None:
    ordered = values.sort_values()
    most = min(len(ordered), MOST_POINTS)
    ordered = ordered.iloc[np.linspace(0, len(ordered) - 1, most).round().astype(int)]
    # The golden ratio spreads neighbours apart without drawing random numbers.
    off = (np.arange(most) * 0.618034) % 1 * 0.16
    figure.add_scatter(
        x=small(ordered),
        y=(place + 0.24 + off).astype(np.float32),
        customdata=ordered.index.to_numpy(),
        mode="markers",
        marker={"size": 4, "color": color, "opacity": 0.65},
        hovertemplate="trial %{customdata}: %{x:.3f}<extra></extra>",
        showlegend=False,
    )


def _add_references(figure: Any, data: StudyTables, table: pd.DataFrame) -> None:
    study = data.study
    for trial, name, symbol, color in (
        (best_baseline(study), "baseline", "diamond", palette.BASELINE),
        (study.incumbent, "best trial", "triangle-down", palette.ACCENT),
    ):
        if trial is None:
            continue
        values = data.dice.loc[[trial.number]].iloc[0][list(table["class"])]
        figure.add_scatter(
            x=small(values),
            y=(np.arange(len(table)) - 0.3).astype(np.float32),
            mode="markers",
            name=f"{name} ({trial.number})",
            marker={"symbol": symbol, "size": 9, "color": color},
            hovertemplate="%{x:.3f}",
        )


def _spread_says(drawn: pd.DataFrame, which: str, absent: Collection[str]) -> str:
    drawn = drawn[~drawn["class"].isin(absent)]
    if drawn.empty:
        return ""
    hardest = drawn.iloc[int(np.argmin(drawn["median"]))]
    says = (
        f"{hardest['class']} is the hardest: its median over {int(hardest['trials']):,} {which} "
        f"{'trial' if hardest['trials'] == 1 else 'trials'} is {number(hardest['median'])}, its "
        f"highest Dice {number(hardest['high'])}"
    )
    if len(drawn) < 2 or int(drawn["trials"].max()) < 4:
        return says + "."
    widths = drawn["upper"] - drawn["lower"]
    widest = drawn.iloc[int(np.argmax(widths))]
    return (
        says + f". {widest['class']} differs most from config to config: the middle half lies "
        f"between {number(widest['lower'])} and {number(widest['upper'])}."
    )


def class_correlation_figure(data: StudyTables) -> Drawing:
    """Rank correlation of Dice between classes over trials."""
    dice, which = compared_trials(data)
    alt = f"Rank correlation of Dice between classes over {which} trials"
    table = class_correlation(dice)
    names = [str(name) for name in dice.columns[1:]]
    if len(names) < 2:
        return Drawing(None, "One foreground class: there is no pair to correlate.", alt)
    if table["rho"].isna().all():
        why = f"Needs three {which} trials in which two classes are defined and vary."
        return Drawing(None, why, alt)
    matrix = np.full((len(names), len(names)), np.nan)
    matrix[np.triu_indices(len(names), 1)] = table["rho"]
    known = np.flatnonzero((~np.isnan(np.fmax(matrix, matrix.T))).any(axis=1))
    left_out = [name for place, name in enumerate(names) if place not in known]
    matrix, names = matrix[np.ix_(known, known)], [names[place] for place in known]
    shown = unique([label(name, 20) for name in names])
    figure = blank(x="", y="")
    figure.add_heatmap(
        # Below the diagonal: each pair once.
        z=matrix.T[1:, :-1].astype(np.float32),
        x=shown[:-1],
        y=shown[1:],
        zmin=-1,
        zmax=1,
        colorscale=_DIVERGING,
        colorbar={"title": {"text": "rho"}, "thickness": 10, "outlinewidth": 0, "len": 0.9},
        texttemplate="%{z:.2f}" if len(names) <= 12 else None,
        hovertemplate="%{y} and %{x}: %{z:.2f}<extra></extra>",
        hoverongaps=False,
        xgap=2,
        ygap=2,
    )
    figure.update_xaxes(type="category", showgrid=False, ticks="", tickangle=-35)
    figure.update_yaxes(type="category", showgrid=False, ticks="", autorange="reversed")
    note = (
        f"Spearman's rho over {count(int(table['trials'].max()), 'trial')} ({which}): 1, the "
        "trials rank alike for both classes; −1, what gains one loses the other. Trials that are "
        "bad at everything tie all classes together."
    )
    if left_out:
        note += f" Left out, for it is constant or undefined: {listed(left_out)}."
    size = 44 if len(names) <= 12 else 20
    height, width = 150 + size * len(names), 170 + size * len(names)
    return Drawing(figure, note, alt, max(height, 260), width, correlation_says(table))


def correlation_says(table: pd.DataFrame) -> str:
    """Name the strongest trade-off and alliance of ``class_correlation``, and what is chance."""
    known = table.dropna(subset=["rho"])
    if known.empty:
        return ""
    low, high = (known.iloc[int(find(known["rho"]))] for find in (np.argmin, np.argmax))
    trials = int(known["trials"].max())
    # Two-sided 5 % of the permutation distribution's normal approximation.
    chance = min(1.96 / math.sqrt(trials - 1), 1.0)
    if low["rho"] < 0:
        says = f"The strongest trade-off is {_pair(low, chance)}"
    else:
        says = "No pair of classes trades off"
    if high["rho"] > 0:
        says += f"; the strongest alliance {_pair(high, chance)}"
    says += "."
    if trials < FEW_TRIALS:
        says += (
            f" With {count(trials, 'trial')} this is a hint at most: below {chance:.2f} in size a "
            "correlation may be chance."
        )
    return says


def _pair(row: pd.Series, chance: float) -> str:
    text = f"{row['first']} and {row['second']} (rho {row['rho']:.2f}".replace("-", "−")
    return text + (")" if abs(row["rho"]) >= chance else ", within chance)")
