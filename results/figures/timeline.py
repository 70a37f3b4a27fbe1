"""Which worker trained what when, and what workers spent their time on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from results import palette
from results.figures.drawing import Drawing, blank, label, padded
from results.tables.lanes import joined_bars, worker_rows
from results.words import count, duration

MOST_BARS = 1200
MOST_ROWS = 48
MOST_MARKS = 300

_ROW_HEIGHT = 22
_HOUR = 3600.0
# In the order of the legend; hollow ones are told apart without colour too.
_STATES = (("COMPLETE", False), ("RUNNING", True), ("PRUNED", True), ("FAIL", False))
_MARKS = {
    "lost": ("worker lost", "x", palette.INK),
    "failed": ("trial failed", "triangle-down", palette.ALERT),
}
_PARTS = {
    "training": ("training", palette.ACCENT, "", palette.PAPER),
    "validation": ("validating", "#6fb1e0", "/", palette.INK),
    "input": ("waiting for images", palette.BASELINE, "x", palette.PAPER),
    "other": ("saving, other", "#9aa7b2", ".", palette.INK),
    "idle": ("idle", palette.LINE, "", palette.INK),
}
_READABLE = 0.04  # share of a bar that has room for its percentage


def timeline_figure(segments: pd.DataFrame, marks: pd.DataFrame, *, recorded: bool) -> Drawing:
    """A row a worker, by host, with a bar a trial that it trained.

    Args:
        segments: columns worker, host, trial, state, start, end (seconds since 1970), epochs.
        marks: columns worker, trial, kind ("lost" or "failed"), at (seconds since 1970), reason.
        recorded: whether the records name the workers; else rows are assigned.
    """
    alt = "Timeline of the workers: a row each, a bar for each trial that it trained"
    if segments.empty:
        return Drawing(None, "No epoch tells when and where it was trained.", alt)
    begun = float(segments["start"].min())
    workers = worker_rows(segments)
    lanes = workers[["host", "row"]].drop_duplicates().sort_values(["host", "row"])
    lanes = lanes.assign(lane=np.arange(len(lanes)), name=_names(lanes))
    drawn = lanes.head(MOST_ROWS)
    placed = segments.merge(workers[["worker", "host", "row"]], on=["worker", "host"])
    bars, least = joined_bars(placed.merge(drawn, on=["host", "row"]), MOST_BARS)
    figure = blank(x="Hours since the first trial began", y="")
    _add_bars(figure, bars.merge(drawn, on=["host", "row"]), begun)
    lane_of = workers.merge(drawn, on=["host", "row"]).drop_duplicates("worker").set_index("worker")
    shown = marks[marks["worker"].isin(lane_of.index)].head(MOST_MARKS)
    _add_marks(figure, shown.assign(lane=shown["worker"].map(lane_of["lane"])), begun)
    _name_rows(figure, drawn, (float(segments["end"].max()) - begun) / _HOUR)
    note = _note(recorded, least, len(drawn), len(lanes), len(shown), len(marks))
    height = 130 + _ROW_HEIGHT * max(len(drawn), 3)
    says = timeline_sentence(segments, marks, len(lanes), recorded=recorded)
    return Drawing(figure, note, alt, height=height, min_width=560, says=says)


def _names(lanes: pd.DataFrame) -> list[str]:
    return [
        f"{label(host, 20) or 'worker'} · {row + 1}"
        for host, row in zip(lanes["host"], lanes["row"], strict=True)
    ]


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
            },
            customdata=[_told(row) for row in rows.to_dict("records")],
            hovertemplate="%{customdata}<br>%{base:.2f} h to %{x:.2f} h<extra></extra>",
        )


def _told(bar: dict[Any, Any]) -> str:
    epochs = count(int(bar["epochs"]), "epoch")
    if bar["trials"] == 1:
        return f"trial {bar['first']}: {bar['state']}, {epochs} here"
    return f"{bar['trials']} trials, {bar['first']} to {bar['last']}: {bar['states']}, {epochs}"


def _add_marks(figure: Any, marks: pd.DataFrame, begun: float) -> None:
    for kind, (name, symbol, color) in _MARKS.items():
        rows = marks[marks["kind"] == kind]
        if rows.empty:
            continue
        figure.add_scatter(
            x=(rows["at"].to_numpy() - begun) / _HOUR,
            y=rows["lane"].to_numpy(),
            text=[label(reason) for reason in rows["reason"]],
            customdata=rows["trial"].to_numpy(),
            mode="markers",
            name=name,
            marker={
                "symbol": symbol,
                "size": 10,
                "color": color,
                "line": {"width": 1, "color": palette.PAPER},
            },
            hovertemplate="trial %{customdata}, " + name + ": %{text}<extra></extra>",
        )


def _name_rows(figure: Any, lanes: pd.DataFrame, hours: float) -> None:
    figure.update_xaxes(range=padded(0, hours), rangemode="normal")
    figure.update_yaxes(
        tickvals=lanes["lane"].to_numpy(),
        ticktext=list(lanes["name"]),
        range=[len(lanes) - 0.4, -0.6],  # the first on top
        showgrid=False,
        rangemode="normal",
    )
    figure.update_layout(
        legend={"traceorder": "normal", "y": 1.0, "yanchor": "bottom"}, margin={"t": 40}
    )


def _note(recorded: bool, least: float, rows: int, of: int, marks: int, of_marks: int) -> str:
    note = "A row is a place for one worker process on its host; a process that is replaced goes "
    note += "on in the same row. A bar is a trial on it; gaps are idle time, starts and saving. "
    if not recorded:
        note = "The records do not name the workers: rows are assigned so that no two trials "
        note += "overlap, and are no real places. A bar is a trial. "
    if least:
        note += "Trials that follow each other in a row are joined until a bar is "
        note += f"{duration(least)} long; it has the state of most of its time. "
    if rows < of:
        note += f"Shows the first {rows:,} of {of:,} rows. "
    if marks < of_marks:
        note += f"Shows the first {marks:,} of {of_marks:,} marks in them. "
    return note.strip()


def timeline_sentence(
    segments: pd.DataFrame, marks: pd.DataFrame, rows: int, *, recorded: bool
) -> str:
    """How many workers trained how many trials for how long, and what went wrong."""
    hosts = segments["host"].nunique()
    span = float(segments["end"].max() - segments["start"].min())
    said = f"{count(segments['trial'].nunique(), 'trial')} trained on "
    said += f"{count(rows, 'worker')} at a time" if recorded else f"up to {count(rows, 'worker')}"
    if recorded:
        said += f" on {count(hosts, 'host')}"
    said += f" over {duration(span)}"
    lost, failed = (int((marks["kind"] == kind).sum()) for kind in ("lost", "failed"))
    if not lost and not failed:
        return f"{said}; none failed, no worker was lost."
    parts = [count(lost, "worker") + " lost"] if lost else []
    parts += [count(failed, "trial") + " failed"] if failed else []
    return f"{said}; {' and '.join(parts)}."


def utilisation_figure(shares: pd.DataFrame) -> Drawing:
    """What workers spent their time on, a bar for all and one a host.

    Args:
        shares: columns name ("all workers", then hosts), training, validation, input, other, idle
            (0..1, NaN where not recorded), seconds (of all its workers).
    """
    alt = "Shares of the workers' time: training, validating, waiting, saving, idle"
    if shares.empty:
        return Drawing(None, "No epoch tells when and where it was trained.", alt)
    figure = blank(x="Share of the workers' time, %", y=None)
    names = [label(name, 20) for name in shares["name"]]
    places = np.arange(len(names))
    for column, (name, color, pattern, ink) in _PARTS.items():
        values = 100 * shares[column].fillna(0.0).to_numpy(np.float64)
        figure.add_bar(
            x=values,
            y=places,
            orientation="h",
            width=0.62,
            name=name,
            text=[f"{v:.0f} %" if v >= 100 * _READABLE else "" for v in values],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": ink},
            marker={
                "color": color,
                "line": {"width": 1, "color": palette.PAPER},
                "pattern": {"shape": pattern, "size": 5, "solidity": 0.12},
            },
            hovertemplate=f"{name}: %{{x:.1f}} %<extra></extra>",
        )
    figure.update_layout(
        barmode="stack",
        showlegend=True,
        legend={"traceorder": "normal", "y": 1, "yanchor": "bottom"},
    )
    figure.update_xaxes(range=[0, 100], rangemode="normal")
    figure.update_yaxes(
        tickvals=places, ticktext=names, range=[len(names) - 0.4, -0.6], rangemode="normal"
    )
    hours = float(shares["seconds"].iloc[0])
    note = f"Of {duration(hours)} that workers existed, from their first epoch's start to their "
    note += "last one's end. Training is without the waiting for images."
    says = utilisation_sentence(shares)
    return Drawing(figure, note, alt, height=120 + 34 * max(len(names), 2), says=says)


def utilisation_sentence(shares: pd.DataFrame) -> str:
    """The share of the time that went into training and validation, and the largest loss."""
    row = shares.iloc[0]
    useful = float(np.nansum([row["training"], row["validation"]]))
    losses = {name: float(row[name]) for name in ("input", "other", "idle") if row[name] > 0}
    said = f"Workers spent {100 * useful:.0f} % of their time in training and validation"
    if not losses:
        return said + "."
    worst = max(losses, key=lambda name: losses[name])
    return f"{said}; the largest rest is {_PARTS[worst][0]}, {100 * losses[worst]:.1f} %."
