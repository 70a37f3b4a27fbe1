"""A training's curves as one self-contained HTML file, finished or still running."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from foundation.files import write_text
from results.figures.training import classes_figure, losses_figure, rate_figure, scores_figure
from results.pages.page import render
from results.records.training_record import TrainingRecord, load_training
from results.style.words import duration, number, time_text

TRAINING_PAGE = "training.html"


def write_training_page(folder: Path | str, target: Path | None = None) -> Path:
    """Write the page of a training; an earlier one is replaced in one step.

    Args:
        folder: The training's.
        target: The HTML file; None: ``training.html`` in the folder.

    Raises:
        RecordError: for a folder that is no training's.
        OSError: where the page cannot be written.
    """
    page = Path(folder) / TRAINING_PAGE if target is None else target
    write_text(page, render_training(load_training(folder)), durable=False)
    return page


def render_training(training: TrainingRecord, generated: datetime | None = None) -> str:
    """Render the page's HTML.

    Args:
        training: The training.
        generated: The time it says it was made; now by default.
    """
    made = (generated or datetime.now(UTC)).isoformat()
    return render(
        "training.html.j2",
        {
            "name": training.path.resolve().name,
            "facts": _facts(training, made),
            "losses": losses_figure(training),
            "scores": scores_figure(training),
            "classes": classes_figure(training),
            "rate": rate_figure(training),
            "table": _class_table(training),
        },
    )


def _facts(training: TrainingRecord, made: str) -> list[tuple[str, str]]:
    curve = training.curve
    data = training.config.get("data") or {}
    facts = [
        ("Data", str(data.get("source", ""))),
        ("Trained on", "training and validation images" if training.final else "training images"),
        ("Epochs", f"{len(curve)} of at most {training.epochs}"),
    ]
    if np.isfinite(curve.total_seconds).any():
        facts.append(("Trained for", duration(float(np.nansum(curve.total_seconds)))))
    facts.append(("Page of", f"{time_text(made)} UTC"))
    return facts


def _class_table(training: TrainingRecord) -> dict[str, Any] | None:
    """Return scores of each class in the best epoch; None where nothing was validated."""
    row = training.best_row
    if row is None or training.final:
        return None
    heads = [{"text": "Class"}, *({"text": text, "num": True} for text in ("Dice", "IoU"))]
    order = [*range(1, len(training.classes)), 0]  # the background last, as everywhere
    rows = [
        [
            {"text": training.classes[index]},
            {"text": number(training.curve.dice[row, index]), "num": True},
            {"text": number(training.iou[row, index]), "num": True},
        ]
        for index in order
    ]
    return {"epoch": int(training.curve.epoch[row]), "heads": heads, "rows": rows}
