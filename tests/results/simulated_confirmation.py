"""A confirmation of a simulated study: top configs and baselines trained again over seeds."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from results.records.study import StudyRecord, TrialRecord, load_study
from tests.results.simulated_evaluation import evaluate, levels_of, predict, tiles
from tests.results.simulated_study import Simulation
from tests.results.simulated_trials import model_bytes

SPREAD = 0.06  # of a class's Dice over seeds, relative


def write_confirmation(
    path: Path,
    simulation: Simulation,
    seeds: int = 5,
    top: int = 3,
    *,
    folds: int | None = None,
    unfinished: int = 0,
    failed: Collection[str] = (),
) -> list[str]:
    """Write ``confirm/`` of a study that ``write_study`` wrote.

    Args:
        seeds: trainings a config, times ``folds``.
        top: how many of the best COMPLETE trials, beside the baselines.
        unfinished: how many of the last runs have not been scored.
        failed: names of runs that failed for good.

    Returns:
        The runs' names.
    """
    study = load_study(path)
    configs = chosen(study, top)
    folder = path / "confirm"
    folder.mkdir()
    plan = plan_json(study, configs, seeds, top, folds)
    (folder / "confirm.json").write_text(json.dumps(plan), encoding="utf-8")
    runs = [
        (trial, seed, fold)
        for seed in range(seeds)
        for trial in configs
        for fold in (range(folds) if folds else (None,))
    ]
    names = [run_name(*run) for run in runs]
    for place, (name, run) in enumerate(zip(names, runs, strict=True)):
        target = folder / "runs" / name
        if name in failed:
            target.mkdir(parents=True)
            (target / "failed.json").write_text('{"reason": "out of memory"}', encoding="utf-8")
        else:
            done = place < len(runs) - unfinished
            _write_run(target, simulation, *run, folds, done=done)
    return names


def chosen(study: StudyRecord, top: int) -> list[TrialRecord]:
    """The best COMPLETE trials and the baselines."""
    complete = [trial for trial in study.with_state("COMPLETE") if trial.value is not None]
    ranked = sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))
    return list(dict.fromkeys([*ranked[:top], *study.baselines]))


def plan_json(
    study: StudyRecord, configs: list[TrialRecord], seeds: int, top: int, folds: int | None
) -> dict[str, Any]:
    """The contents of confirm.json."""
    return {
        "format": 1,
        "created": "2026-03-03T08:00:00+00:00",
        "top": top,
        "seeds": seeds,
        "folds": folds,
        "split": "test",
        "data_fingerprint": study.data_fingerprint,
        "configs": [
            {
                "trial": trial.number,
                "baseline": trial.baseline,
                "value": trial.value,
                "params": dict(trial.params),
            }
            for trial in configs
        ],
    }


def run_name(trial: TrialRecord, seed: int, fold: int | None) -> str:
    """The name of a run's folder."""
    name = f"trial-{trial.number:05d}-seed-{seed}"
    return name if fold is None else f"{name}-fold-{fold}"


def _write_run(
    folder: Path,
    simulation: Simulation,
    trial: TrialRecord,
    seed: int,
    fold: int | None,
    folds: int | None,
    *,
    done: bool,
) -> None:
    folder.mkdir(parents=True)
    rows = range(len(trial.curve) if done else len(trial.curve) // 2)
    lines = [
        {
            "epoch": int(trial.curve.epoch[row]),
            "objective": _number(trial.curve.objective[row]),
            "dice": {},
        }
        for row in rows
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
    if not done:
        return
    (folder / "best.keras").write_bytes(model_bytes("confirmation"))
    rng = np.random.default_rng((simulation.seed, trial.number, seed, fold or 0))
    levels = levels_of(trial)
    levels = (levels * (1 + SPREAD * rng.standard_normal(len(levels)))).clip(0.0, 1.0)
    shown = tiles(simulation, "test")
    if folds is not None:
        groups = sorted({tile.group for tile in shown})
        mine = {group for place, group in enumerate(groups) if place % folds == fold}
        shown = tuple(tile for tile in shown if tile.group in mine)
    seen = predict(shown, levels, seed=1000 * (trial.number + 1) + seed)
    counted = evaluate(
        folder.name, shown, seen, simulation, split="test", trial=trial, seed=seed, fold=fold
    )
    counted.save(folder / "evaluation.npz")


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
