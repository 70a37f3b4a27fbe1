"""The timeline's rows and bars: workers packed into few rows, short trials joined."""

from __future__ import annotations

import heapq

import numpy as np
import pandas as pd

_BARS = ["host", "row", "start", "end", "trials", "first", "last", "epochs", "state", "states"]


def worker_rows(segments: pd.DataFrame) -> pd.DataFrame:
    """Pack workers into rows: on a host, a worker takes the first row that is free when it begins.

    A process that is replaced goes on in the row of the one before it.

    Args:
        segments: columns worker, host, start, end.

    Returns:
        Columns worker, host, row (0.. on its host), start, end; by host and start.
    """
    spans = segments.groupby(["host", "worker"], as_index=False, sort=True).agg(
        start=("start", "min"), end=("end", "max")
    )
    spans = spans.sort_values(["host", "start", "worker"], kind="stable").reset_index(drop=True)
    rows = np.zeros(len(spans), dtype=np.int64)
    for _, part in spans.groupby("host", sort=False):
        free: list[int] = []
        busy: list[tuple[float, int]] = []
        for place, start, end in zip(part.index, part["start"], part["end"], strict=True):
            while busy and busy[0][0] <= start:
                heapq.heappush(free, heapq.heappop(busy)[1])
            row = heapq.heappop(free) if free else len(busy)
            rows[place] = row
            heapq.heappush(busy, (end, row))
    return spans.assign(row=rows)[["worker", "host", "row", "start", "end"]]


def joined_bars(segments: pd.DataFrame, most: int) -> tuple[pd.DataFrame, float]:
    """Join trials that follow each other in a row until each bar is long enough to be seen.

    Args:
        segments: columns host, row, trial, state, start, end, epochs.
        most: the most bars, beside one a row; where there are no more trials, none are joined.

    Returns:
        The bars, by host, row and start: columns host, row, start, end, trials (how many), first,
        last (their numbers), epochs, state (of most of its time), states (text: "3 PRUNED,
        1 COMPLETE"); and the length below which bars were joined, in the unit of start and end, 0
        where none were.
    """
    ordered = segments.sort_values(["host", "row", "start"], kind="stable")
    place = ordered.groupby(["host", "row"], sort=False).ngroup().to_numpy()
    start, end = ordered["start"].to_numpy(np.float64), ordered["end"].to_numpy(np.float64)
    least = 0.0
    if len(ordered) > most:
        least = float(end.max() - start.min()) * (int(place.max()) + 1) / most
    bar = _numbers(place, start, end, least)
    return _summed(ordered.assign(bar=bar, length=end - start)), least


def _numbers(place: np.ndarray, start: np.ndarray, end: np.ndarray, least: float) -> np.ndarray:
    """[N] int64: the bar of each segment; one ends that is ``least`` long, or before such a gap."""
    bars = np.zeros(len(place), dtype=np.int64)
    bar, begun, row = -1, -np.inf, -1
    last = -np.inf
    for index, (where, first, final) in enumerate(
        zip(place.tolist(), start.tolist(), end.tolist(), strict=True)
    ):
        if where != row or last - begun >= least or first - last >= least:
            bar, begun, row, last = bar + 1, first, where, final
        last = max(last, final)
        bars[index] = bar
    return bars


def _summed(parts: pd.DataFrame) -> pd.DataFrame:
    if parts.empty:
        return pd.DataFrame(columns=_BARS)
    bars = parts.groupby("bar").agg(
        host=("host", "first"),
        row=("row", "first"),
        start=("start", "min"),
        end=("end", "max"),
        trials=("trial", "nunique"),
        first=("trial", "min"),
        last=("trial", "max"),
        epochs=("epochs", "sum"),
    )
    by_state = parts.groupby(["bar", "state"]).agg(
        length=("length", "sum"), trials=("trial", "nunique")
    )
    longest = by_state.reset_index().sort_values("length", ascending=False, kind="stable")
    bars["state"] = longest.drop_duplicates("bar").set_index("bar")["state"]
    states = by_state.reset_index()
    states["text"] = states["trials"].astype(str) + " " + states["state"]
    bars["states"] = states.groupby("bar")["text"].agg(", ".join)
    return bars.reset_index(drop=True)[_BARS]
