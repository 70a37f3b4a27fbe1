"""Importances: which field moves the mean, and which moves each class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from results.figures.drawing import Drawing, blank, label
from results.records.searched import short_names
from results.style import palette
from results.style.words import number

FEW_TRIALS = 50


def importance_figure(table: pd.DataFrame, how: str, targets: Mapping[str, str]) -> Drawing:
    """Return a heat map of importances, a target a row, a field a column, ranges written in the
    cells.

    Args:
        table: columns target, parameter, importance, low, high, trials; not empty.
        how: by what method and over what repeats, for the note.
        targets: what each target is called, in the order of the rows.
    """
    parameters = by_importance(table, next(iter(targets)))
    names = short_names(parameters)
    rows = [target for target in targets if target in set(table["target"])]
    wide = _wide(table, rows, parameters)
    figure = blank(x="", y=None)
    steps = np.linspace(0, 1, len(palette.SEQUENTIAL))
    figure.add_heatmap(
        z=wide["importance"].astype(np.float32),
        customdata=[
            [f"{label(names[c])} moves {label(targets[r])}" for c in parameters] for r in rows
        ],
        text=[[_cell(*cell) for cell in zip(*line, strict=True)] for line in _lines(wide)],
        texttemplate="%{text}",
        textfont={"size": 12},
        zmin=0,
        zmax=1,
        colorscale=list(zip(steps, palette.SEQUENTIAL, strict=True)),
        showscale=False,
        xgap=2,
        ygap=2,
        hoverongaps=False,
        hovertemplate="%{customdata}: %{text}<extra></extra>",
    )
    # By place and not by name: two that are shortened may read the same.
    heads = [label(names[name], 18) for name in parameters]
    sides = [label(targets[target], 22) for target in rows]
    figure.update_xaxes(side="top", title=None, rangemode="normal", **_named(heads))
    figure.update_yaxes(autorange="reversed", rangemode="normal", **_named(sides))
    figure.update_layout(margin={"l": 70, "r": 8, "t": 34, "b": 8})
    note = f"{how} Each row sums to 1 over the fields: 0 moves nothing, 1 alone moves all; below "
    note += "it the range over repeats. A narrow range searched makes a field look unimportant."
    return Drawing(
        figure,
        note,
        "Importance of each searched field for the mean and for each class",
        height=60 + 46 * len(rows),
        min_width=90 + 92 * len(parameters),
        says=importance_words(table, targets),
    )


def _named(texts: Sequence[str]) -> dict[str, Any]:
    places = list(range(len(texts)))
    return {"tickvals": places, "ticktext": list(texts), "ticks": "", "showgrid": False}


def by_importance(table: pd.DataFrame, target: str) -> list[str]:
    """Return the parameters of a table by their importance for a target, the largest first."""
    part = table[table["target"] == target]
    part = table if part.empty else part
    order = part.groupby("parameter", sort=False)["importance"].mean()
    return [str(name) for name in order.sort_values(ascending=False, kind="stable").index]


def importance_words(table: pd.DataFrame, targets: Mapping[str, str]) -> str:
    """Return which field moves the mean most, which class another one moves, and how sure that
    is.
    """
    names = short_names(sorted({str(name) for name in table["parameter"]}))
    mean, *classes = targets
    leading = _leading(table, mean)
    if leading is None:
        return f"Nothing is known of what moves {_inside(targets[mean])}."
    first, second = leading
    text = f"{names[first['parameter']]} moves {_inside(targets[mean])} most: {_range_text(first)}"
    text += f"{_overlap(first, second, names)}. "
    text += _other_class(table, {name: targets[name] for name in classes}, first, names)
    trials = int(table["trials"].max())
    if trials < FEW_TRIALS:
        text += f"From {trials} trials this is a hint, not a ranking."
    return text.strip()


def _other_class(
    table: pd.DataFrame, classes: Mapping[str, str], first: Any, names: Mapping[str, str]
) -> str:
    """Return the class that another field moves most, the clearest of them."""
    found = [(name, _leading(table, name)) for name in classes]
    known = [(name, pair) for name, pair in found if pair is not None]
    others = [row for row in known if row[1][0]["parameter"] != first["parameter"]]
    if not others:
        every = (
            "every class" if known and len(known) == len(classes) else "the classes it is known of"
        )
        return f"It leads for {every} too. " if known else ""
    name, (top, second) = max(others, key=lambda row: float(row[1][0]["importance"]))
    moved = f"{names[top['parameter']]} moves {classes[name]}: {_range_text(top)}"
    return f"{moved}{_overlap(top, second, names)}. "


def _leading(table: pd.DataFrame, target: str) -> tuple[Any, Any] | None:
    """Return the two most important rows of a target, the second None where there is but one."""
    part = table[(table["target"] == target) & table["importance"].notna()]
    rows = part.sort_values(["importance", "parameter"], ascending=[False, True]).to_dict("records")
    return (rows[0], rows[1] if len(rows) > 1 else None) if rows else None


def _inside(name: str) -> str:
    """Return a name for the inside of a sentence: "mean foreground Dice"."""
    return name[:1].lower() + name[1:]


def _overlap(first: Any, second: Any, names: Mapping[str, str]) -> str:
    if second is None or math.isnan(first["low"]) or math.isnan(second["high"]):
        return ""
    if second["high"] < first["low"]:
        return ""
    return f", though {names[second['parameter']]}, {_range_text(second)}, overlaps it"


def _range_text(row: Any) -> str:
    text = number(row["importance"], 2)
    if math.isnan(row["low"]) or math.isnan(row["high"]):
        return text
    return f"{text} ({number(row['low'], 2)}–{number(row['high'], 2)})"


def _wide(table: pd.DataFrame, rows: Sequence[str], columns: Sequence[str]) -> dict[str, Any]:
    names = ("importance", "low", "high")
    indexed = table.set_index(["target", "parameter"])[list(names)]
    found = indexed.reindex(pd.MultiIndex.from_product([rows, columns]))
    shape = (len(rows), len(columns))
    return {name: found[name].to_numpy(dtype=np.float64).reshape(shape) for name in names}


def _lines(wide: Mapping[str, Any]) -> Any:
    return zip(wide["importance"], wide["low"], wide["high"], strict=True)


def _cell(importance: float, low: float, high: float) -> str:
    if math.isnan(importance):
        return ""
    text = number(importance, 2)
    ranged = not (math.isnan(low) or math.isnan(high))
    return f"{text}<br>{number(low, 2)}–{number(high, 2)}" if ranged else text
