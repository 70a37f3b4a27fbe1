"""The lines of metrics.jsonl: read, and as scalars."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

TENSORBOARD = "tensorboard"


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """Return an epoch's numbers by the names that the logs show; undefined ones left out."""
    numbers = {
        "loss/train": record["train_loss"],
        "loss/validation": record["validation_loss"],
        "learning_rate": record["learning_rate"],
        "objective": record["objective"],
        "mean_foreground_dice": record["mean_foreground_dice"],
        **{f"dice/{name}": value for name, value in record["dice"].items()},
    }
    return {
        name: float(value)
        for name, value in numbers.items()
        if value is not None and math.isfinite(value)
    }


def records_of(folder: Path) -> list[dict[str, Any]]:
    """Return the epochs in a trial's metrics.jsonl, up to a line that is there in part."""
    records: list[dict[str, Any]] = []
    with contextlib.suppress(OSError, ValueError):
        for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            records.append(json.loads(line))
    return records


def unwritten(folder: Path, last: int, record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield an epoch's record, after those before it that a killed driver did not hear of.

    Args:
        folder: The trial's, with its metrics.jsonl.
        last: The last epoch that the log holds.
        record: The epoch that ended now; nothing is yielded where the log holds it.
    """
    if record["epoch"] > last + 1:
        for earlier in records_of(folder):
            if last < earlier["epoch"] < record["epoch"]:
                yield earlier
    if record["epoch"] > last:
        yield record
