"""Epochs for logs: as scalars, and those that a killed driver did not receive."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from results.records.epochs import Epoch, epochs_in

TENSORBOARD = "tensorboard"


def scalars(epoch: Epoch) -> dict[str, float]:
    """Return an epoch's numbers by the names that the logs show; undefined ones left out."""
    numbers = {
        "loss/train": epoch.train_loss,
        "loss/validation": epoch.validation_loss,
        "learning_rate": epoch.learning_rate,
        "objective": epoch.objective,
        "mean_foreground_dice": epoch.mean_foreground_dice,
        **{f"dice/{name}": value for name, value in epoch.dice.items()},
    }
    return {
        name: float(value)
        for name, value in numbers.items()
        if value is not None and math.isfinite(value)
    }


def unwritten(folder: Path, last: int, epoch: Epoch) -> Iterator[Epoch]:
    """Yield an epoch, after those before it that a killed driver did not receive.

    Args:
        folder: The trial's, with its metrics.jsonl.
        last: The last epoch that the log holds.
        epoch: The one that ended now; nothing is yielded where the log holds it.
    """
    if epoch.epoch > last + 1:
        yield from (each for each in epochs_in(folder) if last < each.epoch < epoch.epoch)
    if epoch.epoch > last:
        yield epoch
