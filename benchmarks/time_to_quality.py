"""Wall time until a search has found a config that is good on held-out images.

    pip install keras-tuner psutil
    python benchmarks/time_to_quality.py peers [--minutes 6] [--seeds 5] [--target 0.6]
    python benchmarks/time_to_quality.py parts [--minutes 6] [--seeds 5] [--target 0.6]

``peers`` runs, in turns, on the same 96-pixel synthetic tiles, space, cores and seeds:

- ours: ``flexunet-search run`` with what the defaults are, two trials at a time, a core each;
- ray: Ray Tune with ``OptunaSearch`` and ``ASHAScheduler`` as its documentation shows them: a
  function trainable that reports after each epoch, Keras ``fit``, a tf.data pipeline of its own;
- kerastuner: ``Hyperband`` as its documentation shows it: one trial after the other, on both cores.

All train the same models with the same loss, steps and batches, and choose by the mean foreground
Dice of the validation split. ``parts`` runs ours with single parts of it added or taken away.

Of every search each model that was its best so far by validation is kept with the time at which it
was written; afterwards they are scored on the test split. The time is that from the start of the
process to the first such model that reaches the target there.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from search_throughput import BATCH, arrays, batches

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

ROOT = Path(__file__).resolve().parents[1]
SIZE, STEPS, EPOCHS, TILES = 96, 40, 27, 120
SPACE = {
    "num_layers": (3, 5),
    "base_filters": (8, 16),
    "base_kernel": (3, 5),
    "dropout_rate": (0.0, 0.1),
    "learning_rate": (3e-4, 3e-2),
}
PEERS = ("ours", "ray", "kerastuner")
# What each part changes of ours.
PARTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "without pruning": {"search.pruner": "none"},
    "natural sampling": {"augment.sampling": "natural"},
    "light augmentation": {"augment.preset": "light"},
    "flips alone": {
        "augment.preset": "none",
        "augment.horizontal_flip": True,
        "augment.vertical_flip": True,
    },
    "averaged weights": {"train.weight_averaging": 0.98},
    "pasted defects": {"augment.paste": 0.3},
    "windows of 64 px": {"augment.patch_size": 64},
    "windows that grow": {"augment.patch_size": 96, "augment.patch_stages": 3},
    "repeats of the best": {"search.repeats_of_best": 1},
    "priors": {"search.prior_share": 0.5},
}
MARKS = "marks.jsonl"


def tree_of(folder: Path, seed: int, part: str) -> dict[str, Any]:
    """Return our study."""
    tree: dict[str, Any] = {
        "study": {"name": "ours", "storage_path": str(folder), "seed": seed},
        "data": {"source": str(folder / "tiles"), "image_size": SIZE},
        "augment": {},
        "model": {"num_layers": {"int": list(SPACE["num_layers"])},
                  "base_filters": {"choice": list(SPACE["base_filters"])},
                  "base_kernel": {"choice": list(SPACE["base_kernel"])},
                  "dropout_rate": {"float": list(SPACE["dropout_rate"])}},
        "train": {"epochs": EPOCHS, "steps_per_epoch": STEPS, "batch_size": BATCH,
                  "learning_rate": {"float": list(SPACE["learning_rate"]), "log": True}},
        "search": {"num_trials": 1000, "score_at_end": False, "grace_epochs": 3,
                   "keep_models": "all"},
        "resources": {"cpus_per_trial": 1, "num_cpus": 2},
    }  # fmt: skip
    for name, value in PARTS[part].items():
        section, key = name.split(".")
        tree[section][key] = value
    if part == "priors":
        tree["search"]["baselines"] = [{"name": "recipe", "params": {
            "model.num_layers": 4, "model.base_filters": 8, "model.base_kernel": 3,
            "model.dropout_rate": 0.0, "train.learning_rate": 3e-3}}]  # fmt: skip
    return tree


def ours(folder: Path, seed: int, part: str) -> None:
    """Run our search."""
    import yaml

    path = folder / "ours.yaml"
    path.write_text(yaml.safe_dump(tree_of(folder, seed, part)), encoding="utf-8")
    os.execv(sys.executable, [sys.executable, "-m", "search", "run", str(path)])


def watch(folder: Path, stop: threading.Event) -> None:
    """Keep each model that a trial of ours writes: a later one takes its place."""
    seen: dict[Path, int] = {}
    while not stop.wait(0.2):
        for path in (folder / "ours" / "trials").glob("*/best.keras"):
            try:
                written = path.stat().st_mtime_ns
                if seen.get(path) == written:
                    continue
                copy = folder / f"{path.parent.name}-{written}.keras"
                shutil.copyfile(path, copy)
                lines = (path.parent / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
                value = max(json.loads(line)["objective"] or 0.0 for line in lines)
            except (OSError, ValueError):  # in the making; it is looked at again
                continue
            seen[path] = written
            mark(folder, copy, value, written / 1e9)


def mark(folder: Path, model: Path, value: float, when: float) -> None:
    """Note a model, its validation Dice and when it was written."""
    line = {"model": model.name, "value": value, "time": when}
    with open(folder / MARKS, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


# The peers


def compiled(data: dict[str, Any], point: dict[str, Any]) -> Any:
    """Return our model of a point, compiled with our loss and Keras' optimizer and schedule."""
    import keras
    import tensorflow as tf

    from model.config import ModelConfig, TrainConfig
    from model.flexunet import build_flexunet
    from model.losses import class_weights_from, make_loss
    from model.metrics import batch_statistics

    class ForegroundDice(keras.metrics.Metric):
        def __init__(self) -> None:
            super().__init__(name="dice")
            self.counts = self.add_variable((len(data["pixels"]), 3), "zeros", name="counts")

        def update_state(self, truth: Any, predicted: Any, sample_weight: Any = None) -> None:
            found = batch_statistics(tf.cast(truth, tf.uint8), predicted)["counts"]
            self.counts.assign_add(tf.cast(found, tf.float32))

        def result(self) -> Any:
            dice = (
                2
                * self.counts[:, 0]
                / tf.maximum(2 * self.counts[:, 0] + self.counts[:, 1] + self.counts[:, 2], 1.0)
            )
            return tf.reduce_mean(dice[1:])

    train = TrainConfig()
    loss = make_loss(train, list(class_weights_from(train, data["pixels"])))
    config = ModelConfig(**{name: point[name] for name in SPACE if name != "learning_rate"})
    model = build_flexunet(config, (SIZE, SIZE, 1), len(data["pixels"]))
    rate = keras.optimizers.schedules.CosineDecay(point["learning_rate"], EPOCHS * STEPS)
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-4, clipnorm=1.0),
        loss=lambda truth, predicted: loss(tf.cast(truth, tf.uint8), predicted),
        metrics=[ForegroundDice()],
    )
    return model


def marking(folder: Path, name: str) -> Any:
    """Return a callback that keeps a trial's best model after each epoch."""
    import keras

    class Marking(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.best = -1.0

        def on_train_begin(self, logs: Any = None) -> None:
            self.best = -1.0

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            value = float(logs["val_dice"])
            if value > self.best:
                self.best = value
                path = folder / f"{name}-{os.getpid()}-{time.time_ns()}.keras"
                self.model.save(path)
                mark(folder, path, value, time.time())

    return Marking()


def ray_tune(folder: Path, seed: int) -> None:
    """Run Ray Tune with OptunaSearch and ASHAScheduler."""
    import keras
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    os.environ["PYTHONPATH"] = str(ROOT)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    data = ray.put(arrays(folder, SIZE))

    def trainable(config: dict[str, Any]) -> None:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(2)
        found = ray.get(data)
        train, valid = batches(found)
        report = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: tune.report({"dice": float(logs["val_dice"])})
        )
        compiled(found, config).fit(
            train, steps_per_epoch=STEPS, epochs=EPOCHS, verbose=0, validation_data=valid,
            callbacks=[marking(folder, "ray"), report],
        )  # fmt: skip

    space = {
        "num_layers": tune.randint(SPACE["num_layers"][0], SPACE["num_layers"][1] + 1),
        "base_filters": tune.choice(SPACE["base_filters"]),
        "base_kernel": tune.choice(SPACE["base_kernel"]),
        "dropout_rate": tune.uniform(*SPACE["dropout_rate"]),
        "learning_rate": tune.loguniform(*SPACE["learning_rate"]),
    }
    tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="dice", mode="max", num_samples=1000, search_alg=OptunaSearch(seed=seed),
            scheduler=ASHAScheduler(max_t=EPOCHS, grace_period=3, reduction_factor=3),
        ),
        run_config=tune.RunConfig(storage_path=str(folder / "ray"), verbose=0),
    ).fit()  # fmt: skip


def keras_tuner(folder: Path, seed: int) -> None:
    """Run KerasTuner's Hyperband."""
    import keras_tuner

    data = arrays(folder, SIZE)
    train, valid = batches(data)

    def build(chosen: Any) -> Any:
        low, high = SPACE["num_layers"]
        return compiled(data, {
            "num_layers": chosen.Int("num_layers", low, high),
            "base_filters": chosen.Choice("base_filters", list(SPACE["base_filters"])),
            "base_kernel": chosen.Choice("base_kernel", list(SPACE["base_kernel"])),
            "dropout_rate": chosen.Float("dropout_rate", *SPACE["dropout_rate"]),
            "learning_rate": chosen.Float(
                "learning_rate", *SPACE["learning_rate"], sampling="log"
            ),
        })  # fmt: skip

    tuner = keras_tuner.Hyperband(
        build, objective=keras_tuner.Objective("val_dice", "max"), max_epochs=EPOCHS, factor=3,
        hyperband_iterations=100, seed=seed, directory=str(folder / "kt"), overwrite=True,
    )  # fmt: skip
    tuner.search(
        train, steps_per_epoch=STEPS, validation_data=valid, verbose=0,
        callbacks=[marking(folder, "kerastuner")],
    )  # fmt: skip


# Measuring


def measure(way: str, part: str, seed: int, minutes: float, target: float) -> dict[str, Any]:
    """Run one search for so long; return the time to the target and the best that was reached."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        from data_pipeline.datasets.synthetic import write_synthetic

        write_synthetic(folder / "tiles", seed=0, tiles=TILES)
        data = arrays(folder, SIZE)  # prepared once, for all ways
        command = [sys.executable, __file__, "--way", way, "--folder", name, "--part", part]
        command += ["--seed", str(seed)]
        stop = threading.Event()
        watcher = threading.Thread(target=watch, args=(folder, stop), daemon=True)
        began = time.time()
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        watcher.start()
        try:
            process.wait(timeout=60 * minutes)
            raise RuntimeError(f"{way} ended with {process.returncode} before its time")
        except subprocess.TimeoutExpired:
            end(process)
        stop.set()
        watcher.join()
        return reached(folder, data["test"], began, minutes, target)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a search and all that it started."""
    import psutil

    children = psutil.Process(process.pid).children(recursive=True)
    for child in children:
        child.suspend()
    os.killpg(process.pid, signal.SIGKILL)
    for child in children:
        if child.is_running():
            child.kill()
    process.wait()
    psutil.wait_procs(children, timeout=10)


def reached(folder: Path, test: Any, began: float, minutes: float, target: float) -> dict[str, Any]:
    """Score the models that were the best so far, and say when the target was reached."""
    lines = (folder / MARKS).read_text(encoding="utf-8").splitlines()
    marks = sorted(map(json.loads, lines), key=lambda each: each["time"])
    best, found = -math.inf, []
    for each in marks:
        seconds = each["time"] - began
        if each["value"] > best and seconds <= 60 * minutes:
            best = each["value"]
            found.append((seconds, best, test_dice(folder / each["model"], test)))
    when = next((seconds for seconds, _, dice in found if dice >= target), math.inf)
    return {"seconds": when, "valid": best, "test": found[-1][2] if found else math.nan}


def test_dice(path: Path, test: Any) -> float:
    """Return a model's mean foreground Dice on the test split."""
    import numpy as np

    from model.inference import Predictor, load_model
    from model.metrics import Statistics, batch_statistics
    from results.analysis import scores

    model, (images, masks) = Predictor(load_model(path)), test
    found = Statistics.empty(model.num_classes)
    for first in range(0, len(images), 16):
        part = slice(first, first + 16)
        found += Statistics.from_batch(batch_statistics(masks[part], model.predict(images[part])))
    return float(np.asarray(scores.mean_foreground(scores.dice(found.counts))))


def compare(options: argparse.Namespace) -> None:
    """Measure in turns and print a table."""
    if options.command == "peers":
        ways = [(way, "as it is") for way in PEERS]
    else:
        ways = [("ours", part) for part in PARTS if part in (options.only or PARTS)]
    found: dict[tuple[str, str], list[dict[str, Any]]] = {way: [] for way in ways}
    for seed in range(options.seeds):
        for way, part in ways:
            result = measure(way, part, seed, options.minutes, options.target)
            found[way, part].append(result)
            print(way, part, seed, {k: round(v, 3) for k, v in result.items()}, flush=True)
    text = table(found, options)
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


def table(found: dict[tuple[str, str], list[dict[str, Any]]], options: Any) -> str:
    """Return the medians as markdown; a search that never reached the target counts as infinite."""
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, target "
        f"{options.target:g} on the test split, {options.minutes:g} minutes, {options.seeds} seeds",
        "",
        "| | seconds to the target: least / median / most | reached | test Dice at the end |",
        "|---|---:|---:|---:|",
    ]
    for (way, part), results in found.items():
        seconds = sorted(each["seconds"] for each in results)
        middle = seconds[len(seconds) // 2]
        shown = " / ".join(
            "–" if math.isinf(s) else f"{s:.0f}" for s in (seconds[0], middle, seconds[-1])
        )
        reached_by = sum(not math.isinf(s) for s in seconds)
        dice = statistics.fmean(each["test"] for each in results)
        name = way if options.command == "peers" else part
        lines.append(f"| {name} | {shown} | {reached_by} of {len(seconds)} | {dice:.3f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Compare, or run one search in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", nargs="?", choices=("peers", "parts"), default="peers")
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--target", type=float, default=0.6)
    parser.add_argument("--only", nargs="*", help="parts; else all")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--way", choices=PEERS)
    parser.add_argument("--part", default="as it is")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.way == "ours":
        ours(options.folder, options.seed, options.part)
    elif options.way:
        {"ray": ray_tune, "kerastuner": keras_tuner}[options.way](options.folder, options.seed)
    else:
        compare(options)


if __name__ == "__main__":
    main()
