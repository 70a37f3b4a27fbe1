"""How rare each class is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from results.figures.drawing import Drawing, blank, label
from results.style import palette

_ROW_HEIGHT = 30
_BESIDE = 0.24
# Told apart by shape too.
_MARKS = (
    (palette.ACCENT, "circle"),
    (palette.BASELINE, "diamond-open"),
    (palette.MUTED, "x-thin-open"),
    (palette.INK, "square-open"),
)
_FAR = 3.0


def share_figure(table: pd.DataFrame) -> Drawing:
    """Return the share of each class in the pixels of each split, from ``class_table``."""
    alt = "Share of each class in the pixels of each split"
    known = table[table["share"] > 0]
    if known.empty:
        return Drawing(None, "The study directory does not tell its classes' pixels.", alt)
    figure = blank(x="Share of the split's pixels, %", y=None)
    names = list(dict.fromkeys(table["class"]))
    rows = {name: len(names) - 1 - place for place, name in enumerate(names)}
    splits = list(dict.fromkeys(known["split"]))
    for place, split in enumerate(splits):
        # Beside each other, so that equal shares do not hide one another.
        beside = _BESIDE * ((len(splits) - 1) / 2 - place)
        part = known[known["split"] == split]
        _add_split(figure, part, part["class"].map(rows) + beside, str(split), place)
    figure.update_xaxes(type="log", rangemode="normal", dtick=1)
    figure.update_yaxes(
        tickvals=list(rows.values()),
        ticktext=[label(name, 24) for name in names],
        showgrid=True,
        range=[-0.6, len(names) - 0.4],
    )
    height = 110 + _ROW_HEIGHT * len(names)
    figure.update_layout(
        showlegend=True, legend={"traceorder": "normal", "y": 1, "yanchor": "bottom"}
    )
    note = (
        "A mark is a class's share of all counted pixels of a split, at the size the models are "
        "trained at; each line of the grid is ten times the one before. A class without a pixel "
        "has no mark."
    )
    return Drawing(figure, note, alt, height=height, says=share_sentence(table))


def _add_split(figure: Any, rows: pd.DataFrame, heights: pd.Series, split: str, place: int) -> None:
    color, symbol = _MARKS[place % len(_MARKS)]
    figure.add_scatter(
        x=100 * rows["share"].to_numpy(),
        y=heights.to_numpy(),
        text=[label(name, 24) for name in rows["class"]],
        customdata=rows[["images_with", "pixels"]].to_numpy(),
        mode="markers",
        name=label(split, 24),
        marker={"size": 9, "color": color, "symbol": symbol, "line": {"width": 2, "color": color}},
        hovertemplate="%{text}: %{x:.3f} % (%{customdata[1]:,} pixels in %{customdata[0]:,} images)"
        f"<extra>{label(split, 24)}</extra>",
    )


def share_sentence(table: pd.DataFrame) -> str:
    """Return which class is the rarest, and which is shown unlike in training."""
    first = "train" if "train" in set(table["split"]) else str(table["split"].iloc[0])
    part = table[(table["split"] == first) & (table["share"] > 0)]
    background = table["class"].iloc[0]
    foreground = part[part["class"] != background]
    if foreground.empty:
        return f"Split {first} holds no pixel of a foreground class."
    rarest = foreground.sort_values("share").iloc[0]
    said = f"{rarest['class']} is the rarest: {100 * rarest['share']:.2g} % of {first}'s pixels"
    base = part.loc[part["class"] == background, "share"]
    if len(base):
        said += f", {float(base.iloc[0]) / rarest['share']:,.0f} times fewer than {background}"
    return f"{said}.{_absent(table, background)}{_unlike(table, background)}"


def _absent(table: pd.DataFrame, background: object) -> str:
    missing = table[(table["share"] == 0) & (table["class"] != background)]
    if missing.empty:
        return ""
    row, more = missing.iloc[0], len(missing) - 1
    rest = f"; {more} more such gap{'s' if more > 1 else ''}" if more else ""
    return f" {row['class']} has no pixel in {row['split']}{rest}."


def _unlike(table: pd.DataFrame, background: object) -> str:
    ratios = table[(table["class"] != background) & (table["against_train"] > 0)]
    ratios = ratios[ratios["split"] != "train"]
    if ratios.empty:
        return ""
    far = np.abs(np.log(ratios["against_train"].to_numpy(np.float64)))
    if far.max() < np.log(_FAR):
        return ""
    row = ratios.iloc[int(far.argmax())]
    return (
        f" {row['split']} shows {row['class']} unlike train: {row['against_train']:.2g} times its "
        "share of the pixels there."
    )
