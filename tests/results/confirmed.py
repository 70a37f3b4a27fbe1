"""Confirmations by hand: evaluations of one class, and a study directory that holds them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from results.analysis.confirmation import (
    EVALUATION,
    FAILED,
    FOLDER,
    MODEL,
    PLAN,
    ConfirmationPlan,
    Run,
    run_folder,
)
from results.records.evaluation import Evaluation
from tests.results.counted import counted
from tests.results.simulated_trials import model_bytes

CLASSES = ("background", "hole")
Counts = Mapping[str, tuple[int, int, int]]


def holes(images: Counts, groups: Sequence[str] | None = None, **facts: Any) -> Evaluation:
    """Count holes: image name to (true positives, false positives, false negatives) in pixels."""
    cells = {
        name: [
            cell
            for cell in (
                (0, 0, 100 - found - invented - missed),
                (1, 1, found),
                (0, 1, invented),
                (1, 0, missed),
            )
            if cell[2]
        ]
        for name, (found, invented, missed) in images.items()
    }
    of = None if groups is None else dict(zip(images, groups, strict=True))
    return counted(cells, of, facts.pop("classes", CLASSES), **{"split": "test", **facts})


def write_plan(study: Path, plan: ConfirmationPlan) -> None:
    """Write a study's plan."""
    (study / FOLDER).mkdir(exist_ok=True)
    (study / FOLDER / PLAN).write_text(plan.model_dump_json(), encoding="utf-8")


def write_run(
    study: Path, run: Run, scored: Evaluation | None, validation: float = 0.5, failed: str = ""
) -> Path:
    """Write what a training leaves: its best epoch, its model, its counts."""
    folder = run_folder(study, run)
    folder.mkdir(parents=True, exist_ok=True)
    line = {"epoch": 3, "dice": {}, "objective": validation, "time": "2026-01-01T00:00:00+00:00"}
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    (folder / MODEL).write_bytes(model_bytes(run.name))
    if failed:
        (folder / FAILED).write_text(json.dumps({"reason": failed}), encoding="utf-8")
    if scored is not None:
        scored.save(folder / EVALUATION)
    return folder
