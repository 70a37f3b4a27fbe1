"""Contours: the value over two searched fields at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from results.figures.axes import GOLDEN, PLASTIC, Axis, axis_of, set_axis, spread
from results.figures.drawing import Drawing, blank, objective_name, thinned
from results.figures.slices import MARKS, kinds_of
from results.records.searched import searched_fields, short_names
from results.style import palette
from results.style.words import count
from results.tables import StudyTables
from results.tables.parameters import BANDWIDTH, REACH, scored_trials, shown_trials, surface

FEWEST_TRIALS = 10
_CELLS = 28


def contour_figure(data: StudyTables, pair: tuple[str, str]) -> Drawing:
    """Return the mean value around each point of two fields, the trials over it.

    Args:
        data: the study's tables.
        pair: dotted names of two searched fields, across and down.
    """
    fields, scored = searched_fields(data.study.config), scored_trials(data)
    names = short_names(list(fields))
    title = f"{names[pair[0]]} and {names[pair[1]]}"
    alt = f"{objective_name(data.study)} over {title}"
    if len(scored) < FEWEST_TRIALS:
        needs = f"Needs {FEWEST_TRIALS} trials with a value; this study has {len(scored)}."
        return Drawing(None, needs, alt)
    axes = [axis_of(fields[name], names[name], scored[name]) for name in pair]
    cells = [axis.cells(_CELLS) for axis in axes]
    places = np.column_stack([axis.places(scored[axis.field.name]) for axis in axes])
    values = scored["value"].to_numpy(dtype=np.float64)
    scaled = np.column_stack([axis.scaled(places[:, i]) for i, axis in enumerate(axes)])
    grid = (axes[0].scaled(cells[0]), axes[1].scaled(cells[1]))
    unordered = (bool(axes[0].choices), bool(axes[1].choices))
    heights = surface(scaled, values, grid, unordered)
    figure = blank(x=axes[0].title, y=axes[1].title)
    figure.add_trace(_surface_trace(heights, cells, any(unordered)))
    _add_trials(figure, data, axes)
    for axis, update in zip(axes, (figure.update_xaxes, figure.update_yaxes), strict=True):
        set_axis(axis, update)
        update(showgrid=False)
    figure.update_layout(showlegend=False, margin={"l": 56, "r": 8, "t": 8, "b": 44})
    return Drawing(figure, "", alt, height=320, says=_says(heights, cells, axes, data))


def contours_note(data: StudyTables) -> str:
    """Return how to read the contours, once for all of them."""
    shown, scored = shown_trials(data), scored_trials(data)
    note = "Colour is the mean value of the trials around a place, near ones weighing more (kernel "
    note += f"regression, Gaussian of {BANDWIDTH:g} of each axis; choices apart); blank where no "
    note += f"trial is within {REACH:g}. Marks at choices and whole numbers are spread. Pruned "
    note += "trials count with the best they had reached. "
    note += f"From {count(len(scored), 'trial')} with a value."
    return note + thinned(len(shown), len(scored), "trials as marks")


def _surface_trace(heights: Any, cells: Sequence[Any], discrete: bool) -> Any:
    steps = np.linspace(0, 1, len(palette.SEQUENTIAL))
    drawn: dict[str, Any] = {
        "x": cells[0].astype(np.float32),
        "y": cells[1].astype(np.float32),
        "z": heights.astype(np.float32),
        "colorscale": list(zip(steps, palette.SEQUENTIAL, strict=True)),
        "colorbar": {"thickness": 10, "outlinewidth": 0, "tickfont": {"size": 11}, "xpad": 4},
        "hovertemplate": "mean around here: %{z:.3f}<extra></extra>",
        "hoverongaps": False,
    }
    # Between two choices there is nothing: cells instead of lines.
    if discrete:
        return go.Heatmap(**drawn)
    lines = {"width": 0.5, "color": palette.PAPER}
    return go.Contour(**drawn, ncontours=12, line=lines, connectgaps=False)


def _add_trials(figure: Any, data: StudyTables, axes: Sequence[Axis]) -> None:
    shown = shown_trials(data)
    kinds = kinds_of(data, shown)
    for kind, marker in MARKS.items():
        part = shown[(kinds == kind).to_numpy()]
        if part.empty:
            continue
        x, y = (
            (axis.places(part[axis.field.name]) + spread(axis, part["number"], turn)).astype("f4")
            for axis, turn in zip(axes, (GOLDEN, PLASTIC), strict=True)
        )
        edge = palette.MUTED if kind == "PRUNED" else palette.PAPER
        figure.add_scatter(
            x=x,
            y=y,
            mode="markers",
            cliponaxis=False,
            marker=marker | {"line": {"width": 1, "color": edge}},
            name=kind,
            customdata=np.column_stack([part["number"], part["value"]]),
            hovertemplate="trial %{customdata[0]}: %{customdata[1]:.3f}<extra>" + kind + "</extra>",
        )


def _says(heights: Any, cells: Sequence[Any], axes: Sequence[Axis], data: StudyTables) -> str:
    known = heights[np.isfinite(heights)]
    if not len(known):
        return "No trial has a value of both fields."
    row, column = np.unravel_index(int(np.nanargmax(heights)), heights.shape)
    places = (cells[0][column], cells[1][row])
    where = " and ".join(
        f"{axis.title} {axis.value_at(place)}" for axis, place in zip(axes, places, strict=True)
    )
    return f"Highest around {where}: {float(known.max()):.3f} on average."
