"""The trials of a simulated study: what is drawn, which worker trained it when, and its files.

A trial's quality depends on its parameters, the hard Dice of a class stands at zero until its soft
Dice has grown, and weak trials are pruned at the rungs. Workers take the trials in order, each the
next that is free, one at a time.
"""

from __future__ import annotations

import heapq
import io
import json
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tests.results.simulated_study import Simulation

# Reachable Dice and pixels in the validation split of each class.
REACH = (0.99, 0.72, 0.48, 0.31, 0.69, 0.86)
PIXELS = (2_150_000, 3_100, 14_200, 5_400, 9_800, 61_000)
RUNGS = (3, 9)
BEGUN = np.datetime64("2026-03-02T09:20:00")
LOST = "the worker died, killed by signal 9"
_LOSSES = ("cross_entropy_dice", "focal_tversky", "cross_entropy")
_IMAGES = 804  # that a trial reads in an epoch
_START_SECONDS, _SILENCE_SECONDS = 1.5, 60.0
_TRIALS_A_PROCESS = 25


@dataclass
class Trial:
    """One trial: ``work`` and ``ends`` [E] are filled by the timeline."""

    number: int
    params: dict[str, Any]
    level: float
    state: str
    epochs: int
    rng: np.random.Generator
    lost_after: int | None = None
    started: float = 0.0
    finished: float = 0.0
    seconds: dict[str, list[float]] = field(default_factory=dict)
    ends: list[float] = field(default_factory=list)
    workers: list[tuple[str, int]] = field(default_factory=list)


@dataclass
class _Slot:
    """A place for one worker on a node; its process is replaced now and then."""

    host: str
    pid: int
    trials: int = 0

    def worker(self) -> tuple[str, int]:
        return self.host, self.pid

    def replace_process(self) -> None:
        self.pid, self.trials = self.pid + 137, 0


def baseline_params() -> dict[str, Any]:
    """The hand-tuned recipe, which collapses to background."""
    return {
        "model.num_layers": 5,
        "model.base_filters": 16,
        "model.base_kernel": 9,
        "model.dropout_rate": 0.05,
        "train.learning_rate": 1e-4,
        "train.loss": "cross_entropy",
    }


def sample_params(rng: np.random.Generator) -> dict[str, Any]:
    """One draw of the space."""
    return {
        "model.num_layers": int(rng.integers(3, 7)),
        "model.base_filters": int(rng.choice([8, 16, 32])),
        "model.base_kernel": int(rng.choice([3, 5, 7, 9])),
        "model.dropout_rate": float(rng.uniform(0.0, 0.15)),
        "train.learning_rate": float(10 ** rng.uniform(-4, -2)),
        "train.loss": str(rng.choice(_LOSSES)),
    }


def quality(params: dict[str, Any]) -> float:
    """How much of each class's reachable Dice the parameters get to, 0..1."""
    rate = math.log10(params["train.learning_rate"])
    value = 0.95 - 0.35 * (rate + 2.8) ** 2 - 0.07 * abs(params["model.num_layers"] - 5)
    value -= 1.2 * abs(params["model.dropout_rate"] - 0.04)
    value -= dict(zip(_LOSSES, (0.0, 0.08, 0.4), strict=True))[params["train.loss"]]
    return min(max(value, 0.0), 1.0)


def draw(number: int, simulation: Simulation) -> Trial:
    """Draw a trial's parameters and its fate."""
    rng = np.random.default_rng((simulation.seed, number))
    params = baseline_params() if number == 0 else sample_params(rng)
    level = 0.0 if number == 0 else quality(params)
    state, epochs = _fate(number, level, rng, simulation)
    every = simulation.lost_every
    lost = bool(every) and number % every == every - 1 and epochs > 1
    return Trial(number, params, level, state, epochs, rng, epochs // 2 if lost else None)


def _fate(
    number: int, level: float, rng: np.random.Generator, simulation: Simulation
) -> tuple[str, int]:
    forced = simulation.states.get(number)
    if forced is not None:
        return forced, 0 if forced == "FAIL" else simulation.epochs
    if number >= simulation.trials - simulation.running:
        return "RUNNING", int(rng.integers(1, 6))
    if number and number % simulation.fail_every == 0:
        return "FAIL", int(rng.integers(0, 3))
    score = level + float(rng.normal(0.0, 0.08))
    for rung, needed in zip(RUNGS, (0.35, 0.6), strict=True):
        if simulation.prune and number and score < needed and rung < simulation.epochs:
            return "PRUNED", rung
    return "COMPLETE", simulation.epochs


def schedule(trials: Sequence[Trial], simulation: Simulation) -> None:
    """Give each trial its workers and times: each takes the place that is free first."""
    rng = np.random.default_rng((simulation.seed, 2**32))
    slots = [
        _Slot(host, 3000 + 10 * place)
        for host in simulation.nodes
        for place in range(simulation.workers_per_node)
    ]
    free = [(0.0, index) for index in range(len(slots))]
    for trial in trials:
        _measure(trial, rng)
        first = trial.epochs if trial.lost_after is None else trial.lost_after
        trial.started = trial.finished = free[0][0]
        _train(trial, range(first), free, slots, lost=trial.lost_after is not None)
        if trial.lost_after is not None:
            _train(trial, range(first, trial.epochs), free, slots)


def _measure(trial: Trial, rng: np.random.Generator) -> None:
    """Draw what its epochs take."""
    params = trial.params
    slow = (0.4 + 0.6 * params["model.base_filters"] / 16) * (
        0.7 + 0.06 * params["model.num_layers"]
    )
    noise = rng.standard_normal((2, trial.epochs))
    train = np.round(11.2 * slow * (1 + 0.03 * noise[0]).clip(0.8, 1.2), 3)
    waited = np.round(train * (0.04 + 0.02 * noise[1]).clip(0.0, 0.2), 3)
    validate = np.round(train * 0.116, 3)
    trial.seconds = {
        "train": train.tolist(),
        "validate": validate.tolist(),
        "input": waited.tolist(),
        "total": np.round(train + validate + 0.1, 3).tolist(),
    }


def _train(
    trial: Trial,
    epochs: range,
    free: list[tuple[float, int]],
    slots: list[_Slot],
    *,
    lost: bool = False,
) -> None:
    time, index = heapq.heappop(free)
    slot = slots[index]
    now = max(time, trial.finished) + _START_SECONDS
    for epoch in epochs:
        now += trial.seconds["total"][epoch]
        trial.ends.append(now)
        trial.workers.append(slot.worker())
    trial.finished = now + 0.5
    slot.trials += 1
    if lost:
        trial.finished += _SILENCE_SECONDS
    if lost or slot.trials >= _TRIALS_A_PROCESS:
        slot.replace_process()
    heapq.heappush(free, (trial.finished, index))


def write_trial(path: Path, trial: Trial, simulation: Simulation) -> None:
    """Write one trial's folder."""
    lines = _lines(trial, simulation)
    objectives = [line["objective"] for line in lines]
    best = objectives.index(max(objectives)) if objectives and objectives[0] is not None else None
    told = trial.state in ("COMPLETE", "PRUNED") and best is not None
    record = {
        "number": trial.number,
        "state": trial.state,
        "value": objectives[best] if told and best is not None else None,
        "best_epoch": best + 1 if told and best is not None else None,
        "epochs": trial.epochs,
        "params": trial.params,
        "baseline": None if trial.number else "reference",
        "reason": _reason(trial.state, trial.epochs),
        "started": _iso([trial.started])[0],
        "finished": None if trial.state == "RUNNING" else _iso([trial.finished])[0],
    }
    if simulation.schema == "current":
        record |= {"failures": _failures(trial), "seed": 1000 + trial.number}
        record["cost"] = _cost(trial.params, latency=simulation.latency)
    path.mkdir(parents=True)
    (path / "trial.json").write_text(json.dumps(record), encoding="utf-8")
    encode = json.JSONEncoder().encode
    text = "".join([encode(line) + "\n" for line in lines])
    (path / "metrics.jsonl").write_text(text, encoding="utf-8")
    if trial.state == "COMPLETE":
        (path / "best.keras").write_bytes(model_bytes(f"trial {trial.number}"))


def model_bytes(name: str) -> bytes:
    """What stands for a .keras file, a zip: the same bytes for the same name."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        file.writestr(zipfile.ZipInfo("metadata.json"), f"model of {name}")
    return data.getvalue()


def _failures(trial: Trial) -> list[dict[str, Any]]:
    return [] if trial.lost_after is None else [{"epoch": trial.lost_after, "reason": LOST}]


def _reason(state: str, epochs: int) -> str | None:
    if state == "PRUNED":
        return f"pruned at epoch {epochs}"
    return "ResourceExhaustedError: out of memory" if state == "FAIL" else None


def _cost(params: dict[str, Any], *, latency: bool) -> dict[str, float]:
    size = params["model.base_filters"] ** 2 * 4 ** params["model.num_layers"]
    cost = {
        "parameters": int(size * 14),
        "flops": float(size * params["model.base_kernel"] ** 2 * 2600),
        "activation_bytes": params["model.base_filters"] * 2_300_000,
    }
    return cost | ({"latency_ms": round(1.5 + cost["flops"] / 4e10, 3)} if latency else {})


def _iso(seconds: Sequence[float]) -> list[str]:
    """ISO times of seconds since the first trial began."""
    times = BEGUN + (1000 * np.asarray(seconds, np.float64)).astype("timedelta64[ms]")
    return [f"{text}+00:00" for text in np.datetime_as_string(times).tolist()]


def class_pixels(simulation: Simulation) -> dict[str, int]:
    """Pixels of each class in the validation split."""
    return {
        name: 0 if name in simulation.absent else PIXELS[index % len(PIXELS)]
        for index, name in enumerate(simulation.classes)
    }


@cache
def _reach(classes: int) -> np.ndarray:
    return np.resize(REACH, classes)


@cache
def _grown(epochs: int, classes: int) -> np.ndarray:
    """[E, C] how far a class has come to the hard Dice that it reaches; background: all the way."""
    grown = np.ones((epochs, classes))
    for index, reach in enumerate(_reach(classes).tolist()):
        delay = 1.5 + 2.5 * (1 - reach)
        if index:
            grown[:, index] = [1 - math.exp(-max(e - delay, 0) / 6) for e in range(1, epochs + 1)]
    return grown


@cache
def _growth(epochs: int) -> np.ndarray:
    return np.array([1 - math.exp(-epoch / 6) for epoch in range(1, epochs + 1)])


def _counts(noise: np.ndarray, level: float, simulation: Simulation) -> np.ndarray:
    """[E, C, 3] int64 true positives, false positives and false negatives."""
    epochs, classes = noise.shape
    pixels = np.array(list(class_pixels(simulation).values()))
    absent = np.array([name in simulation.absent for name in simulation.classes])
    levels = np.where(np.arange(classes) == 0, 1.0, level)
    scale = np.where(np.arange(classes) == 0, 0.002, 0.05)
    share = _reach(classes) * (levels * _grown(epochs, classes)) * (1 + scale * noise)
    hits = (share.clip(0.0, 1.0) * pixels).astype(np.int64)
    missed = pixels - hits
    # A class the split lacks is still predicted now and then, but never by a collapsed model.
    false = np.where(absent & (level > 0.5), int(40 * level), missed)
    return np.stack([hits, np.where((hits > 0) | absent, false, 0), missed], axis=-1)


def _lines(trial: Trial, simulation: Simulation) -> list[dict[str, Any]]:
    """The trial's epochs as lines of metrics.jsonl."""
    names, epochs, level = simulation.classes, trial.epochs, trial.level
    noise = trial.rng.standard_normal((epochs, len(names) + 2))
    counts = _counts(noise[:, : len(names)], level, simulation)
    doubled, total = 2 * counts[..., 0], 2 * counts[..., 0] + counts[..., 1] + counts[..., 2]
    hard = np.divide(doubled, total, out=np.full(total.shape, np.nan), where=total > 0)
    growth = _growth(epochs)
    soft = _reach(len(names)) * (0.03 + 0.85 * level * growth)[:, None]
    train_loss = 1.4 - 0.9 * (0.3 + 0.7 * level) * growth + 0.01 * noise[:, -2]
    number = np.arange(1, epochs + 1)
    columns = {
        "epoch": number,
        "train_loss": train_loss,
        "validation_loss": train_loss + 0.05 + 0.004 * number + 0.015 * noise[:, -1],
        "learning_rate": 1e-3 * 0.5 * (1 + np.cos(math.pi * number / simulation.epochs)),
        "objective": _mean_foreground(hard),
        "pruning_value": _mean_foreground(soft),
        "mean_foreground_dice": _mean_foreground(hard),
        "dice": _named(names, hard),
        "soft_dice": _named(names, soft),
        "counts": _named(names, counts),
        "pooled_dice": np.full(epochs, 0.9 + 0.07 * level),
    }
    if simulation.schema == "first":
        for name in ("pruning_value", "soft_dice", "counts", "pooled_dice"):
            columns.pop(name)
    columns |= _circumstances(trial, simulation)
    lists = [_plain(column) for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]


def _circumstances(trial: Trial, simulation: Simulation) -> dict[str, Any]:
    seconds, current = trial.seconds, simulation.schema == "current"
    kept = ("train", "validate", "input", "total") if current else ("train", "validate", "total")
    rows = [
        dict(zip(kept, row, strict=True)) for row in zip(*(seconds[k] for k in kept), strict=True)
    ]
    speed = [round(_IMAGES / train, 1) for train in seconds["train"]]
    if not current:
        return {"seconds": rows, "images_per_second": speed}
    made = [_IMAGES * (epoch + 1) // 2 for epoch in range(trial.epochs)]
    reads = [
        {
            "source": "service",
            "trouble": None,
            "images": _IMAGES,
            "shared": _IMAGES,
            "seconds": waited,
            "streams": {"1": samples},
        }
        for waited, samples in zip(seconds["input"], made, strict=True)
    ]
    return {
        "seconds": rows,
        "input": reads,
        "images_per_second": speed,
        "worker": [{"host": host, "pid": pid} for host, pid in trial.workers],
        "time": _iso(trial.ends),
    }


def _mean_foreground(values: np.ndarray) -> np.ndarray:
    """[E] mean over the classes but background, undefined ones left out."""
    defined = np.isfinite(values[:, 1:])
    total, count = np.where(defined, values[:, 1:], 0.0).sum(axis=1), defined.sum(axis=1)
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def _named(names: Sequence[str], values: np.ndarray) -> list[dict[str, Any]]:
    return [dict(zip(names, row, strict=True)) for row in _plain(values)]


def _plain(values: Any) -> list[Any]:
    """As lists, NaN as None."""
    if not isinstance(values, np.ndarray):
        return list(values)
    if values.dtype.kind == "f" and np.isnan(values).any():
        values = np.where(np.isnan(values), None, values.astype(object))
    return list(values.tolist())
