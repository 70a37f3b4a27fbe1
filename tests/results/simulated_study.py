"""Writes a study directory as a search would have left it, in seconds instead of hours.

The numbers are drawn, not trained: see simulated_trials.py for how, simulated_evaluation.py for
predictions and simulated_confirmation.py for a confirmation.
"""

from __future__ import annotations

import colorsys
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from tests.results.simulated_trials import (
    RUNGS,
    Trial,
    baseline_params,
    class_pixels,
    draw,
    schedule,
    write_trial,
)

CLASSES = ("background", "Blowhole", "Break", "Crack", "Fray", "Uneven")
FINGERPRINT = "8f1c02a97be6d4435c0e"
CREATED = "2026-03-02T09:14:00+00:00"
# Name, pixels as a multiple of the validation split's, images, groups.
SPLITS = (("train", 3.0, 402, 68), ("valid", 1.0, 131, 22), ("test", 1.0, 135, 23))


@dataclass(frozen=True)
class Simulation:
    """What the simulated study is made of.

    Attributes:
        trials: how many; number 0 is the baseline.
        epochs: of a trial that is not stopped.
        classes: names, background first; see :func:`class_names`.
        absent: classes without a pixel in the validation split.
        fail_every: every so many trials one fails.
        running: how many of the last trials still run.
        leak: whether the audit found one.
        states: states of trials by number, whatever else is said.
        prune: whether weak trials are stopped at the rungs.
        lost_every: every so many trials one loses its worker and goes on; 0: none.
        latency: whether latency was measured.
        schema: "first": what the first version wrote, without what was added since.
        nodes, workers_per_node: where trials were trained.
        shared: whether pipeline.json tells of a shared pipeline.
        stem: what the names of images begin with.
    """

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
    prune: bool = True
    lost_every: int = 0
    latency: bool = False
    schema: Literal["current", "first"] = "current"
    nodes: tuple[str, ...] = ("node-1", "node-2")
    workers_per_node: int = 2
    shared: bool = False
    stem: str = "tile"


def class_names(count: int) -> tuple[str, ...]:
    """So many names of classes, background first."""
    return tuple(CLASSES[:count]) + tuple(f"Class {i:02d}" for i in range(len(CLASSES), count))


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
    trials = [draw(number, simulation) for number in range(simulation.trials)]
    schedule(trials, simulation)
    for trial in trials:
        write_trial(path / "trials" / f"{trial.number:05d}", trial, simulation)
    if simulation.shared:
        told = json.dumps(pipeline_json(trials))
        (path / "pipeline.json").write_text(told, encoding="utf-8")
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
            "pruner": "asha" if simulation.prune else "none",
            "grace_epochs": RUNGS[0],
            "reduction_factor": RUNGS[1] // RUNGS[0],
        },
        "resources": {"cpus_per_trial": 1, "gpus_per_trial": 0.0, "max_concurrent": 4},
    }
    for name, distribution in space().items():
        section, key = name.split(".")
        config[section][key] = distribution
    header = {
        "format": 1,
        "name": simulation.name,
        "created": CREATED,
        "config": config,
        "classes": list(simulation.classes),
        "data_fingerprint": FINGERPRINT,
        "versions": {"python": "3.11.2", "tensorflow": "2.21.0", "optuna": "5.0.0"},
        "git_revision": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
        "objective": "mean_foreground_dice",
        "pruning_metric": "soft_foreground_dice",
        "hardware": {
            "host": simulation.nodes[0],
            "os": "Linux-6.1-x86_64",
            "cpu": "Simulated CPU",
            "cores": 8,
            "memory_gb": 33.5,
            "gpus": ["Simulated GPU, 24564 MiB"],
        },
    }
    if simulation.schema == "first":
        for name in ("versions", "git_revision", "pruning_metric", "hardware"):
            header.pop(name)
    return header


def data_json(simulation: Simulation) -> dict[str, Any]:
    """The contents of data.json."""
    pixels = class_pixels(simulation)
    splits = {}
    for name, share, images, groups in SPLITS:
        splits[name] = {
            "images": images,
            "groups": groups,
            "pixels": {key: int(share * count) for key, count in pixels.items()},
            "images_with": {
                key: images if index == 0 else (images // (4 + index) if count else 0)
                for index, (key, count) in enumerate(pixels.items())
            },
        }
    data = {
        "fingerprint": FINGERPRINT,
        "source": "data/magnetic_tile",
        "classes": list(simulation.classes),
        "image_shape": [128, 128, 1],
        "splits": splits,
        "findings": _findings(simulation),
    }
    if simulation.schema == "current":
        data["colors"] = _colors(simulation.classes)
        data["skipped"] = []
        for name, _, _, groups in SPLITS:
            splits[name]["groups_with"] = {
                key: min(groups, images) for key, images in splits[name]["images_with"].items()
            }
    return data


def _colors(classes: Sequence[str]) -> dict[str, list[int]]:
    """Colours of the masks: the background's black, then of full saturation around the wheel."""
    hues = np.arange(len(classes) - 1) / max(len(classes) - 1, 1)
    wheel = [colorsys.hsv_to_rgb(hue, 1.0, 1.0) for hue in hues]
    rest = [[round(255 * part) for part in color] for color in wheel]
    return dict(zip(classes, [[0, 0, 0], *rest], strict=True))


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


def pipeline_json(trials: Sequence[Trial]) -> dict[str, Any]:
    """The contents of pipeline.json: one stream, which two trials read at a time."""
    images = sum(trial.epochs for trial in trials) * 804
    return {
        "sharing": "service",
        "why": "2 trials or more train at a time on one node",
        "images": images,
        "shared": images,
        "made": images // 2,
        "hit_rate": 0.5 if images else None,
        "train_seconds": round(sum(sum(t.seconds["train"]) for t in trials), 3),
        "input_seconds": round(sum(sum(t.seconds["input"]) for t in trials), 3),
        "images_per_second": 0.0,
        "made_per_second": 0.0,
        "epochs": {str(t.number): t.epochs for t in trials if t.state == "RUNNING"},
    }
