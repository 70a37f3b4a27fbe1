"""Writes a study directory as a search would have left it, in seconds instead of hours.

The numbers are drawn, not trained: a trial's quality depends on its parameters, the hard Dice of a
class stands at zero until its soft Dice has grown, and weak trials are pruned at the rungs.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from results import scores

CLASSES = ("background", "Blowhole", "Break", "Crack", "Fray", "Uneven")
# Reachable Dice and pixels in the validation split of each class.
REACH = (0.99, 0.72, 0.48, 0.31, 0.69, 0.86)
PIXELS = (2_150_000, 3_100, 14_200, 5_400, 9_800, 61_000)
RUNGS = (3, 9)


@dataclass(frozen=True)
class Simulation:
    """What the simulated study is made of."""

    trials: int = 24
    epochs: int = 27
    seed: int = 0
    name: str = "magnetic-tile"
    classes: tuple[str, ...] = CLASSES
    absent: tuple[str, ...] = ()
    fail_every: int = 11
    running: int = 2
    leak: bool = False
    findings: bool = True
    states: dict[int, str] = field(default_factory=dict)


def space() -> dict[str, dict[str, Any]]:
    """The searched fields, as in a study's config."""
    return {
        "model.num_layers": {"int": [3, 6]},
        "model.base_filters": {"choice": [8, 16, 32]},
        "model.base_kernel": {"choice": [3, 5, 7, 9]},
        "model.dropout_rate": {"float": [0.0, 0.15]},
        "train.learning_rate": {"float": [1e-4, 1e-2], "log": True},
        "train.loss": {"choice": ["cross_entropy_dice", "focal_tversky", "cross_entropy"]},
    }


def write_study(path: Path, simulation: Simulation | None = None) -> Path:
    """Write the study directory ``path`` and return it."""
    simulation = simulation or Simulation()
    path.mkdir(parents=True, exist_ok=True)
    header = study_yaml(simulation)
    (path / "study.yaml").write_text(yaml.safe_dump(header, sort_keys=False), encoding="utf-8")
    (path / "data.json").write_text(json.dumps(data_json(simulation)), encoding="utf-8")
    for number in range(simulation.trials):
        write_trial(path / "trials" / f"{number:05d}", number, simulation)
    return path


def study_yaml(simulation: Simulation) -> dict[str, Any]:
    """The contents of study.yaml."""
    config: dict[str, Any] = {
        "study": {"name": simulation.name, "seed": simulation.seed},
        "data": {"source": "data/magnetic_tile", "image_size": [128, 128], "channels": 1},
        "augment": {"sampling": "balanced", "rotation": 10.0},
        "model": {"normalization": "batch", "activation": "relu"},
        "train": {"epochs": simulation.epochs, "batch_size": 8, "optimizer": "adamw"},
        "search": {
            "trials": simulation.trials,
            "baselines": {"reference": baseline_params()},
            "pruner": {"reduction_factor": 3},
        },
        "resources": {"cpus": 1, "concurrent": 2},
    }
    for name, distribution in space().items():
        section, key = name.split(".")
        config[section][key] = distribution
    return {
        "format": 1,
        "name": simulation.name,
        "created": "2026-03-02T09:14:00+00:00",
        "config": config,
        "classes": list(simulation.classes),
        "data_fingerprint": "8f1c02a97be6d4435c0e",
        "versions": {"python": "3.11.2", "tensorflow": "2.21.0", "optuna": "5.0.0"},
        "git_revision": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
        "objective": "mean_foreground_dice",
        "pruning_metric": "soft_foreground_dice",
    }


def data_json(simulation: Simulation) -> dict[str, Any]:
    """The contents of data.json."""
    pixels = _class_pixels(simulation)
    splits = {}
    for name, share, images, groups in (
        ("train", 3.0, 402, 68),
        ("valid", 1.0, 131, 22),
        ("test", 1.0, 135, 23),
    ):
        splits[name] = {
            "images": images,
            "groups": groups,
            "pixels": {key: int(share * count) for key, count in pixels.items()},
            "images_with": {
                key: images if index == 0 else (images // (4 + index) if count else 0)
                for index, (key, count) in enumerate(pixels.items())
            },
        }
    return {
        "fingerprint": "8f1c02a97be6d4435c0e",
        "source": "data/magnetic_tile",
        "classes": list(simulation.classes),
        "image_shape": [128, 128, 1],
        "splits": splits,
        "findings": _findings(simulation),
    }


def _findings(simulation: Simulation) -> list[dict[str, Any]]:
    if not simulation.findings:
        return []
    findings = [
        {
            "kind": "empty_mask",
            "severity": "info",
            "message": "117 masks hold background alone",
            "files": ["train/masks/Free_exp1_num_9100.png", "train/masks/Free_exp2_num_9100.png"],
        }
    ]
    for name in simulation.absent:
        findings.append(
            {
                "kind": "class_absent",
                "severity": "warning",
                "message": f"class {name} has no pixel in split valid",
                "files": [],
            }
        )
    if simulation.leak:
        findings.append(
            {
                "kind": "group_straddles_splits",
                "severity": "leak",
                "message": "3 groups have images in train and in valid",
                "files": [f"train/images/Crack_exp{i}_num_33.jpg" for i in range(1, 5)],
            }
        )
    return findings


def _class_pixels(simulation: Simulation) -> dict[str, int]:
    return {
        name: 0 if name in simulation.absent else PIXELS[index % len(PIXELS)]
        for index, name in enumerate(simulation.classes)
    }


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
        "train.loss": str(rng.choice(space()["train.loss"]["choice"])),
    }


def quality(params: dict[str, Any]) -> float:
    """How much of each class's reachable Dice the parameters get to, 0..1."""
    rate = math.log10(params["train.learning_rate"])
    value = 0.95 - 0.35 * (rate + 2.8) ** 2 - 0.07 * abs(params["model.num_layers"] - 5)
    value -= 1.2 * abs(params["model.dropout_rate"] - 0.04)
    value -= {"cross_entropy_dice": 0.0, "focal_tversky": 0.08, "cross_entropy": 0.4}[
        params["train.loss"]
    ]
    return min(max(value, 0.0), 1.0)


def write_trial(path: Path, number: int, simulation: Simulation) -> None:
    """Write one trial's folder."""
    rng = np.random.default_rng((simulation.seed, number))
    baseline = number == 0
    params = baseline_params() if baseline else sample_params(rng)
    level = 0.0 if baseline else quality(params)
    state, epochs = _fate(number, level, rng, simulation)
    lines = [_epoch_line(epoch, level, rng, simulation) for epoch in range(1, epochs + 1)]
    objectives = [line["objective"] for line in lines]
    best = objectives.index(max(objectives)) if objectives and objectives[0] is not None else None
    told = state in ("COMPLETE", "PRUNED") and best is not None
    record = {
        "number": number,
        "state": state,
        "value": objectives[best] if told and best is not None else None,
        "best_epoch": best + 1 if told and best is not None else None,
        "epochs": epochs,
        "params": params,
        "baseline": "reference" if baseline else None,
        "reason": _reason(state, epochs),
        "started": "2026-03-02T09:20:00+00:00",
        "finished": None if state == "RUNNING" else "2026-03-02T09:31:12+00:00",
        "seed": 1000 + number,
        "cost": _cost(params),
    }
    path.mkdir(parents=True)
    (path / "trial.json").write_text(json.dumps(record), encoding="utf-8")
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (path / "metrics.jsonl").write_text(text, encoding="utf-8")
    if state == "COMPLETE":
        (path / "best.keras").write_bytes(b"keras model of trial %d" % number)


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
        if number and score < needed and rung < simulation.epochs:
            return "PRUNED", rung
    return "COMPLETE", simulation.epochs


def _reason(state: str, epochs: int) -> str | None:
    if state == "PRUNED":
        return f"pruned at epoch {epochs}"
    return "ResourceExhaustedError: out of memory" if state == "FAIL" else None


def _cost(params: dict[str, Any]) -> dict[str, float]:
    size = params["model.base_filters"] ** 2 * 4 ** params["model.num_layers"]
    return {
        "parameters": int(size * 14),
        "flops": float(size * params["model.base_kernel"] ** 2 * 2600),
        "activation_bytes": params["model.base_filters"] * 2_300_000,
    }


def _epoch_line(
    epoch: int, level: float, rng: np.random.Generator, simulation: Simulation
) -> dict[str, Any]:
    counts = _counts(epoch, level, rng, simulation)
    hard = scores.dice([counts[name] for name in simulation.classes])
    growth = 1 - math.exp(-epoch / 6)
    soft = np.array([REACH[i % len(REACH)] for i in range(len(hard))]) * (
        0.03 + 0.85 * level * growth
    )
    value = scores.mean_foreground(hard)
    train_loss = 1.4 - 0.9 * (0.3 + 0.7 * level) * growth + float(rng.normal(0, 0.01))
    return {
        "epoch": epoch,
        "train_loss": train_loss,
        "validation_loss": train_loss + 0.05 + 0.004 * epoch + float(rng.normal(0, 0.015)),
        "learning_rate": 1e-3 * 0.5 * (1 + math.cos(math.pi * epoch / simulation.epochs)),
        "objective": None if math.isnan(value) else value,
        "pruning_value": scores.mean_foreground(soft),
        "mean_foreground_dice": None if math.isnan(value) else value,
        "dice": _named(hard, simulation),
        "soft_dice": _named(soft, simulation),
        "counts": counts,
        "pooled_dice": 0.9 + 0.07 * level,
        "seconds": {"train": 11.2, "validate": 1.3, "total": 12.6},
        "images_per_second": 71.0,
        "time": "2026-03-02T09:21:00+00:00",
    }


def _counts(
    epoch: int, level: float, rng: np.random.Generator, simulation: Simulation
) -> dict[str, list[int]]:
    counts = {}
    pixels = _class_pixels(simulation)
    for index, name in enumerate(simulation.classes):
        reach = REACH[index % len(REACH)]
        delay = 0 if index == 0 else 1.5 + 2.5 * (1 - reach)
        grown = 1 - math.exp(-max(epoch - delay, 0) / 6)
        share = reach * (1.0 if index == 0 else level * grown)
        noise = float(rng.normal(0, 0.002 if index == 0 else 0.05))
        share = min(max(share * (1 + noise), 0.0), 1.0)
        hits = int(share * pixels[name])
        missed = pixels[name] - hits
        # A class the split lacks is still predicted now and then, but never by a collapsed model.
        false = int(40 * level) if name in simulation.absent and level > 0.5 else missed
        counts[name] = [hits, false if hits or name in simulation.absent else 0, missed]
    return counts


def _named(values: np.ndarray, simulation: Simulation) -> dict[str, float | None]:
    return {
        name: None if math.isnan(value) else float(value)
        for name, value in zip(simulation.classes, values, strict=True)
    }
