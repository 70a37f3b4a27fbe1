"""Trials an hour of short searches: ours, plain Ray Tune and KerasTuner, the same work in turns.

    pip install keras-tuner
    python benchmarks/search_throughput.py [--rounds 2] [--trials 24] [--epochs 3] [--out FILE]

The same configs of the same models are trained on the same 64-pixel synthetic tiles for the same
steps, with flips, cross-entropy and validation after each epoch:

- ours: ``flexunet-search run``, two trials at a time, a core each, every config a baseline;
- ray: Ray Tune with ``OptunaSearch`` and no scheduler as its documentation shows them, two at a
  time, a core each: a function trainable, a fresh actor a trial, Keras ``fit``, a tf.data pipeline
  of its own;
- kerastuner: ``GridSearch`` over the configs, one after the other by nature, on both cores.

Each is a process of its own, timed from its start to its end. Of ours is also told how much of the
workers' time, from the first finished epoch to the last, is training steps and validation.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

SIZE, BATCH, STEPS = 64, 8, 20
WAYS = ("ours", "ray", "kerastuner")
ROOT = Path(__file__).resolve().parents[1]


def configs(trials: int) -> list[dict[str, Any]]:
    """Return the points that every way trains."""
    points = [
        {"num_layers": layers, "base_filters": filters, "base_kernel": kernel, "rate": rate}
        for rate in (1e-3, 3e-3)
        for layers in (3, 4, 5)
        for filters in (8, 12)
        for kernel in (3, 5)
    ]
    return points[:trials]


def ours(folder: Path, trials: int, epochs: int) -> None:
    """Run our search over the points."""
    import yaml

    tree = {
        "study": {"name": "ours", "storage_path": str(folder)},
        "data": {"source": str(folder / "tiles"), "image_size": SIZE},
        "augment": {"preset": "none", "sampling": "natural", "horizontal_flip": True,
                    "vertical_flip": True},
        "model": {"num_layers": {"int": [3, 5]}, "base_filters": {"choice": [8, 12]},
                  "base_kernel": {"choice": [3, 5]}, "dropout_rate": 0.0},
        "train": {"epochs": epochs, "steps_per_epoch": STEPS, "batch_size": BATCH,
                  "loss": "cross_entropy", "class_weighting": "none", "schedule": "constant",
                  "learning_rate": {"choice": [1e-3, 3e-3]}},
        "search": {"num_trials": trials, "pruner": "none", "score_at_end": False, "baselines": [
            {"name": str(number), "params": {
                "model.num_layers": point["num_layers"],
                "model.base_filters": point["base_filters"],
                "model.base_kernel": point["base_kernel"], "train.learning_rate": point["rate"]}}
            for number, point in enumerate(configs(trials))]},
        "resources": {"cpus_per_trial": 1, "num_cpus": 2},
    }  # fmt: skip
    path = folder / "ours.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "search", "run", str(path)],
        check=True, stdout=subprocess.DEVNULL, cwd=ROOT,
    )  # fmt: skip


def arrays(folder: Path, size: int = SIZE) -> dict[str, Any]:
    """Return the tiles as arrays, as a plain program reads them, and pixels of each class."""
    import numpy as np

    from data_pipeline.config import DataConfig
    from data_pipeline.stores.prepare import prepare

    store = prepare(DataConfig(source=str(folder / "tiles"), image_size=size))

    def split(name: str) -> Any:
        records = [store.read(name, index) for index in range(store.splits[name].count)]
        return tuple(np.stack(part) for part in zip(*records, strict=True))

    pixels = store.class_pixels("train").tolist()
    return {name: split(name) for name in ("train", "valid", "test")} | {"pixels": pixels}


def batches(data: dict[str, Any]) -> tuple[Any, Any]:
    """Return a plain tf.data pipeline with flips, and the validation batches."""
    import tensorflow as tf

    def flipped(image: Any, mask: Any) -> Any:
        both = tf.concat([image, mask[..., None]], -1)
        both = tf.image.random_flip_left_right(tf.image.random_flip_up_down(both))
        return both[..., :1], both[..., 1]

    def ready(name: str) -> Any:
        return tf.data.Dataset.from_tensor_slices(data[name])

    shuffled = ready("train").shuffle(len(data["train"][0])).repeat()
    return shuffled.map(flipped).batch(BATCH).prefetch(2), ready("valid").batch(2 * BATCH)


def fit(data: dict[str, Any], point: dict[str, Any], epochs: int) -> float:
    """Train a point with Keras ``fit`` and a tf.data pipeline of its own."""
    import keras

    from model.config import ModelConfig
    from model.flexunet import build_flexunet

    train, valid = batches(data)
    config = ModelConfig(
        num_layers=point["num_layers"], base_filters=point["base_filters"],
        base_kernel=point["base_kernel"], dropout_rate=0.0,
    )  # fmt: skip
    model = build_flexunet(config, (SIZE, SIZE, 1), len(data["pixels"]))
    model.compile(
        keras.optimizers.AdamW(point["rate"]), keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )  # fmt: skip
    history = model.fit(
        train, steps_per_epoch=STEPS, epochs=epochs, verbose=0,
        validation_data=valid,
    )  # fmt: skip
    return float(history.history["val_accuracy"][-1])


def ray_tune(folder: Path, trials: int, epochs: int) -> None:
    """Run Ray Tune with OptunaSearch over the points."""
    import ray
    from ray import tune
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.optuna import OptunaSearch

    os.environ["PYTHONPATH"] = str(ROOT)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    data = ray.put(arrays(folder))

    def trainable(config: dict[str, Any]) -> None:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(2)
        tune.report({"score": fit(ray.get(data), config, epochs)})

    points = configs(trials)
    space = {
        "num_layers": tune.randint(3, 6), "base_filters": tune.choice([8, 12]),
        "base_kernel": tune.choice([3, 5]), "rate": tune.choice([1e-3, 3e-3]),
    }  # fmt: skip
    search = OptunaSearch(metric="score", mode="max", points_to_evaluate=points)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(
            search_alg=ConcurrencyLimiter(search, max_concurrent=2), num_samples=trials
        ),
        run_config=tune.RunConfig(storage_path=str(folder / "ray"), verbose=0),
    )
    if tuner.fit().num_errors:
        raise RuntimeError("trials of plain Ray Tune failed")
    ray.shutdown()


def keras_tuner(folder: Path, trials: int, epochs: int) -> None:
    """Run KerasTuner over the points."""
    import keras_tuner

    data, points = arrays(folder), configs(trials)

    class Tuner(keras_tuner.GridSearch):
        def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> float:
            return fit(data, points[trial.hyperparameters.get("point")], epochs)

    hyperparameters = keras_tuner.HyperParameters()
    hyperparameters.Choice("point", list(range(trials)))
    tuner = Tuner(
        hyperparameters=hyperparameters, objective=keras_tuner.Objective("score", "max"),
        max_trials=trials, directory=str(folder / "kt"), overwrite=True,
    )  # fmt: skip
    tuner.search(verbose=0)


def busy_share(folder: Path) -> float:
    """Return the share of our workers' time that was steps and validation, once both trained."""
    from results.records.study import load_study

    worked, ends = 0.0, []
    for trial in load_study(folder / "ours").trials:
        lines = (trial.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        for line in map(json.loads, lines):
            ends.append((datetime.fromisoformat(line["time"]).timestamp(), line["seconds"]))
    ends.sort(key=lambda end: end[0])
    first = ends[1][0]
    worked = sum(s["train"] + s["validate"] for end, s in ends[2:])
    return worked / (2 * (ends[-1][0] - first))


def measure(way: str, trials: int, epochs: int) -> tuple[float, float | None]:
    """Return seconds of a whole run, and of ours the busy share."""
    with tempfile.TemporaryDirectory() as name:
        from data_pipeline.datasets.synthetic import write_synthetic

        write_synthetic(Path(name) / "tiles", seed=0, tiles=120)
        arrays(Path(name))  # prepared once, for all ways
        command = [sys.executable, __file__, "--way", way, "--folder", name]
        command += ["--trials", str(trials), "--epochs", str(epochs)]
        started = time.perf_counter()
        subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
        seconds = time.perf_counter() - started
        return seconds, busy_share(Path(name)) if way == "ours" else None


def main() -> None:
    """Measure in turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.way:
        run = {"ours": ours, "ray": ray_tune, "kerastuner": keras_tuner}[options.way]
        run(options.folder, options.trials, options.epochs)
        return
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    shares = []
    for _ in range(options.rounds):
        for way in WAYS:
            took, share = measure(way, options.trials, options.epochs)
            seconds[way].append(took)
            shares += [share] if share is not None else []
            print(f"{way}: {took:.1f} s {share or ''}", flush=True)
    print(text := table(seconds, shares, options))
    if options.out:
        options.out.write_text(text, encoding="utf-8")


def table(seconds: dict[str, list[float]], shares: list[float], options: Any) -> str:
    """Return the medians as markdown."""
    medians = {way: statistics.median(values) for way, values in seconds.items()}
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, "
        f"{options.trials} trials of {options.epochs} epochs, {options.rounds} rounds in turns",
        "",
        "| | seconds | trials an hour | against plain Ray Tune |",
        "|---|---:|---:|---:|",
    ]
    for way, median in medians.items():
        rate, ratio = 3600 * options.trials / median, medians["ray"] / median
        lines.append(f"| {way} | {median:.0f} | {rate:.0f} | {ratio:.2f}x |")
    lines += ["", f"Steps and validation in our workers' time: {statistics.median(shares):.0%}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
