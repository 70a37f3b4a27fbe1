"""Trains on two logical CPU devices: a process of its own, since they are made before any use."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from model.config import ModelConfig, TrainConfig
from model.distribution import Replicas, make_strategy, scope_of
from model.flexunet import build_flexunet
from model.training import Trainer
from tests.model.blobs import CLASSES, blobs, class_pixels, dice, stream

SIDE, BATCH, STEPS = 16, 4, 4


def image_mean_loss(masks: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
    """A mean over images of pixel means: the same for parts of a batch as for the whole."""
    truth = tf.one_hot(tf.cast(masks, tf.int32), CLASSES)
    return -tf.reduce_mean(tf.reduce_sum(truth * tf.math.log(probabilities + 1e-7), axis=-1))


def plain_model(precision: str) -> keras.Model:
    shape = ModelConfig(num_layers=2, base_filters=4, dropout_rate=0.0, normalization="none")
    return build_flexunet(shape, (SIDE, SIDE, 1), CLASSES, seed=1, precision=precision)


def train_plain(devices: list[str] | None, train: dict[str, Any]) -> list[list[np.ndarray]]:
    """Train an epoch without what differs on several devices; return each copy's weights."""
    strategy = make_strategy(devices)
    config = TrainConfig(**{"epochs": 2, "batch_size": BATCH, **train})
    with scope_of(strategy):
        model = plain_model(config.precision)
    trainer = Trainer(
        model, config, class_pixels=[90, 5, 5], steps_per_epoch=STEPS, strategy=strategy
    )
    trainer._loss = image_mean_loss
    trainer.train_epoch(iter(stream(*blobs(16, SIDE), BATCH)))
    return copies(trainer, len(devices or [0]))


def copies(trainer: Trainer, count: int) -> list[list[np.ndarray]]:
    """Return the values of every replica's copy of all that a checkpoint holds."""
    values = [getattr(variable, "values", (variable,)) for variable in trainer._variables()]
    return [[value[i].numpy() for value in values] for i in range(count)]


# What one device and two are to agree on: to what part of the way that the weights went.
CASES: dict[str, tuple[dict[str, Any], float]] = {
    "float32": ({}, 1e-5),
    "accumulated": ({"accumulation_steps": 2, "optimizer": "adam"}, 1e-5),
    "averaged": ({"weight_averaging": 0.9}, 1e-5),
    # Rounded by part, which Adam's first steps amplify where a gradient is about 0.
    "bfloat16": ({"precision": "bfloat16"}, 0.02),
    "float16": ({"precision": "float16", "accumulation_steps": 2}, 0.02),
}


def main(folder: Path, names: list[str]) -> None:
    """Write what the tests look at."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)
    found: dict[str, Any] = {"odd": refusal(), "agreed": agreed()}
    for name in names:
        found[name] = train_full(folder) if name == "learnt" else compare(*CASES[name])
    (folder / "found.json").write_text(json.dumps(found), encoding="utf-8")


def compare(train: dict[str, Any], tolerance: float) -> dict[str, float]:
    """Say how far two devices' copies are apart, and how far off a single device's weights."""
    (single,) = train_plain(None, train)
    first, second = train_plain(["CPU:0", "CPU:1"], train)
    # Of the model's weights, which come first.
    fresh = [weight.numpy() for weight in plain_model("float32").variables]
    ends = (values[: len(fresh)] for values in (fresh, single, first))
    before, alone, shared = (np.concatenate([x.ravel() for x in values]) for values in ends)
    return {
        "apart": float(max(np.abs(x - y).max() for x, y in zip(first, second, strict=True))),
        "moved": float(np.linalg.norm(alone - before)),
        "off": float(np.linalg.norm(alone - shared) / np.linalg.norm(alone - before)),
        "tolerance": tolerance,
    }


def agreed() -> list[list[float]]:
    """Return what two devices agree on: the first one's values."""
    strategy = make_strategy(["CPU:0", "CPU:1"])
    assert strategy is not None
    with scope_of(strategy):
        model = build_flexunet(ModelConfig(num_layers=1, base_filters=2), (8, 8, 1), CLASSES)
    replicas = Replicas(model, strategy, 2)
    told = ([0.1, 2.0**53, 0.0], [np.nan, 1.0, -1.0])
    return [replicas.agree(np.array(values)).tolist() for values in told]


def refusal() -> str:
    """Return what is said of a batch that two devices cannot share."""
    strategy = make_strategy(["CPU:0", "CPU:1"])
    with scope_of(strategy):
        model = build_flexunet(ModelConfig(num_layers=1, base_filters=2), (8, 8, 1), CLASSES)
    config, pixels = TrainConfig(batch_size=3), [90, 5, 5]
    try:
        Trainer(model, config, class_pixels=pixels, steps_per_epoch=1, strategy=strategy)
    except ValueError as error:
        return str(error)
    return "taken"


def train_full(folder: Path) -> dict[str, Any]:
    """Train with all that differs on several devices; save, restore on one, evaluate."""
    strategy = make_strategy(["CPU:0", "CPU:1"])
    images, masks = blobs(48)
    config = TrainConfig(epochs=3, learning_rate=5e-3, batch_size=8)
    shape = ModelConfig(num_layers=3, base_filters=8)
    with scope_of(strategy):
        model = build_flexunet(shape, (32, 32, 1), CLASSES)
    options = {"class_pixels": class_pixels(masks), "steps_per_epoch": 25}
    trainer = Trainer(model, config, strategy=strategy, **options)
    data = iter(stream(images, masks, 8))
    losses = [trainer.train_epoch(data).loss for _ in range(3)]
    trainer.save(folder / "last.npz", {})
    model.save(folder / "model.keras")
    alone = Trainer(build_flexunet(shape, (32, 32, 1), CLASSES), config, **options)
    alone.restore(folder / "last.npz")
    trainer.restore(folder / "last.npz")
    validation = [blobs(16, seed=1)]
    here, there = trainer.evaluate(validation), alone.evaluate(validation)
    first, second = copies(trainer, 2)
    return {
        "dice": dice(here.statistics.counts).tolist(),
        "losses": losses,
        "validation": [here.loss, there.loss],
        "same": all(np.array_equal(x, y) for x, y in zip(first, second, strict=True)),
        "masks differ": masks_differ(trainer),
        "seeds": [v.numpy().tolist() for v in model.variables if "seed" in v.path],
    }


def masks_differ(trainer: Trainer) -> bool:
    """Say whether two replicas with the same images drop different features."""
    images = tf.zeros([2, 32, 32, 1], tf.float32)

    @tf.function(autograph=False)
    def outputs() -> tuple[tf.Tensor, ...]:
        def step() -> tf.Tensor:
            with tf.GradientTape() as tape:
                return trainer._devices.forward(trainer._devices.watch(tape), images)[0]

        strategy = make_strategy(["CPU:0", "CPU:1"])
        assert strategy is not None
        return strategy.experimental_local_results(strategy.run(step))

    first, second = outputs()
    return bool(np.abs(first.numpy() - second.numpy()).max() > 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
