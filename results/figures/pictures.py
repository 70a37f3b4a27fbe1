"""What a scored model takes for what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from results.analysis import scores
from results.analysis.objects import image_confusion, images_table
from results.figures.classes import unique
from results.figures.drawing import Drawing, blank, label
from results.records.evaluation import Evaluation
from results.style import palette
from results.style.words import count
from results.tables.pictures import confusion_table

_SCALE = [[i / (len(palette.SEQUENTIAL) - 1), c] for i, c in enumerate(palette.SEQUENTIAL)]
_GREYS = [[0.0, palette.GROUND], [1.0, palette.FAINT]]
_MOST_TEXTS = 12


def confusion_figure(evaluation: Evaluation, called: str) -> Drawing:
    """Return pixels of each true class by predicted class, each row in shares of the true class.

    Args:
        evaluation: A scored model.
        called: What the page calls it: "best".
    """
    alt = f"Confusion matrix in pixels, {called}"
    table = confusion_table(evaluation)
    total = int(table["pixels"].sum())
    if not total:
        return Drawing(None, "No pixel was counted.", alt)
    note = (
        "Each row: of all pixels that truly are of the class, the share predicted as each; rows "
        f"sum to 100 %. Background, in grey, apart. n = {count(total, 'pixel')} in "
        f"{count(len(evaluation.images), 'image')}."
    )
    shares, pixels = (_square(table, column) for column in ("share", "pixels"))
    figure, height, width = _matrix(evaluation.classes, shares, pixels, "px")
    return Drawing(figure, note, alt, height, width, confusion_says(evaluation))


def image_confusion_figure(evaluation: Evaluation, called: str) -> Drawing:
    """In how many of the images that show a class another one is predicted at all.

    Args:
        evaluation: A scored model.
        called: What the page calls it: "best".
    """
    alt = f"Confusion matrix in images, {called}"
    if not evaluation.images:
        return Drawing(None, "No image was scored.", alt)
    table = image_confusion(evaluation)
    note = (
        "Each row: of the images that show the class, the share in which each class is predicted "
        "anywhere, be it one pixel; rows need not sum to 100 %, for an image may show several. "
        f"n = {count(len(evaluation.images), 'image')}."
    )
    shares, images = (_square(table, column) for column in ("share", "images"))
    # Background is in every image, true and predicted: it would say nothing.
    figure, height, width = _matrix(
        evaluation.classes[1:], shares[1:, 1:], images[1:, 1:], "images", background=None
    )
    return Drawing(figure, note, alt, height, width, images_says(evaluation))


def _square(table: pd.DataFrame, column: str) -> Any:
    size = math.isqrt(len(table))
    return table[column].to_numpy().reshape(size, size)


def _matrix(
    classes: Sequence[str],
    share: Any,
    counts: Any,
    unit: str,
    background: int | None = scores.BACKGROUND,
) -> tuple[Any, int, int]:
    """Draw classes by classes; the background, where there is one, last, in grey, behind lines."""
    order = [i for i in range(len(share)) if i != background]
    apart = len(order)
    order += [] if background is None else [background]
    share, counts = share[np.ix_(order, order)], counts[np.ix_(order, order)]
    names = unique([label(classes[i], 20) for i in order])
    figure = blank(x="Predicted", y="True")
    rows = np.arange(len(order))[:, None]
    _add_rows(figure, names, np.where(rows < apart, share, np.nan), counts, _SCALE, unit)
    if background is not None:
        _add_rows(figure, names, np.where(rows < apart, np.nan, share), counts, _GREYS, unit)
        figure.data[-1].showscale = False
        ends, edge = (-0.5, len(order) - 0.5), apart - 0.5
        line = {"color": palette.INK, "width": 1.5}
        for along, across in (("x", "y"), ("y", "x")):
            place = {f"{along}0": ends[0], f"{along}1": ends[1]}
            figure.add_shape(
                type="line", line=line, **place, **dict.fromkeys((f"{across}0", f"{across}1"), edge)
            )
    figure.update_xaxes(type="category", showgrid=False, ticks="", tickangle=-35)
    figure.update_yaxes(type="category", showgrid=False, ticks="", autorange="reversed")
    size = 40 if len(names) <= _MOST_TEXTS else 19
    return figure, max(150 + size * len(names), 300), 190 + size * len(names)


def _add_rows(
    figure: Any, names: list[str], share: Any, counts: Any, scale: Any, unit: str
) -> None:
    texts = np.vectorize(percent)(share) if len(names) <= _MOST_TEXTS else None
    figure.add_heatmap(
        z=share.astype(np.float32),
        x=names,
        y=names,
        zmin=0,
        zmax=1,
        colorscale=scale,
        colorbar={"thickness": 10, "outlinewidth": 0, "len": 0.9, "tickformat": ".0%"},
        customdata=counts,
        text=texts,
        texttemplate="%{text}" if texts is not None else None,
        hovertemplate="true %{y}, predicted %{x}: %{z:.2%}, %{customdata:,} "
        + f"{unit}<extra></extra>",
        hoverongaps=False,
        xgap=2,
        ygap=2,
    )


def percent(share: float) -> str:
    """Return a share as people read it: "42 %", "0.3 %", "<0.1 %"; nothing where undefined."""
    if np.isnan(share):
        return ""
    if share == 0:
        return "0"
    if share < 0.001:
        return "<0.1 %"
    return f"{100 * share:.1f} %" if share < 0.1 or 0.99 < share < 1 else f"{100 * share:.0f} %"


def confusion_says(evaluation: Evaluation) -> str:
    """Return what becomes of each class's pixels: how much background swallows, and what is mixed
    up.
    """
    matrix, names = evaluation.confusion.astype(np.float64), evaluation.classes
    total = matrix.sum(axis=1)
    classes = np.flatnonzero(total[1:]) + 1
    if not classes.size:
        return "No defect is in truth."
    lost = matrix[classes, 0] / total[classes]
    most = int(classes[lost.argmax()])
    says = f"{percent(float(lost.max()))} of the pixels of {names[most]} are taken for background"
    mixed = matrix / np.maximum(total, 1)[:, None]
    mixed[0], mixed[:, 0] = 0, 0
    np.fill_diagonal(mixed, 0)
    true, seen = np.unravel_index(int(mixed.argmax()), mixed.shape)
    if mixed[true, seen] == 0:
        return says + ", the most of any class; no defect is taken for another."
    return says + (
        f", the most of any class; the classes mixed up most are {names[true]}, of which "
        f"{percent(float(mixed[true, seen]))} is taken for {names[seen]}."
    )


def images_says(evaluation: Evaluation) -> str:
    """In how many images a class is seen at all, and where it is seen without being there."""
    table = images_table(evaluation)
    shown = table[table["shown"] > 0]
    if shown.empty:
        return "No image shows a defect."
    lost = shown.iloc[int(np.argmax(shown["missed"] / shown["shown"]))]
    false = table.iloc[int(np.argmax(table["invented"]))]
    says = (
        f"{lost['class']} is overlooked most: in {int(lost['missed'])} of "
        f"{count(int(lost['shown']), 'image')} that show it, it is not predicted at all"
    )
    if not lost["missed"]:
        says = "In every image that shows a class it is predicted somewhere"
    if not false["invented"]:
        return says + "; no class is predicted in an image that lacks it."
    return says + (
        f"; {false['class']} is predicted in {count(int(false['invented']), 'image')} without it, "
        "the most of any class."
    )
