"""Which worker trained which trial when, and what it spent its time on."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.records.study import StudyRecord, TrialRecord

PAUSE_SECONDS = 600.0
NO_LANE = -1

_SLACK_SECONDS = 2.0  # records give times to the second
_BREAK_SECONDS, _BREAK_EPOCHS = 30.0, 5.0
_SECONDS = ["training", "validation", "input", "other"]
_SEGMENT = ["number", "state", "node", "worker", "lane", "start", "end", "epochs", "first", "last"]
_LANE = ["lane", "node", "workers", "start", "end", "seconds"]
_GAP = ["lane", "start", "end", "seconds"]
_MARK = ["number", "lane", "time", "kind", "reason"]
_USE = ["node", "lanes", "span", "busy", *_SECONDS, "idle"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Timeline:
    """What each worker did when; times in seconds since 1970.

    A lane holds one worker process after another of the same node; where records do not name the
    worker, lanes are as few as hold the segments without an overlap.

    Attributes:
        segments: A trial's epochs on one worker without a break. Columns number, state (the
            trial's), node, worker ("host/pid"; both "" where not recorded), lane, start, end,
            epochs, first, last (epoch numbers), training (without the waiting), validation, input
            (waiting for images), other (saving and the rest of an epoch), each in seconds; by
            start.
        lanes: Columns lane, node, workers (processes; 0: not recorded), start, end, seconds (in
            epochs); lanes of a node are together.
        gaps: Between two segments of a lane: columns lane, start, end, seconds.
        marks: Columns number, lane (-1: none is known), time, kind ("lost worker" or "failed"),
            reason.
        utilisation: A row a node and one of node "all": columns node, lanes, span (seconds from
            the first start to the last end, times the lanes), and shares of it in 0..1: busy (in
            epochs) and its parts training, validation, input, other; idle. Pauses are left out of
            the span: more than 10 minutes without an epoch on any lane.
        paused: Seconds of these pauses.
        workers_known: Whether the records name the worker of every epoch.
        unknown: Trials with epochs whose records do not say when they ended; they are left out.
        reason: Why there is no segment; None where there is one.
    """

    segments: pd.DataFrame
    lanes: pd.DataFrame
    gaps: pd.DataFrame
    marks: pd.DataFrame
    utilisation: pd.DataFrame
    paused: float
    workers_known: bool
    unknown: int
    reason: str | None = None


def timeline(study: StudyRecord) -> Timeline:
    """Lay a study's epochs out over the workers that trained them."""
    epochs = epochs_table(study)
    segments = _segments(epochs, study)
    lanes = _lanes(segments)
    pauses = pauses_between(segments["start"].to_numpy(), segments["end"].to_numpy())
    begun = {trial.number for trial in study.trials if len(trial.curve)}
    reason = None
    if segments.empty:
        reason = "No epoch's record says when it ended." if begun else "No epoch has ended yet."
    return Timeline(
        segments=segments,
        lanes=lanes,
        gaps=_gaps(segments),
        marks=_marks(study.trials, epochs, segments),
        utilisation=_utilisation(segments, lanes, pauses),
        paused=sum(end - start for start, end in pauses),
        workers_known=bool(len(epochs)) and bool((epochs["worker"] != "").all()),
        unknown=len(begun - set(epochs["number"])),
        reason=reason,
    )


@lru_cache(maxsize=1)  # several parts of a report ask for it
def epochs_table(study: StudyRecord) -> pd.DataFrame:
    """Return every epoch whose end is known, by trial and epoch.

    Returns:
        Columns number, epoch, worker ("host/pid" or ""), start, end (seconds since 1970; the start
        is the end minus what the epoch took), total, training, validation, input, other (seconds;
        what is not recorded counts as 0, and all of it as other).
    """
    curves = [trial.curve for trial in study.trials if len(trial.curve)]
    numbers = [trial.number for trial in study.trials if len(trial.curve)]
    parts: dict[str, Floats] = {
        name: np.concatenate([getattr(curve, name) for curve in curves] or [np.empty(0)])
        for name in ("ended", "total_seconds", "train_seconds", "validate_seconds", "input_seconds")
    }
    train, validation, waiting = (
        np.nan_to_num(parts[name])
        for name in ("train_seconds", "validate_seconds", "input_seconds")
    )
    waiting = np.minimum(waiting, train)
    total = np.fmax(parts["total_seconds"], train + validation)
    table = pd.DataFrame(
        {
            "number": np.repeat(np.array(numbers, np.int64), [len(curve) for curve in curves]),
            "epoch": np.concatenate([c.epoch for c in curves] or [np.empty(0, np.int64)]),
            "worker": [worker for curve in curves for worker in curve.workers],
            "start": parts["ended"] - total,
            "end": parts["ended"],
            "total": total,
            "training": train - waiting,
            "validation": validation,
            "input": waiting,
            "other": total - train - validation,
        }
    )
    return table.dropna(subset=["end"]).reset_index(drop=True)


def _segments(epochs: pd.DataFrame, study: StudyRecord) -> pd.DataFrame:
    columns = [*_SEGMENT, *_SECONDS]
    if epochs.empty:
        return pd.DataFrame(columns=columns)
    begins = np.flatnonzero(_breaks(epochs))
    states = {trial.number: trial.state for trial in study.trials}
    number, worker = (epochs[name].to_numpy()[begins] for name in ("number", "worker"))
    last = np.append(begins[1:], len(epochs)) - 1
    found: dict[str, Any] = {
        "number": number,
        "state": [states[int(one)] for one in number],
        "node": [str(one).rpartition("/")[0] for one in worker],
        "worker": worker,
        "start": np.minimum.reduceat(epochs["start"].to_numpy(), begins),
        "end": np.maximum.reduceat(epochs["end"].to_numpy(), begins),
        "epochs": last - begins + 1,
        "first": epochs["epoch"].to_numpy()[begins],
        "last": epochs["epoch"].to_numpy()[last],
        **{name: np.add.reduceat(epochs[name].to_numpy(), begins) for name in _SECONDS},
    }
    table = pd.DataFrame(found).sort_values(["start", "number"]).reset_index(drop=True)
    return table.assign(lane=_lane_of(table))[columns]


def _breaks(epochs: pd.DataFrame) -> NDArray[np.bool_]:
    """[epochs] where a segment begins: another trial, another worker, or after a long wait."""
    number, worker = epochs["number"].to_numpy(), epochs["worker"].to_numpy()
    wait = epochs["start"].to_numpy()[1:] - epochs["end"].to_numpy()[:-1]
    long = wait > np.maximum(_BREAK_SECONDS, _BREAK_EPOCHS * epochs["total"].to_numpy()[1:])
    changed = (number[1:] != number[:-1]) | (worker[1:] != worker[:-1]) | long
    return np.append(True, changed)


def _lane_of(segments: pd.DataFrame) -> NDArray[np.int64]:
    """[segments] lanes, node by node: processes one after another, or segments without one."""
    unit = np.where(
        segments["worker"] == "", [f"\0{index}" for index in segments.index], segments["worker"]
    )
    grouped = segments.assign(unit=unit).groupby("unit", sort=False)
    spans = grouped[["node", "start", "end"]].agg({"node": "first", "start": "min", "end": "max"})
    lanes: dict[str, int] = {}
    taken = 0
    for _, of_node in spans.groupby("node", sort=True):
        places = partitioned(of_node["start"].to_numpy(), of_node["end"].to_numpy(), _SLACK_SECONDS)
        lanes |= dict(zip(of_node.index, (places + taken).tolist(), strict=True))
        taken += int(places.max()) + 1
    return np.array([lanes[one] for one in unit], np.int64)


def partitioned(starts: Floats, ends: Floats, slack: float = 0.0) -> NDArray[np.int64]:
    """Put intervals on as few lanes as hold them without an overlap (Kleinberg and Tardos, 4.1).

    Args:
        starts: [N].
        ends: [N], no less than the starts.
        slack: An overlap up to this is none.

    Returns:
        int64 [N] the lane of each, from 0, in the order in which lanes are first needed.
    """
    lanes = np.zeros(len(starts), np.int64)
    busy: list[tuple[float, int]] = []
    for index in np.argsort(starts, kind="stable"):
        free = bool(busy) and busy[0][0] <= starts[index] + slack
        lane = heapq.heappop(busy)[1] if free else len(busy)
        lanes[index] = lane
        heapq.heappush(busy, (float(ends[index]), lane))
    return lanes


def _lanes(segments: pd.DataFrame) -> pd.DataFrame:
    if segments.empty:
        return pd.DataFrame(columns=_LANE)
    seconds = segments[_SECONDS].sum(axis=1)
    known = segments["worker"].where(segments["worker"] != "")
    grouped = segments.assign(seconds=seconds, known=known).groupby("lane", as_index=False)
    return grouped.agg(
        node=("node", "first"),
        workers=("known", "nunique"),
        start=("start", "min"),
        end=("end", "max"),
        seconds=("seconds", "sum"),
    )[_LANE]


def _gaps(segments: pd.DataFrame) -> pd.DataFrame:
    ordered = segments.sort_values(["lane", "start"], kind="stable")
    lane = ordered["lane"].to_numpy()
    start = ordered["end"].to_numpy()[:-1]
    end = ordered["start"].to_numpy()[1:]
    chosen = (lane[1:] == lane[:-1]) & (end > start)
    columns = (lane[1:], start, end, end - start)
    return pd.DataFrame({n: c[chosen] for n, c in zip(_GAP, columns, strict=True)})


def pauses_between(starts: Floats, ends: Floats) -> list[tuple[float, float]]:
    """Return the stretches of more than 10 minutes that no interval covers, between the first and
    last.
    """
    order = np.argsort(starts, kind="stable")
    reached = np.maximum.accumulate(ends[order]) if len(order) else ends
    begins = starts[order]
    return [
        (float(before), float(after))
        for before, after in zip(reached[:-1], begins[1:], strict=True)
        if after - before > PAUSE_SECONDS
    ]


def _utilisation(
    segments: pd.DataFrame, lanes: pd.DataFrame, pauses: Sequence[tuple[float, float]]
) -> pd.DataFrame:
    rows = []
    nodes = lanes.groupby("node", sort=True)["lane"].count()
    for node, count in [*nodes.items(), ("all", int(nodes.sum()))] if len(lanes) else ():
        of_node = segments if node == "all" else segments[segments["node"] == node]
        start, end = of_node["start"].min(), of_node["end"].max()
        stood = sum(max(0.0, min(b, end) - max(a, start)) for a, b in pauses)
        span = float(count * (end - start - stood))
        shares = [float(of_node[name].sum()) / span if span > 0 else 0.0 for name in _SECONDS]
        busy = sum(shares)
        rows.append((node, count, span, busy, *shares, max(0.0, 1 - busy)))
    return pd.DataFrame(rows, columns=_USE)


def _marks(
    trials: Iterable[TrialRecord], epochs: pd.DataFrame, segments: pd.DataFrame
) -> pd.DataFrame:
    marked = [trial for trial in trials if trial.failures or trial.state == "FAIL"]
    wanted = {trial.number for trial in marked}
    chosen, parts = (table[table["number"].isin(wanted)] for table in (epochs, segments))
    ended, of_trial = dict(iter(chosen.groupby("number"))), dict(iter(parts.groupby("number")))
    rows: list[tuple[int, int, float, str, str]] = []
    for trial in marked:
        times = [(_time_after(trial, ended.get(trial.number), f.epoch), f) for f in trial.failures]
        rows += [
            (
                trial.number,
                _lane_at(of_trial.get(trial.number), time),
                time,
                "lost worker",
                f.reason,
            )
            for time, f in times
        ]
        if trial.state == "FAIL":
            time = seconds_of(trial.finished)
            if np.isnan(time):
                time = _time_after(trial, ended.get(trial.number), len(trial.curve))
            lane = _lane_at(of_trial.get(trial.number), time)
            rows.append((trial.number, lane, time, "failed", trial.reason or "no reason recorded"))
    table = pd.DataFrame(rows, columns=_MARK)
    return table[np.isfinite(table["time"].astype(np.float64))].reset_index(drop=True)


def _time_after(trial: TrialRecord, epochs: pd.DataFrame | None, epoch: int) -> float:
    """Return when an epoch had ended; before the first one, when the trial started; NaN: not
    known.
    """
    before = 0 if epochs is None else int((epochs["epoch"].to_numpy() <= epoch).sum())
    if epochs is None or not before:
        return seconds_of(trial.started)
    return float(epochs["end"].to_numpy()[before - 1])


def _lane_at(segments: pd.DataFrame | None, time: float) -> int:
    """Return the lane of the trial's last segment that had begun; its first one; or none."""
    if segments is None or segments.empty:
        return NO_LANE
    begun = np.flatnonzero(segments["start"].to_numpy() <= time)
    return int(segments["lane"].to_numpy()[begun[-1] if begun.size else 0])


def seconds_of(iso: str | None) -> float:
    """Return seconds since 1970 of an ISO time, UTC where it names no zone; NaN for anything
    else.
    """
    try:
        moment = datetime.fromisoformat(iso or "")
    except ValueError:
        return math.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
