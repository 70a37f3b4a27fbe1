"""The timeline's bars: short trials joined; lanes of trials whose epochs tell no time."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.analysis.timeline import partitioned, seconds_of
from results.records.study import StudyRecord
from results.tables.search import ended

_BARS = ["lane", "start", "end", "trials", "first", "last", "epochs", "state", "states"]
_SEGMENTS = ["number", "state", "node", "worker", "lane", "start", "end", "epochs"]


def trial_segments(study: StudyRecord) -> pd.DataFrame:
    """Return trials from their start to their end, on as few lanes as hold them without an overlap.

    For records of which no epoch tells when it ended.

    Returns:
        Columns of ``Timeline.segments`` up to epochs, node and worker ""; by start.
    """
    rows = [
        (trial.number, trial.state, "", "", seconds_of(trial.started), ended(trial), trial.epochs)
        for trial in study.trials
    ]
    table = pd.DataFrame(rows, columns=[name for name in _SEGMENTS if name != "lane"])
    table = table[table["end"] >= table["start"]].sort_values(["start", "number"])
    lanes = partitioned(table["start"].to_numpy(), table["end"].to_numpy())
    return table.assign(lane=lanes)[_SEGMENTS].reset_index(drop=True)


def joined_bars(segments: pd.DataFrame, most: int) -> tuple[pd.DataFrame, float]:
    """Join trials that follow each other on a lane until each bar is long enough to be seen.

    Args:
        segments: columns lane, number, state, start, end, epochs.
        most: the most bars, beside one a lane; where there are no more trials, none are joined.

    Returns:
        The bars, by lane and start: columns lane, start, end, trials (how many), first, last
        (their numbers), epochs, state (of most of its time), states (text: "3 PRUNED,
        1 COMPLETE"); and the length below which bars were joined, in the unit of start and end, 0
        where none were.
    """
    ordered = segments.sort_values(["lane", "start"], kind="stable")
    lane = ordered["lane"].to_numpy(np.int64)
    start, end = ordered["start"].to_numpy(np.float64), ordered["end"].to_numpy(np.float64)
    least = 0.0
    if len(ordered) > most:
        least = float(end.max() - start.min()) * ordered["lane"].nunique() / most
    bar = _numbers(lane, start, end, least)
    return _summed(ordered.assign(bar=bar, length=end - start)), least


def _numbers(
    lane: NDArray[np.int64], start: NDArray[np.float64], end: NDArray[np.float64], least: float
) -> NDArray[np.int64]:
    """[N] the bar of each segment; one ends that is ``least`` long, or before such a gap."""
    bars = np.zeros(len(lane), dtype=np.int64)
    bar, where, begun, last = -1, -1, 0.0, 0.0
    for index, (place, first, final) in enumerate(
        zip(lane.tolist(), start.tolist(), end.tolist(), strict=True)
    ):
        if index == 0 or place != where or last - begun >= least or first - last >= least:
            bar, where, begun, last = bar + 1, place, first, final
        last = max(last, final)
        bars[index] = bar
    return bars


def _summed(parts: pd.DataFrame) -> pd.DataFrame:
    if parts.empty:
        return pd.DataFrame(columns=_BARS)
    bars = parts.groupby("bar").agg(
        lane=("lane", "first"),
        start=("start", "min"),
        end=("end", "max"),
        trials=("number", "nunique"),
        first=("number", "min"),
        last=("number", "max"),
        epochs=("epochs", "sum"),
    )
    by_state = parts.groupby(["bar", "state"]).agg(
        length=("length", "sum"), trials=("number", "nunique")
    )
    longest = by_state.reset_index().sort_values("length", ascending=False, kind="stable")
    bars["state"] = longest.drop_duplicates("bar").set_index("bar")["state"]
    states = by_state.reset_index()
    states["text"] = states["trials"].astype(str) + " " + states["state"]
    bars["states"] = states.groupby("bar")["text"].agg(", ".join)
    return bars.reset_index(drop=True)[_BARS]
