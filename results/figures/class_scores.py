"""Dice of one scored model by class, with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.analysis.model_scores import dice_says
from results.analysis.scores import BACKGROUND
from results.figures.classes import unique
from results.figures.drawing import Drawing, blank, label
from results.style import palette
from results.style.words import count

_UNDEFINED = "undefined"


def class_scores_figure(table: pd.DataFrame, images: int, replicates: int) -> Drawing:
    """Dice of each class as a dot with its 95 % interval; the mean above them, background below.

    Args:
        table: ``results.analysis.model_scores.scores_table``.
        images: How many were scored.
        replicates: Of the bootstrap.
    """
    alt = "Dice by class with 95 % intervals"
    rows = _rows(table)
    names = unique([label(str(name), 24) for name in rows["class"]])
    figure = blank(x="Dice", y="")
    for kind, name, symbol, color in (
        ("mean", "mean foreground", "diamond", palette.INK),
        ("class", "class", "circle", palette.ACCENT),
        ("background", "background", "circle-open", palette.MUTED),
    ):
        places = np.flatnonzero((rows["kind"] == kind) & rows["dice"].notna())
        if places.size:
            _add_dots(figure, rows, names, places, name, symbol, color)
    _add_undefined(figure, rows, names)
    figure.update_layout(showlegend=False)
    figure.update_xaxes(range=[-0.02, 1.02], rangemode="normal", showgrid=True)
    figure.update_yaxes(
        type="category",
        categoryorder="array",
        categoryarray=names,
        range=[len(names) - 0.5, -0.5],
        rangemode="normal",
        showgrid=False,
        ticks="",
    )
    note = (
        f"Over all pixels of {count(images, 'image')} at their own size. Bars: 95 % intervals, "
        f"{replicates:,} draws of whole groups (objects photographed) with replacement; none where "
        "fewer than two groups show the class. The background, hollow, is in no mean."
    )
    return Drawing(figure, note, alt, 110 + 34 * len(names), 320, dice_says(table))


def _rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean, the foreground classes, the background; kinds as they are drawn."""
    classes = table[table["kind"] == "class"]
    background = classes.iloc[[BACKGROUND]].assign(kind="background")
    mean = table[table["kind"] == "mean"]
    return pd.concat([mean, classes.iloc[BACKGROUND + 1 :], background], ignore_index=True)


def _add_dots(
    figure: Any,
    rows: pd.DataFrame,
    names: list[str],
    places: NDArray[np.int64],
    name: str,
    symbol: str,
    color: str,
) -> None:
    chosen = rows.iloc[places]
    value, low, high = (chosen[c].to_numpy(dtype=float) for c in ("dice", "dice_low", "dice_high"))
    texts = [
        f"{each:.3f}" + ("" if np.isnan(a) else f" ({a:.3f} to {b:.3f})")
        for each, a, b in zip(value, low, high, strict=True)
    ]
    figure.add_scatter(
        x=value.astype(np.float32),
        y=[names[place] for place in places],
        mode="markers",
        name=name,
        marker={"size": 10, "color": color, "symbol": symbol},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": np.nan_to_num(high - value).astype(np.float32),
            "arrayminus": np.nan_to_num(value - low).astype(np.float32),
            "color": color,
            "thickness": 1.5,
            "width": 4,
        },
        customdata=texts,
        hovertemplate="%{y}: %{customdata}<extra></extra>",
    )


def _add_undefined(figure: Any, rows: pd.DataFrame, names: list[str]) -> None:
    for place in np.flatnonzero(rows["dice"].isna()):
        figure.add_annotation(
            x=0,
            y=names[place],
            text=_UNDEFINED,
            showarrow=False,
            xanchor="left",
            font={"size": 12, "color": palette.MUTED},
        )
