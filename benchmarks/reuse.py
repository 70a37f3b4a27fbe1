"""Resident memory of one worker process that trains trial after trial.

    python benchmarks/reuse.py [--trials 40] [--keep] [--out FILE]

Drives the worker's own code (``search.tuning.worker.TrialWorker``) without Ray: begin, one epoch of
a few steps, release, with another small config each time. ``--keep`` leaves out that freed memory
is given back to the system after each trial.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import search.tuning.worker
from data_pipeline.stores.prepare import prepare
from data_pipeline.stores.store import Store
from search.config.loading import config_from_tree
from search.config.schema import StudyConfig
from search.interfaces.messages import TrialJob
from search.process.memory import resident_bytes
from search.process.resources import WorkerResources
from search.storage.files import trial_folder
from search.tuning.worker import TrialWorker

SHOWN = (1, 2, 5, 10, 20, 40, 60, 80, 100)


def study(folder: Path) -> StudyConfig:
    """Return a study of small models on the embedded tiles."""
    return config_from_tree(
        {
            "study": {"storage_path": str(folder)},
            "data": {"image_size": 64},
            "model": {
                "num_layers": {"int": [3, 5]},
                "base_filters": {"choice": [4, 8, 16]},
                "base_kernel": {"int": [3, 7], "step": 2},
                "normalization": {"choice": ["none", "batch", "group"]},
                "activation": {"choice": ["relu", "mish"]},
            },
            "train": {
                "epochs": 1,
                "steps_per_epoch": 4,
                "batch_size": {"choice": [2, 4, 8]},
                "learning_rate": 0.001,
            },
            "search": {"grace_epochs": 1},
        }
    )


def proposals(config: StudyConfig, store: Store, count: int) -> list[TrialJob]:
    """Draw so many trials at random, as the driver would propose them."""
    random_state = random.Random(0)
    drawn = []
    for number in range(count):
        params = {name: random_state.choice(_values(d)) for name, d in config.space.items()}
        drawn.append(
            TrialJob(
                number=number,
                folder=trial_folder(config.directory, number),
                store=store.path,
                owner=str(number),
                config=config.at(params, number),
                resources=WorkerResources(config.resources.cpus_per_trial),
                bundle={},
            )
        )
    return drawn


def _values(distribution: Any) -> list[Any]:
    optuna_distribution = distribution.to_optuna()
    if hasattr(optuna_distribution, "choices"):
        return list(optuna_distribution.choices)
    low, high = distribution.extremes()
    if isinstance(low, float):
        return [low, high]
    return list(range(low, high + 1, optuna_distribution.step))


def measure(folder: Path, count: int) -> list[int]:
    """Return the resident bytes after each trial, its model released."""
    config = study(folder)
    drawn = proposals(config, prepare(config.data), count)
    (config.directory / "trials").mkdir(parents=True)
    (config.directory / "study.yaml").touch()  # it is there: see search/storage/retry.py
    worker = TrialWorker.__new__(TrialWorker)  # not as Tune's actor: Ray is not wanted here
    worker.setup({"trial": drawn[0]})
    held = []
    for proposal in drawn:
        if held:
            worker.reset_config({"trial": proposal})
        report = worker.step()["report"]
        if report.failed is not None:
            raise RuntimeError(report.failed)
        worker.cleanup()
        held.append(resident_bytes())
    return held


def table(held: list[int], note: str) -> str:
    """Write the resident memory after some of the trials, as Markdown."""
    shown = [number for number in SHOWN if number <= len(held)]
    growth = (held[-1] - held[1]) / max(1, len(held) - 2) / 1e6
    return "\n".join(
        [
            f"Reuse, {datetime.now(UTC):%Y-%m-%d} ({os.cpu_count()} CPU cores, no GPU, Python "
            f"{platform.python_version()}, TensorFlow {version('tensorflow')}), {note}",
            "",
            f"| trials | {' | '.join(map(str, shown))} |",
            f"|---|{'---:|' * len(shown)}",
            f"| resident, MB | {' | '.join(f'{held[n - 1] / 1e6:,.0f}' for n in shown)} |",
            "",
            f"{growth:.1f} MB a trial from the second to the last.",
        ]
    )


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--keep", action="store_true", help="do not give freed memory back")
    parser.add_argument("--out", type=Path, help="append the table to this file too")
    options = parser.parse_args()
    if options.keep:
        patch.object(search.tuning.worker, "give_back_free_memory", lambda: None).start()
    terminal = os.fdopen(os.dup(1), "w", encoding="utf-8")  # the worker sends 1 and 2 to its log
    with tempfile.TemporaryDirectory() as folder:
        held = measure(Path(folder), options.trials)
    text = table(held, "freed memory kept" if options.keep else "freed memory given back")
    print(text, file=terminal, flush=True)
    if options.out:
        with options.out.open("a", encoding="utf-8") as file:
            file.write(text + "\n\n")


if __name__ == "__main__":
    main()
