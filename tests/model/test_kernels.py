from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from model import kernels
from model.config import ModelConfig
from model.flexunet import build_flexunet
from model.inference import Predictor
from model.processor import this_processor
from tests.model.precision import PRECISIONS

pytestmark = pytest.mark.processor

SIDE = 16


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all that is faster somewhere be used here."""
    monkeypatch.setattr(kernels, "_has_onednn", lambda: True)
    monkeypatch.setattr(kernels, "single_is_slow", lambda: True)


def twins(layers: list[Any], channels: int) -> list[keras.Model]:
    """Return two equal models of copies of the layers; the first computes by our kernels."""
    image = keras.Input((SIDE, SIDE, channels))
    x = image
    for layer in layers:
        x = layer(x)
    model = keras.Model(image, x)
    made = [keras.models.clone_model(model) for _ in range(2)]
    made[1].set_weights(made[0].get_weights())
    kernels.use_fast_kernels(made[0])
    return made


def random_images(batch: int, channels: int) -> tf.Tensor:
    values = np.random.default_rng(0).normal(size=(batch, SIDE, SIDE, channels)).clip(0)
    return tf.constant(values, tf.float32)


def trained(model: keras.Model, images: tf.Tensor) -> list[np.ndarray]:
    """Return the training outputs and the gradients of the images and of all weights."""
    weights = [weight.value for weight in model.trainable_variables]

    @tf.function(autograph=False)
    def step() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = model(images, training=True)
            factors = tf.random.stateless_normal(outputs.shape, (1, 2))
            value = tf.reduce_sum(factors * outputs)
        return [outputs, *tape.gradient(value, [images, *weights])]

    return [each.numpy() for each in step()]


def assert_equal(found: list[np.ndarray], expected: list[np.ndarray], relative: float) -> None:
    """Compare by the largest value of each array: a sum of many terms has no digits of its own.

    An array of less than 0.001 is one of differences that cancel each other.
    """
    for ours, wanted in zip(found, expected, strict=True):
        largest = max(1e-3, np.abs(wanted).max())
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=relative * largest)


# Channels and kernels of the spaces that are shipped: of the encoder's blocks, of the decoder's
# after the skip, of the first level.
@pytest.mark.parametrize("kernel", [3, 5, 7, 9, 11])
@pytest.mark.parametrize(("inputs", "filters"), [(1, 8), (12, 24), (48, 24), (64, 32)])
def test_a_single_image_is_convolved_as_by_tensorflow(
    fast: None, inputs: int, filters: int, kernel: int
) -> None:
    layer = keras.layers.Conv2D(filters, kernel, padding="same")
    ours, keras_own = twins([layer], inputs)
    images = random_images(1, inputs)

    assert_equal(trained(ours, images), trained(keras_own, images), 1e-5)


@pytest.mark.skipif(this_processor().kernels == "eigen", reason="its gradients have no dilation")
def test_a_dilated_convolution_too(fast: None) -> None:
    layer = keras.layers.Conv2D(8, 5, padding="same", dilation_rate=2)
    ours, keras_own = twins([layer], 4)
    images = random_images(1, 4)

    assert_equal(trained(ours, images), trained(keras_own, images), 1e-5)


@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_half_precision_is_left_to_tensorflow(fast: None, precision: str) -> None:
    layer = keras.layers.Conv2D(4, 5, padding="same", dilation_rate=2, dtype=precision)
    ours, keras_own = twins([layer], 2)
    images = tf.cast(random_images(1, 2), precision)

    np.testing.assert_array_equal(ours(images), keras_own(images))


@pytest.mark.parametrize("batch", [1, 3])
def test_batches_are_normalized_as_by_keras(fast: None, batch: int) -> None:
    ours, keras_own = twins([keras.layers.BatchNormalization(momentum=0.9)], 8)
    images = random_images(batch, 8)

    assert_equal(trained(ours, images), trained(keras_own, images), 1e-5)
    assert_equal(ours.get_weights(), keras_own.get_weights(), 1e-5)
    predictions = [model(images, training=False).numpy() for model in (ours, keras_own)]
    np.testing.assert_allclose(*predictions, atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [{}, {"separable": True}, {"normalization": "group"}, {"activation": "mish"}],
    ids=str,
)
@pytest.mark.parametrize("batch", [1, 2])
def test_a_whole_network_learns_the_same(fast: None, config: dict[str, Any], batch: int) -> None:
    # No ReLU: where it is cut off by rounding, gradients jump.
    fields = {"num_layers": 2, "base_filters": 4, "dropout_rate": 0.0, "activation": "elu"}
    model = build_flexunet(ModelConfig(**{**fields, **config}), (SIDE, SIDE, 1), 3, seed=1)
    ours, keras_own = (keras.models.clone_model(model) for _ in range(2))
    for each in (ours, keras_own):
        each.set_weights(model.get_weights())
    kernels.use_fast_kernels(ours)
    images = 255 * random_images(batch, 1)

    assert_equal(trained(ours, images), trained(keras_own, images), 1e-4)
    assert ours.to_json() == keras_own.to_json(), "what is saved is of built-in layers"


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_any_number_of_images_is_predicted_alike(fast: None, batch: int) -> None:
    model = build_flexunet(ModelConfig(num_layers=2, base_filters=4), (SIDE, SIDE, 1), 3)
    images = np.random.default_rng(0).integers(0, 256, (batch, SIDE, SIDE, 1), np.uint8)
    expected = model(images.astype(np.float32), training=False).numpy()

    found = Predictor(model).predict(images)

    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_model_that_trained_is_saved_and_loaded_in_safe_mode(fast: None, tmp_path: Path) -> None:
    model = twins([keras.layers.Conv2D(4, 3, padding="same"), keras.layers.BatchNormalization()], 1)
    images = random_images(1, 1)
    trained(model[0], images)

    model[0].save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)

    expected = model[0](images, training=False).numpy()
    np.testing.assert_allclose(loaded(images, training=False).numpy(), expected, atol=1e-6)


def test_with_tensorflows_own_kernels_layers_stay_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernels, "_has_onednn", lambda: False)
    model = build_flexunet(ModelConfig(num_layers=2, base_filters=4), (SIDE, SIDE, 1), 3)

    kernels.use_fast_kernels(model)

    assert not any({"call", "convolution_op"} & set(vars(layer)) for layer in model.layers)
