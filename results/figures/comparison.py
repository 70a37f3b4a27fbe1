"""Studies side by side: their incumbents class by class, and how they got there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from results.analysis.intervals import MEAN
from results.figures.drawing import Drawing, blank, label, padded, small
from results.style import palette

# Over what a history is drawn: column of the progress table and title of its axis.
OVER: Mapping[str, tuple[str, str]] = {
    "trials": ("number", "Trials that have ended"),
    "epochs": ("epochs", "Epochs trained, of all trials"),
    "time": ("hours", "Hours since the first trial began"),
}


def incumbents_figure(table: pd.DataFrame, names: Sequence[str]) -> Drawing:
    """Dice of each study's incumbent by class, with intervals.

    Args:
        table: ``tables.comparison.incumbents_table``.
        names: The studies, in order.
    """
    alt = "Dice of each study's best trial by class, with 95 % intervals"
    if not table["dice"].notna().any():
        return Drawing(None, "No study has a COMPLETE trial with a value yet.", alt)
    classes = _foreground(table)
    figure = blank(x="Dice", y=None)
    for place, name in enumerate(names):
        rows = _rows_of(table, name, classes)
        if rows["dice"].notna().any():
            _add_dots(figure, rows, classes, name, _offset(place, len(names)), place)
    figure.update_layout(showlegend=True, legend={"traceorder": "normal"})
    figure.update_xaxes(range=[-0.02, 1.02])
    _class_axis(figure, classes)
    note = (
        "Dots: Dice of the best trial on its study's validation split; bars: 95 % intervals over "
    )
    note += "groups of images (none where fewer than two groups show the class, or the model was "
    note += "not scored image by image). Chosen and measured on the same images: optimistic."
    height = 130 + len(classes) * (18 + 16 * len(names))
    return Drawing(figure, note, alt, height, says=_leader(table))


def _foreground(table: pd.DataFrame) -> list[str]:
    """Return the mean, then the classes but the background; a class may be called like the mean."""
    classes = list(dict.fromkeys(table.loc[table["kind"] == "class", "class"]))
    return [MEAN, *map(str, classes[1:])]


def _rows_of(table: pd.DataFrame, study: str, names: Sequence[str]) -> pd.DataFrame:
    """Return a study's rows in the order of ``_foreground``, empty where it has none."""
    rows = table[table["study"] == study]
    mean = rows[rows["kind"] == "mean"].set_index("class").reindex(list(names[:1]))
    classes = rows[rows["kind"] == "class"].set_index("class").reindex(list(names[1:]))
    return pd.concat([mean, classes])


def _offset(place: int, count: int) -> float:
    return (place - (count - 1) / 2) * 0.7 / max(count, 1)


def _class_axis(figure: Any, classes: Sequence[str]) -> None:
    figure.update_yaxes(
        tickmode="array",
        tickvals=list(range(len(classes))),
        ticktext=[label(name, 24) for name in classes],
        range=[len(classes) - 0.5, -0.5],
        rangemode="normal",
        showgrid=False,
    )


def _add_dots(
    figure: Any, rows: pd.DataFrame, classes: Sequence[str], name: str, offset: float, place: int
) -> None:
    color, _ = palette.class_style(place + 1)
    value, low, high = (rows[column].to_numpy(dtype=float) for column in ("dice", "low", "high"))
    figure.add_scatter(
        x=value.astype(np.float32),
        y=np.arange(len(classes)) + offset,
        mode="markers",
        name=label(name, 40),
        marker={"size": 9, "color": color, "symbol": _SYMBOLS[place % len(_SYMBOLS)]},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": np.nan_to_num(high - value),
            "arrayminus": np.nan_to_num(value - low),
            "color": color,
            "thickness": 1.5,
            "width": 3,
        },
        text=[label(one) for one in classes],
        customdata=np.column_stack([low, high]),
        hovertemplate="%{text}: %{x:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f})",
    )


_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "triangle-down", "cross", "x", "star")


def _leader(table: pd.DataFrame) -> str:
    means = table[table["kind"] == "mean"].dropna(subset=["dice"]).sort_values("dice")
    if len(means) < 2:
        return ""
    best, second = means.iloc[-1], means.iloc[-2]
    return (
        f"{best['study']} has the highest mean foreground Dice, {best['dice']:.3f}; "
        f"{second['study']} is next with {second['dice']:.3f}."
    )


def differences_figure(table: pd.DataFrame, first: str) -> Drawing:
    """Paired differences of incumbents from the first study's, by class.

    Args:
        table: ``tables.comparison.differences_table``.
        first: The study that the others are compared with.
    """
    alt = f"Difference in Dice from {first}, by class, with 95 % intervals"
    if table.empty:
        return Drawing(None, "No two incumbents were scored on the same images.", alt)
    shown = table.rename(columns={"difference": "dice"})
    classes = _foreground(shown)
    names = list(dict.fromkeys(shown["study"]))
    figure = blank(x=f"Dice minus that of {label(first, 40)}", y=None)
    for place, name in enumerate(names):
        rows = _rows_of(shown, name, classes)
        _add_dots(figure, rows, classes, name, _offset(place, len(names)), place + 1)
    ends = shown[["dice", "low", "high"]].to_numpy(dtype=float)
    figure.update_xaxes(range=padded(min(0.0, np.nanmin(ends)), max(0.0, np.nanmax(ends))))
    figure.update_xaxes(rangemode="normal")
    figure.add_vline(x=0, line={"width": 1, "color": palette.MUTED})
    _class_axis(figure, classes)
    figure.update_layout(showlegend=True, legend={"traceorder": "normal"})
    note = "Right of the line: better than the first study on the same images, drawn alike. An "
    note += "interval that does not touch the line is a difference on these groups of images."
    height = 130 + len(classes) * (18 + 16 * len(names))
    return Drawing(figure, note, alt, height, says=_told_apart(shown, first))


def _told_apart(table: pd.DataFrame, first: str) -> str:
    said = []
    for _, row in table[table["kind"] == "mean"].iterrows():
        if np.isnan(row["low"]):
            said.append(
                f"{row['study']} against {first}: {row['dice']:+.3f}, no interval: fewer than two "
                "groups show a class.".replace("-", "−")
            )
            continue
        apart = row["low"] > 0 or row["high"] < 0
        how = "better" if row["dice"] > 0 else "worse"
        amount = f"{row['dice']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})".replace("-", "−")
        verdict = how if apart else "not distinguishable"
        said.append(f"{row['study']} against {first}: {amount}, {verdict}.")
    return " ".join(said)


def histories_figure(tables: Mapping[str, pd.DataFrame], over: str) -> Drawing:
    """Return the best value so far of each study.

    Args:
        tables: Study to its ``tables.comparison.progress_table``.
        over: One of ``OVER``.
    """
    column, title = OVER[over]
    alt = f"Best value so far of each study over {over}"
    figure = blank(x=title, y="Best value so far")
    ends = {}
    for place, (name, table) in enumerate(tables.items()):
        rows = table[table["best"].notna() & table[column].notna()].sort_values(column)
        if rows.empty:
            continue
        changed = (rows["best"] != rows["best"].shift()) | (rows.index == rows.index[-1])
        color, dash = palette.class_style(place + 1)
        figure.add_scatter(
            x=small(rows.loc[changed, column]),
            y=small(rows.loc[changed, "best"]),
            mode="lines",
            name=label(name, 40),
            line={"shape": "hv", "width": 2, "color": color, "dash": dash},
            hovertemplate="%{y:.3f} at %{x:.4g}",
        )
        ends[name] = (float(rows["best"].iloc[-1]), float(rows[column].iloc[-1]))
    if not ends:
        return Drawing(None, f"No study has a value and a number of {over} yet.", alt)
    figure.update_layout(legend={"traceorder": "normal"})
    note = "Each line is the best COMPLETE trial of a study so far, on its own validation split."
    unit = "hours" if over == "time" else over
    says = "; ".join(
        f"{name}: {best:.3f} after {at:,.4g} {unit}" for name, (best, at) in ends.items()
    )
    return Drawing(figure, note, alt, 360, says=f"{says}.")
