"""How many epochs each sampler and pruner needs to find what random search finds.

    python benchmarks/search_quality.py record            # trains the whole grid: half an hour
    python benchmarks/search_quality.py compare --out table.md

``record`` trains every config of a small grid on the embedded synthetic tiles and keeps each
epoch's validation Dice in ``landscape.json``. ``compare`` then searches this recorded landscape,
where a trial costs nothing but its proposal, so that every method is run over many seeds.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

HERE = Path(__file__).parent
LANDSCAPE = HERE / "landscape.json"
EPOCHS = 27
RATES = [3e-4, 1e-3, 2e-3, 4e-3, 1e-2, 3e-2]
GRID: dict[str, list[Any]] = {
    "model.num_layers": [2, 3, 4],
    "model.base_filters": [4, 8],
    "model.base_kernel": [3, 5],
    "model.normalization": ["batch", "none"],
    "model.dropout_rate": [0.0, 0.1],
    "train.learning_rate": RATES,
}


def study_tree(source: Path) -> dict[str, Any]:
    """The config whose grid is recorded: 32-pixel tiles, epochs of 16 small batches."""
    return {
        "study": {"name": "landscape", "storage_path": str(source.parent), "seed": 7},
        "data": {"source": str(source), "image_size": 32},
        "augment": {"sampling": "balanced"},
        "model": {"num_layers": {"int": [2, 4]}, "base_filters": {"choice": [4, 8]},
                  "base_kernel": {"choice": [3, 5]}, "dropout_rate": {"choice": [0.0, 0.1]},
                  "normalization": {"choice": ["batch", "none"]}},
        "train": {"epochs": EPOCHS, "steps_per_epoch": 16, "batch_size": 8,
                  "learning_rate": {"choice": RATES}},
        "search": {"num_trials": 1, "pruner": "none", "pruning_metric": "objective"},
    }  # fmt: skip


def record() -> None:
    """Train the grid and write the landscape; what is there already is not trained again."""
    from data_pipeline.prepare import prepare
    from data_pipeline.synthetic import write_synthetic
    from search.config import StudyConfig
    from search.worker import set_up_process

    set_up_process({"cpus_per_trial": 1, "gpus_per_trial": 0})
    known = json.loads(LANDSCAPE.read_text()) if LANDSCAPE.exists() else {"configs": []}
    done = {json.dumps(entry["params"]) for entry in known["configs"]}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "tiles"
        write_synthetic(source, seed=0, tiles=120)
        config = StudyConfig.from_tree(study_tree(source))
        store = prepare(config.data)
        for values in itertools.product(*GRID.values()):
            params = dict(zip(GRID, values, strict=True))
            if json.dumps(params) in done:
                continue
            started = time.perf_counter()
            curve = train(config.at(params), store, Path(folder) / "run")
            known["configs"].append({"params": params, "dice": curve})
            LANDSCAPE.write_text(json.dumps(known, separators=(",", ":")) + "\n")
            seconds = time.perf_counter() - started
            print(f"{len(known['configs'])}: best {max(curve):.3f}, {seconds:.1f} s", flush=True)


def train(config: Any, store: Any, folder: Path) -> list[float]:
    """Return the objective of every epoch, the undefined as 0; what is not a number ends it."""
    import shutil

    import keras

    from model.training import NonFiniteLoss
    from search.objective import TrialRun

    shutil.rmtree(folder, ignore_errors=True)
    run = TrialRun(config, store, folder)
    try:
        while not run.done:
            run.step()
    except NonFiniteLoss:
        pass
    curve = [round(record["objective"] or 0.0, 4) for record in run.records]
    del run
    keras.backend.clear_session(free_memory=True)
    gc.collect()
    return curve + [curve[-1] if curve else 0.0] * (EPOCHS - len(curve))


if __name__ == "__main__":
    record()
