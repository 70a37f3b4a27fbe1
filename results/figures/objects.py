"""Defects that a scored model finds, misses and invents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from results.analysis.objects import ALL_SIZES, objects_table
from results.figures.classes import TOP_LEGEND, unique
from results.figures.drawing import Drawing, blank, label
from results.records.evaluation import Evaluation
from results.style import palette
from results.style.words import count

_IN_PART = "#6fb1e0"
# Column, name, colour, hatching: told apart without colours too.
_PARTS = (
    ("found", "found", palette.ACCENT, ""),
    ("in_part", "in part", _IN_PART, "."),
    ("missed", "missed", palette.ALERT, "/"),
)


def objects_figure(evaluation: Evaluation, called: str) -> Drawing:
    """Return objects of each class found, found in part and missed; to the left, those invented.

    Args:
        evaluation: A scored model.
        called: What the page calls it: "best".
    """
    alt = f"Objects found, missed and invented by class, {called}"
    table = objects_table(evaluation)
    whole = table[table["size"] == ALL_SIZES]
    if not whole[["objects", "predicted"]].to_numpy().sum():
        return Drawing(None, "There is no object, neither in truth nor in the predictions.", alt)
    names = unique([label(name, 22) for name in whole["class"]])
    figure = blank(x="Objects", y="")
    for column, name, color, hatch in _PARTS:
        _add_bars(figure, names, whole[column], whole["objects"], name, color, hatch)
    _add_invented(figure, names, whole)
    ends = (int(whole["invented"].max()), int(whole["objects"].max()))
    figure.update_layout(barmode="relative", bargap=0.35, legend=TOP_LEGEND, margin={"t": 40})
    figure.update_xaxes(rangemode="normal", showgrid=True, zeroline=True, zerolinecolor=palette.INK)
    figure.update_xaxes(**_whole_ticks(*ends))
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False, ticks="")
    note = (
        "An object is a connected region of a class. Found: at least half of its pixels are "
        "predicted as its class; in part: fewer; missed: none. To the left, invented: a predicted "
        f"region without a true pixel of its class. n = {int(whole['objects'].sum()):,} true and "
        f"{int(whole['predicted'].sum()):,} predicted objects."
    )
    height = 150 + (34 if len(names) <= 12 else 22) * len(names)
    return Drawing(figure, note, alt, height, 420, objects_says(table))


def _add_bars(
    figure: Any, names: list[str], values: Any, total: Any, name: str, color: str, hatch: str
) -> None:
    figure.add_bar(
        x=values.to_numpy(),
        y=names,
        customdata=total.to_numpy(),
        orientation="h",
        name=name,
        marker={"color": color, "pattern": _pattern(hatch)},
        hovertemplate="%{y}: %{x} of %{customdata}",
    )


def _add_invented(figure: Any, names: list[str], whole: pd.DataFrame) -> None:
    figure.add_bar(
        x=-whole["invented"].to_numpy(),
        y=names,
        customdata=whole[["invented", "predicted"]].to_numpy(),
        orientation="h",
        name="invented",
        marker={"color": palette.BASELINE, "pattern": _pattern("\\")},
        hovertemplate="%{y}: %{customdata[0]} of %{customdata[1]} predicted",
    )


def _pattern(shape: str) -> dict[str, Any]:
    drawn = {"fillmode": "overlay", "fgcolor": palette.PAPER, "size": 6, "solidity": 0.25}
    return drawn | {"shape": shape}


def _whole_ticks(left: int, right: int) -> dict[str, Any]:
    """Return ticks of whole numbers without a sign: what is to the left is counted too."""
    step = next(
        base * 10**power
        for power in range(12)
        for base in (1, 2, 5)
        if (left + right) / (base * 10**power) <= 8
    )
    values = np.arange(-(left // step), right // step + 1) * step
    return {"tickvals": values.tolist(), "ticktext": [f"{abs(value):,}" for value in values]}


def objects_says(table: pd.DataFrame) -> str:
    """Return how many objects are found, missed and invented, and which are missed most."""
    whole = table[table["size"] == ALL_SIZES]
    total, found, part, missed, invented = (
        int(whole[name].sum()) for name in ("objects", "found", "in_part", "missed", "invented")
    )
    says = (
        f"{count(total, 'defect')}: {found:,} found, {part:,} in part, {missed:,} missed; besides, "
        f"{invented:,} invented."
    )
    sizes = table[(table["size"] != ALL_SIZES) & (table["objects"] > 0)]
    if not missed or sizes.empty:
        return says
    worst = whole[whole["objects"] > 0]
    worst_class = worst.iloc[int(np.argmax(worst["missed"] / worst["objects"]))]
    says += (
        f" Missed most: {worst_class['class']}, {int(worst_class['missed']):,} of "
        f"{int(worst_class['objects']):,}"
    )
    by_size = sizes.groupby("size", sort=False)[["objects", "missed"]].sum()
    if len(by_size) < 2:
        return says + "."
    size = by_size.iloc[int(np.argmax(by_size["missed"] / by_size["objects"]))]
    return says + (
        f"; by size, the {size.name} ones, {int(size['missed']):,} of {int(size['objects']):,}."
    )
