"""Bytes that a trial leaves on the disk: in training, ended, and stopped early.

    python benchmarks/disk.py [--out FILE]

Trains models of several sizes for two epochs of two steps by the worker's own code, and lets go of
what ``search.study.retention`` lets go of. No trials share anything, so that sums are sums.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from data_pipeline.stores.prepare import prepare
from search.config.loading import config_from_tree
from search.process.resources import WorkerResources
from search.process.setup import set_up_process
from search.study.retention import CHECKPOINTS

SIZES = ((3, 8, 3), (4, 12, 3), (5, 16, 5), (6, 16, 5))


def rows(folder: Path) -> Iterator[str]:
    """Train a model of each size and yield its row."""
    from search.training.trial_run import TrialRun

    for layers, filters, kernel in SIZES:
        config = config_from_tree(
            {
                "study": {"storage_path": str(folder)},
                "data": {"image_size": 64},
                "model": {
                    **{"num_layers": layers, "base_filters": filters, "base_kernel": kernel},
                    "dropout_rate": 0.0,
                },
                "train": {
                    "epochs": 2,
                    "steps_per_epoch": 2,
                    "batch_size": 2,
                    "learning_rate": 1e-3,
                },
                "search": {"grace_epochs": 1},
            }
        )
        place = folder / f"{layers}-{filters}-{kernel}"
        run = TrialRun(config.at({}, seed=1), prepare(config.data), place, threads=1)
        while not run.done:
            run.step()
        parameters = run.cost.parameters
        run.close()
        whole = size_of(place)
        for name in CHECKPOINTS:
            (place / name).unlink()
        ended = size_of(place)
        (place / "best.keras").unlink()
        pruned = size_of(place)
        yield (
            f"| {layers} levels, {filters} filters, kernel {kernel} | {parameters:,} | "
            f"{whole / 1e6:.2f} | {ended / 1e6:.2f} ({ended / whole:.2f}x) | {pruned / 1e6:.3f} |"
        )


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir())


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="append the table to this file too")
    options = parser.parse_args()
    set_up_process(WorkerResources(cpus=1))
    heads = ["model", "parameters", "training, MB", "ended, MB", "stopped early, no model, MB"]
    with tempfile.TemporaryDirectory() as folder:
        lines = [
            f"Disk a trial, {datetime.now(UTC):%Y-%m-%d}",
            "",
            f"| {' | '.join(heads)} |",
            "|---|---:|---:|---:|---:|",
            *rows(Path(folder)),
        ]
    print("\n".join(lines))
    if options.out:
        with open(options.out, "a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
