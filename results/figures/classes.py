"""Dice per class."""

from __future__ import annotations

from typing import Any

from results import palette, tables
from results.figures.drawing import Drawing, blank, count_axis, label, small
from results.records import StudyRecord


def class_curves_figure(study: StudyRecord) -> Drawing:
    """The incumbent's Dice of each class by epoch."""
    trial = study.incumbent
    alt = "Dice per class by epoch of the best trial"
    if trial is None:
        return Drawing(None, "No trial is COMPLETE with a value yet.", alt)
    table = tables.class_curves_table(study, trial)
    figure = blank(x="Epoch", y="Dice")
    figure.update_layout(legend={"traceorder": "normal"})
    count_axis(figure, 1, int(trial.curve.epoch.max(initial=1)))
    for index, name in enumerate(study.classes):
        values = table[name]
        if index == 0 or not values.notna().any():
            continue
        color, dash = palette.class_style(index)
        figure.add_scatter(
            x=table.index.to_numpy(),
            y=small(values),
            mode="lines+markers" if len(table) < 3 else "lines",
            name=label(name, 24),
            line={"width": 2, "color": color, "dash": dash},
            hovertemplate="epoch %{x}: %{y:.3f}",
        )
    if not figure.data:
        return Drawing(None, "No foreground class is defined in the validation split.", alt)
    _mark_epoch(figure, trial.curve.epoch[trial.best_row] if trial.best_row is not None else None)
    note = f"Trial {trial.number}, validation split; the dotted line is its best epoch."
    return Drawing(figure, note, alt, height=360)


def _mark_epoch(figure: Any, epoch: int | None) -> None:
    if epoch is not None:
        figure.add_vline(x=int(epoch), line={"width": 1, "dash": "dot", "color": palette.MUTED})
