"""Our optimizer against Keras' own, update by update."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from model import optimizer as optimizer_module
from model.config import TrainConfig
from model.optimizer import Optimizer

pytestmark = pytest.mark.processor

SHAPES = ((3, 3, 2, 4), (4,), (7,))
RATE = 0.01


def weights() -> list[keras.Variable]:
    random = np.random.default_rng(0)
    return [keras.Variable(random.normal(size=shape).astype(np.float32)) for shape in SHAPES]


def gradients(step: int, scale: float = 1.0) -> list[tf.Tensor]:
    random = np.random.default_rng(step)
    size = 10.0 ** (step % 3 - 1)  # from below any clipping to above it
    return [tf.constant(scale * size * random.normal(size=s), tf.float32) for s in SHAPES]


def ours(config: TrainConfig) -> tuple[list[keras.Variable], Optimizer, Any]:
    variables = weights()
    optimizer = Optimizer(config, variables)

    @tf.function(autograph=False)
    def apply(*values: tf.Tensor) -> None:
        optimizer.apply(values, tf.constant(RATE))

    return variables, optimizer, apply


def kerass(config: TrainConfig) -> tuple[list[keras.Variable], Any]:
    clip = {"clipvalue": config.clip_value, "global_clipnorm": config.clip_norm}
    variables = weights()
    if config.optimizer == "adamw":
        inner = keras.optimizers.AdamW(RATE, weight_decay=config.weight_decay, **clip)
    else:
        inner = keras.optimizers.Adam(RATE, **clip)
    scaled = config.precision == "float16"
    optimizer = (
        keras.optimizers.LossScaleOptimizer(inner, dynamic_growth_steps=3) if scaled else inner
    )
    optimizer.build(variables)
    return variables, optimizer


def assert_close(found: list[keras.Variable], expected: list[keras.Variable]) -> None:
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x.value, y.value, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize(
    "clip",
    [{"clip_norm": None}, {"clip_norm": 1.0}, {"clip_norm": None, "clip_value": 0.5}],
    ids=str,
)
def test_updates_are_those_of_keras(name: str, clip: dict[str, Any]) -> None:
    config = TrainConfig(optimizer=name, weight_decay=0.1, **clip)
    found, optimizer, apply = ours(config)
    expected, reference = kerass(config)

    for step in range(6):
        apply(*gradients(step))
        reference.apply(gradients(step), expected)
        assert_close(found, expected)

    assert int(optimizer.iterations) == 6
    assert not np.allclose(found[0].value, weights()[0].value, atol=0.01)


def test_weight_decay_belongs_to_adamw_alone() -> None:
    def moved(name: str) -> np.ndarray:
        variables, _, apply = ours(TrainConfig(optimizer=name, weight_decay=0.5, clip_norm=None))
        apply(*[tf.zeros(shape) for shape in SHAPES])
        return variables[0].numpy() - weights()[0].numpy()

    assert not moved("adam").any()
    np.testing.assert_allclose(
        moved("adamw"), -RATE * 0.5 * weights()[0].numpy(), rtol=1e-3, atol=1e-6
    )


@pytest.mark.parametrize(
    "clip", [{"clip_norm": 1.0}, {"clip_norm": None, "clip_value": 0.5}], ids=str
)
def test_loss_scaling_is_that_of_keras(
    clip: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimizer_module, "_GROWTH_STEPS", 3)
    config = TrainConfig(precision="float16", **clip)
    found, optimizer, apply = ours(config)
    expected, reference = kerass(config)
    scales = []

    for step in range(9):
        bad = np.nan if step in (1, 7) else 1.0
        assert float(optimizer.loss_scale) == float(reference.dynamic_scale)
        scales.append(float(optimizer.loss_scale))
        scaled = [bad * g for g in gradients(step, scale=scales[-1])]
        apply(*scaled)
        reference.apply(scaled, expected)
        assert_close(found, expected)

    start = 2.0**15
    assert scales == [start] * 2 + [start / 2] * 3 + [start] * 3 + [start / 2]
    assert int(optimizer.iterations) == 7


def test_infinite_gradients_leave_everything_but_the_scale_as_it_was() -> None:
    found, optimizer, apply = ours(TrainConfig(precision="float16"))

    apply(*[tf.fill(shape, np.float32(np.inf)) for shape in SHAPES])

    assert_close(found, weights())
    assert all(np.isfinite(variable).all() for variable in optimizer.variables)
    assert int(optimizer.iterations) == 0
    assert float(optimizer.loss_scale) == 2.0**14


def test_without_float16_nothing_is_scaled() -> None:
    _, optimizer, _ = ours(TrainConfig(precision="bfloat16"))

    assert float(optimizer.loss_scale) == 1.0
