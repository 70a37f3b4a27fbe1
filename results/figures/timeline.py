"""Which worker trained what when, and what workers spent their time on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from results.analysis.timeline import Timeline
from results.figures.drawing import Drawing, blank, label, padded
from results.records.study import StudyRecord
from results.style import palette
from results.style.words import count, duration
from results.tables.lanes import joined_bars, trial_segments

MOST_BARS = 1200
MOST_ROWS = 48
MOST_MARKS = 300
MOST_NODES = 12

_FEW_MARKS = 60
_ROW_HEIGHT = 22
_HOUR = 3600.0
# In the order of the legend; hollow ones are told apart without colour too.
_STATES = (("COMPLETE", False), ("RUNNING", True), ("PRUNED", True), ("FAIL", False))
_MARKS = {
    "lost worker": ("worker lost", "x", palette.INK),
    "failed": ("trial failed", "triangle-down", palette.ALERT),
}
_PARTS = {
    "training": ("training", palette.ACCENT, "", palette.PAPER),
    "validation": ("validating", "#6fb1e0", "/", "#000000"),
    "input": ("waiting for images", palette.BASELINE, "x", palette.PAPER),
    "other": ("saving, other", "#9aa7b2", ".", "#000000"),
    "idle": ("idle", palette.LINE, "", palette.INK),
}
_REST = {"input": "waiting for images", "other": "saving and the like", "idle": "idling"}
_READABLE = 0.025  # share of a bar that has room for its percentage


def timeline_figure(found: Timeline, study: StudyRecord) -> Drawing:
    """Return a row a worker, node by node, with a bar for each trial that it trained.

    Without epochs that tell when they ended, trials are drawn from their start to their end.
    """
    alt = "Timeline of the workers: a row each, a bar for each trial that it trained"
    segments, known = found.segments, found.workers_known
    if segments.empty:
        segments, known = trial_segments(study), False
    if segments.empty:
        return Drawing(None, found.reason or "No trial tells when it was trained.", alt)
    begun = float(segments["start"].min())
    lanes = _named_lanes(segments)
    drawn = lanes.head(MOST_ROWS)
    bars, least = joined_bars(segments[segments["lane"].isin(drawn.index)], MOST_BARS)
    marks = found.marks[found.marks["lane"].isin(drawn.index)]
    figure = blank(x="Hours since the first trial began", y="")
    _add_bars(figure, bars, begun)
    _add_marks(figure, _evenly(marks, MOST_MARKS), begun)
    _name_rows(figure, drawn, (float(segments["end"].max()) - begun) / _HOUR)
    note = _rows_note(known, len(drawn), len(lanes)) + _bars_note(least, found)
    if len(marks) > MOST_MARKS:
        note += f" Shows {MOST_MARKS:,} of {len(marks):,} marks, an even choice of each kind over "
        note += "time."
    height = 130 + _ROW_HEIGHT * max(len(drawn), 3)
    says = timeline_sentence(segments, found, known=known)
    return Drawing(figure, note, alt, height=height, min_width=560, says=says)


def _evenly(marks: pd.DataFrame, most: int) -> pd.DataFrame:
    if len(marks) <= most:
        return marks
    ordered = marks.sort_values(["kind", "time"], kind="stable")
    return ordered.iloc[np.linspace(0, len(ordered) - 1, most).round().astype(int)]


def _named_lanes(segments: pd.DataFrame) -> pd.Series:
    """[lanes] by lane: the node and the how many-th of it."""
    node = segments.groupby("lane")["node"].first().sort_index()
    place = node.groupby(node).cumcount() + 1
    names = [f"{label(one, 20) or 'lane'} · {k}" for one, k in zip(node, place, strict=True)]
    return pd.Series(names, index=node.index)


def _add_bars(figure: Any, bars: pd.DataFrame, begun: float) -> None:
    figure.update_layout(barmode="overlay", bargap=0)
    for state, hollow in _STATES:
        rows = bars[bars["state"] == state]
        if rows.empty:
            continue
        color = palette.STATE_COLORS[state]
        figure.add_bar(
            base=(rows["start"].to_numpy() - begun) / _HOUR,
            x=(rows["end"] - rows["start"]).to_numpy() / _HOUR,
            y=rows["lane"].to_numpy(),
            width=0.72,
            orientation="h",
            name=state,
            marker={
                "color": palette.PAPER if hollow else color,
                "line": {"width": 1, "color": color if hollow else palette.PAPER},
                "pattern": {"shape": "/" if state == "RUNNING" else "", "fgcolor": color},
            },
            customdata=[_told(row, begun) for row in rows.to_dict("records")],
            hovertemplate="%{customdata}<extra></extra>",
        )


def _told(bar: dict[Any, Any], begun: float) -> str:
    epochs = count(int(bar["epochs"]), "epoch")
    start, end = (f"{(bar[name] - begun) / _HOUR:.2f} h" for name in ("start", "end"))
    if bar["trials"] == 1:
        return f"trial {bar['first']}: {bar['state']}, {epochs} here<br>{start} to {end}"
    trials = f"{bar['trials']} trials, {bar['first']} to {bar['last']}: {bar['states']}"
    return f"{trials}, {epochs}<br>{start} to {end}"


def _add_marks(figure: Any, marks: pd.DataFrame, begun: float) -> None:
    for kind, (name, symbol, color) in _MARKS.items():
        rows = marks[marks["kind"] == kind]
        if rows.empty:
            continue
        figure.add_scatter(
            x=(rows["time"].to_numpy(np.float64) - begun) / _HOUR,
            y=rows["lane"].to_numpy(),
            text=[label(reason) for reason in rows["reason"]],
            customdata=rows["number"].to_numpy(),
            mode="markers",
            name=name,
            marker={
                "symbol": symbol,
                "size": 10 if len(marks) <= _FEW_MARKS else 6,
                "color": color,
                "line": {"width": 1, "color": palette.PAPER},
            },
            hovertemplate="trial %{customdata}, " + name + ": %{text}<extra></extra>",
        )


def _name_rows(figure: Any, lanes: pd.Series, hours: float) -> None:
    figure.update_xaxes(range=padded(0, hours), rangemode="normal")
    places = lanes.index.to_numpy()
    figure.update_yaxes(
        tickvals=places,
        ticktext=lanes.to_list(),
        range=[places.max() + 0.6, places.min() - 0.6],  # the first on top
        showgrid=False,
        rangemode="normal",
    )
    legend = {"traceorder": "normal", "y": 1.0, "yanchor": "bottom"}
    figure.update_layout(legend=legend, margin={"t": 40})


def _rows_note(known: bool, shown: int, total: int) -> str:
    note = "A row is a place for one worker process on its node; a process that is replaced goes "
    note += "on in the same row."
    if not known:
        note = "Lanes are assigned, not recorded: as few as hold the trials without an overlap."
    return note + (f" Shows the first {shown:,} of {total:,} rows." if shown < total else "")


def _bars_note(least: float, found: Timeline) -> str:
    note = " A bar is a trial on it, hollow where it is PRUNED, hatched where it is RUNNING."
    if least:
        note += " Trials that follow each other in a row are joined until their bar is "
        note += f"{duration(least)} long; it has the state of most of its time."
    if found.unknown and not found.segments.empty:
        note += f" {count(found.unknown, 'trial')} without recorded times left out."
    return note


def timeline_sentence(segments: pd.DataFrame, found: Timeline, *, known: bool) -> str:
    """Return how many workers trained how many trials for how long, and what went wrong."""
    lanes, nodes = segments["lane"].nunique(), segments["node"].nunique()
    span = float(segments["end"].max() - segments["start"].min())
    said = f"{count(segments['number'].nunique(), 'trial')} trained, "
    said += f"{lanes} at a time" if lanes > 1 else "one after the other"
    said += f" on {count(nodes, 'node')}" if known else ""
    said += f", over {duration(span)}"
    said += f" ({duration(found.paused)} of it paused)" if found.paused else ""
    kinds = found.marks["kind"].value_counts()
    lost, failed = int(kinds.get("lost worker", 0)), int(kinds.get("failed", 0))
    if not lost and not failed:
        return f"{said}; none failed, no worker was lost."
    parts = [count(lost, "worker") + " lost"] if lost else []
    parts += [count(failed, "trial") + " failed"] if failed else []
    return f"{said}; {' and '.join(parts)}."


def utilisation_figure(found: Timeline) -> Drawing:
    """Return what workers spent their time on, a bar for all and one a node."""
    alt = "Shares of the workers' time: training, validating, waiting, saving, idle"
    table = found.utilisation
    if table.empty:
        why = found.reason or "No epoch tells when it was trained."
        return Drawing(None, why, alt)
    rows = pd.concat([table.tail(1), table.iloc[:-1].head(MOST_NODES)])
    if len(table) == 2:  # one node: it is all of them
        rows = table.tail(1)
    names = ["all workers", *(label(node, 20) or "workers" for node in rows["node"].iloc[1:])]
    figure = blank(x="Share of the workers' time, %", y=None)
    for column in _PARTS:
        _add_part(figure, 100 * rows[column].to_numpy(np.float64), column)
    legend = {"traceorder": "normal", "y": 1, "yanchor": "bottom"}
    figure.update_layout(barmode="stack", showlegend=True, legend=legend)
    figure.update_xaxes(range=[0, 100], rangemode="normal")
    figure.update_yaxes(
        tickvals=np.arange(len(names)),
        ticktext=names,
        range=[len(names) - 0.4, -0.6],
        rangemode="normal",
    )
    height = 120 + 34 * max(len(names), 2)
    return Drawing(figure, _use_note(table), alt, height=height, says=use_sentence(table))


def _add_part(figure: Any, values: Any, column: str) -> None:
    name, color, pattern, ink = _PARTS[column]
    figure.add_bar(
        x=values,
        y=np.arange(len(values)),
        orientation="h",
        width=0.62,
        name=name,
        text=[f"{value:.0f} %" if value >= 100 * _READABLE else "" for value in values],
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        textfont={"color": ink},
        marker={
            "color": color,
            "line": {"width": 1, "color": palette.PAPER},
            "pattern": {"shape": pattern, "fillmode": "overlay", "fgcolor": palette.PAPER}
            | {"size": 6, "solidity": 0.25},
        },
        hovertemplate=f"{name}: %{{x:.1f}} %<extra></extra>",
    )


def _use_note(table: pd.DataFrame) -> str:
    row = table.iloc[-1]
    note = f"Of {duration(float(row['span']))}: {count(int(row['lanes']), 'worker')}, from the "
    note += "first epoch's start to the last one's end, pauses of more than 10 minutes left out. "
    note += "Training is without the waiting for images; idle is what no epoch covers: starts of "
    note += "workers, restarts, the wait for the next trial."
    more = len(table) - 1 - MOST_NODES
    return note + (f" {more:,} more nodes are not drawn." if more > 0 else "")


def use_sentence(table: pd.DataFrame) -> str:
    """Return the share of the time that went into training and validation, and the largest rest."""
    row = table.iloc[-1]
    useful = float(row["training"] + row["validation"])
    said = f"Workers spent {100 * useful:.0f} % of their time in training and validation"
    losses = {name: float(row[name]) for name in ("input", "other", "idle")}
    worst = max(losses, key=lambda name: losses[name])
    if losses[worst] <= 0:
        return said + "."
    return f"{said}; the largest rest is {_REST[worst]}, {100 * losses[worst]:.1f} %."
