"""What every figure is made with: its frame, its words, its colours.

Everything that a user named (classes, choices, parameters) passes through ``label``: Plotly reads
a little markup in texts, and a class called ``<b>`` is no markup.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from results.records.study import StudyRecord
from results.style import palette

FONT = 'Inter, "Segoe UI", system-ui, -apple-system, "Helvetica Neue", Arial, sans-serif'


@dataclass(frozen=True)
class Drawing:
    """A figure, or the reason why there is none.

    Attributes:
        figure: a plotly Figure; None where there is nothing to draw.
        note: how to read it, its units and n, what was left out; or why there is none; plain text.
        alt: the figure in a few words, for those who do not see it.
        height: pixels on a screen.
        min_width: pixels below which it scrolls instead of shrinking.
        says: what it says here, a computed sentence; plain text.
    """

    figure: Any
    note: str
    alt: str
    height: int = 380
    min_width: int = 0
    says: str = ""


def label(text: object, most: int = 60) -> str:
    """Make a user's text safe for Plotly: shortened, its markup shown instead of read."""
    shown = str(text)
    shown = shown if len(shown) <= most else shown[: most - 1] + "…"
    return html.escape(shown, quote=False)


def objective_name(study: StudyRecord) -> str:
    """Return the objective in words: "Mean foreground Dice"."""
    words = study.objective.replace("_", " ").replace("dice", "Dice")
    return words[:1].upper() + words[1:]


def blank(x: str, y: str | None) -> Any:
    """Return an empty figure with the axes' titles; without y, bars by name."""
    axis = {
        "gridcolor": palette.LINE,
        "zeroline": False,
        "linecolor": palette.FAINT,
        "ticks": "outside",
        "tickcolor": palette.FAINT,
        "ticklen": 4,
        "automargin": True,
        "rangemode": "tozero",
    }
    # In one piece: every update of a figure is checked anew, which takes longer than drawing it.
    return go.Figure(
        layout={
            "template": "none",
            "font": {"family": FONT, "size": 13, "color": palette.INK},
            "paper_bgcolor": palette.PAPER,
            "plot_bgcolor": palette.PAPER,
            "margin": {"l": 56, "r": 16, "t": 16, "b": 48},
            "legend": {
                "orientation": "h",
                "x": 0,
                "y": -0.2,
                "yanchor": "top",
                "font": {"size": 12},
                "traceorder": "reversed",
            },
            "hoverlabel": {"font": {"family": FONT, "size": 13}},
            "showlegend": y is not None,
            "xaxis": axis | {"title": {"text": x, "standoff": 8}, "showgrid": y is None},
            "yaxis": axis | {"title": {"text": y, "standoff": 8} if y else None},
        }
    )


def count_axis(figure: Any, first: int, last: int) -> None:
    """Give the x axis whole numbers from first to last."""
    figure.update_xaxes(range=padded(first, last), rangemode="normal")
    if last - first < 10:
        figure.update_xaxes(dtick=1, tick0=0)


def padded(low: float, high: float) -> list[float]:
    """Return a range with room for marks at its ends."""
    margin = 0.025 * (high - low) or 0.5
    return [float(low - margin), float(high + margin)]


def small(values: pd.Series) -> Any:
    """Return the values as float32, for drawing."""
    # Half the bytes of float64, and more digits than a screen has pixels.
    return values.to_numpy(dtype=np.float32)


def thinned(shown: int, total: int, what: str) -> str:
    """Return the rule by which ``tables.thin`` left some out; empty where it did not."""
    if shown >= total:
        return ""
    return (
        f" Shows {shown:,} of {total:,} {what}: the best, the baselines and an even choice of "
        "the rest by rank."
    )
