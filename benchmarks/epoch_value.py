"""Which number of a training's epochs to choose a config by, and what averaged weights bring.

    python benchmarks/epoch_value.py --configs 12 --seeds 3
    python benchmarks/epoch_value.py --data FOLDER --size 96 --configs 12 --seeds 3

Trains random configs, each with several seeds, without pruning, and scores every epoch on the
validation and on the test split: the weights as they are, and averages of them (which change
nothing of the training, so that one training tells of all). Then, for each way of making one number
of the validation scores of a training:

- rank: Spearman's rank correlation, over the configs, of one seed's number with the mean test
  score of the other seeds' models;
- chosen: the mean test score of the other seeds' models of the config that one seed's numbers
  chose;
- optimism: by how much the chosen number is above that;
- model: the mean test score of the models that are kept, over all trainings.

The model that is kept is that of the epoch with the best validation score; of "last" and "median",
the last one. Scores are mean foreground Dice, counted over a split. Means over the seeds.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import tensorflow as tf

from data_pipeline.stores.prepare import prepare
from data_pipeline.stores.store import Store
from data_pipeline.streams.pipeline import eval_dataset, train_dataset
from model.averaging import WeightAverage
from model.flexunet import build_flexunet
from model.training import NonFiniteLoss, Trainer
from results.analysis import scores
from search.config.loading import config_from_tree
from search.config.schema import StudyConfig
from search.config.trial import TrialConfig
from search.config.yaml_source import parse_override, set_dotted

DECAYS = (0.9, 0.98, 0.995)
SPACE = {
    "model": {
        "num_layers": {"int": [3, 5]},
        "base_filters": {"choice": [8, 12]},
        "base_kernel": {"choice": [3, 5]},
        "dropout_rate": {"float": [0.0, 0.1]},
        "normalization": {"choice": ["batch", "group"]},
    },
    "train": {
        "batch_size": 4,
        "learning_rate": {"float": [3e-4, 2e-2], "log": True},
        "loss": {"choice": ["cross_entropy_dice", "cross_entropy", "focal_dice"]},
        "class_weighting": {"choice": ["inverse_sqrt_frequency", "none"]},
    },
}


@dataclass
class Training:
    """Scores of one training: by kind of weights, "raw" or a decay, a series over the epochs."""

    config: int
    seed: int
    valid: dict[str, list[float]]
    test: dict[str, list[float]]


def main() -> None:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="synthetic", help="a data set's folder")
    parser.add_argument("--size", type=int, default=48, help="of images, in pixels")
    parser.add_argument("--configs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--steps", type=int, default=60, help="an epoch")
    parser.add_argument("--records", type=Path, help="a JSON of the scores: read, else written")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=VALUE")
    options = parser.parse_args()
    if options.records is not None and options.records.exists():
        found = json.loads(options.records.read_text(encoding="utf-8"))
        trainings = [Training(**each) for each in found]
    else:
        trainings = record(options)
    print(f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {options}\n")
    table = table_of(trainings)
    print(f"| | {' | '.join(table.columns)} |\n|---|{'---:|' * len(table.columns)}")
    for name, row in table.iterrows():
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in row)} |")


def record(options: argparse.Namespace) -> list[Training]:
    """Train all configs with all seeds."""
    tree: dict[str, Any] = {
        "study": {"name": "epoch_value", "seed": 1},
        "data": {"source": options.data, "image_size": options.size},
        "augment": {"sampling": "balanced"},
        "search": {"pruner": "none", "grace_epochs": 1},
        **SPACE,
    }
    tree["train"] = {**SPACE["train"], "epochs": options.epochs, "steps_per_epoch": options.steps}
    for override in options.set:
        set_dotted(tree, *parse_override(override))
    config = config_from_tree(tree)
    store = prepare(config.data)
    began, trainings = time.perf_counter(), []
    for number, point in enumerate(points(config, options.configs)):
        for seed in range(options.seeds):
            trainings.append(train(config.at(point, 1000 * seed + number), store, number, seed))
            best = max(trainings[-1].valid["raw"])
            print(f"{time.perf_counter() - began:.0f} s, config {number}, seed {seed}: {best:.3f}")
        if options.records is not None:
            text = json.dumps([asdict(each) for each in trainings])
            options.records.write_text(text, encoding="utf-8")
    return trainings


def points(config: StudyConfig, count: int) -> Iterator[dict[str, Any]]:
    """Yield points of the space, drawn at random, always the same."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    space = {name: each.to_optuna() for name, each in config.space.items()}
    for _ in range(count):
        yield study.ask(space).params


def train(config: TrialConfig, store: Store, number: int, seed: int) -> Training:
    """Train a config; score each epoch's weights and averages."""
    tf.keras.backend.clear_session()
    classes = len(store.classes)
    model = build_flexunet(config.model, store.image_shape, classes, seed=config.seed)
    steps = config.train.steps_per_epoch or 1
    trainer = Trainer(
        model,
        config.train,
        class_pixels=store.class_pixels("train").tolist(),
        steps_per_epoch=steps,
    )
    averages = {f"{decay:g}": WeightAverage(decay, model.variables) for decay in DECAYS}

    @tf.function(autograph=False)
    def average(done: tf.Tensor) -> None:
        for each in averages.values():
            each.update(done)

    def watched(batches: Iterator[Any]) -> Iterator[Any]:
        """Pass batches on; average the weights after each step."""
        for batch in batches:
            yield batch
            average(trainer._optimizer.iterations)

    splits = {name: eval_dataset(store, name, 8).cache() for name in ("valid", "test")}
    kinds = ("raw", *averages)
    valid: dict[str, list[float]] = {kind: [] for kind in kinds}
    test: dict[str, list[float]] = {kind: [] for kind in kinds}
    batches = iter(train_dataset(store, config.augment, config.train.batch_size, seed=config.seed))
    for _ in range(config.train.epochs):
        try:
            # One batch more is never asked for, so the last step's average is made here.
            trainer.train_epoch(watched(batches))
            average(trainer._optimizer.iterations)
        except NonFiniteLoss:
            break
        trainer.end_epoch(0.0)
        for kind in kinds:
            if kind == "raw":
                found = [score(trainer, splits[name]) for name in ("valid", "test")]
            else:
                with averages[kind].in_place():
                    found = [score(trainer, splits[name]) for name in ("valid", "test")]
            valid[kind].append(found[0])
            test[kind].append(found[1])
    for kind in kinds:  # a training that failed scores nothing
        missing = config.train.epochs - len(valid[kind])
        valid[kind] += [0.0] * missing
        test[kind] += [0.0] * missing
    return Training(number, seed, valid, test)


def score(trainer: Trainer, batches: Any) -> float:
    """Mean foreground Dice over a split; 0 where it is not defined."""
    value = scores.mean_foreground(scores.dice(trainer.evaluate(batches).statistics.counts))
    return 0.0 if math.isnan(value) else float(value)


def running(series: np.ndarray, width: int = 3) -> np.ndarray:
    """Means of each epoch and those before it, of at most so many."""
    return np.array([series[max(0, i - width + 1) : i + 1].mean() for i in range(len(series))])


def table_of(trainings: list[Training]) -> pd.DataFrame:
    """Compare the ways: see the head of this file."""
    rows = {}
    for kind in trainings[0].valid:
        name = "weights" if kind == "raw" else f"average, {kind}"
        valid = {(t.config, t.seed): np.array(t.valid[kind]) for t in trainings}
        test = {(t.config, t.seed): np.array(t.test[kind]) for t in trainings}
        ways = {
            "best epoch": (lambda v: v.max(), lambda v: int(v.argmax())),
            "best running mean of 3": (
                lambda v: running(v).max(),
                lambda v: int(running(v).argmax()),
            ),
            "median of the last 3": (lambda v: float(np.median(v[-3:])), lambda v: len(v) - 1),
            "last epoch": (lambda v: v[-1], lambda v: len(v) - 1),
        }
        for way, (value, epoch) in ways.items():
            values = {key: float(value(series)) for key, series in valid.items()}
            kept = {key: float(test[key][epoch(series)]) for key, series in valid.items()}
            rows[f"{name}: {way}"] = compared(values, kept)
    return pd.DataFrame(rows).T


def compared(values: dict[tuple[int, int], float], kept: dict[tuple[int, int], float]) -> Any:
    """Return what the numbers of each seed say of the other seeds' models."""
    configs = sorted({config for config, _ in values})
    seeds = sorted({seed for _, seed in values})
    ranks, chosen, optimism = [], [], []
    for seed in seeds:
        own = pd.Series([values[c, seed] for c in configs])
        truth = pd.Series([np.mean([kept[c, s] for s in seeds if s != seed]) for c in configs])
        ranks.append(own.rank().corr(truth.rank()))
        chosen.append(float(truth[own.idxmax()]))
        optimism.append(float(own.max()) - chosen[-1])
    return {
        "rank": np.mean(ranks),
        "chosen": np.mean(chosen),
        "optimism": np.mean(optimism),
        "model": np.mean(list(kept.values())),
    }


if __name__ == "__main__":
    main()
