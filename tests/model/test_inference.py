from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from model.inference import ModelError, Predictor, load_model
from tests.model.lookup import write_lookup

pytestmark = pytest.mark.processor

SHAPE = (8, 4, 1)


def test_a_saved_model_predicts_batches_of_any_size(tmp_path: Path) -> None:
    model = load_model(write_lookup(tmp_path / "a.keras", SHAPE, 3), SHAPE, 3)
    predictor = Predictor(model)
    images = np.random.default_rng(0).integers(0, 3, (3, *SHAPE), np.uint8)
    for count in (3, 1):
        probabilities = predictor.predict(images[:count])
        assert probabilities.shape == (count, 8, 4, 3)
        assert probabilities.dtype == np.float32
        np.testing.assert_array_equal(probabilities.argmax(axis=-1), images[:count, ..., 0])
    assert predictor.num_classes == 3


def test_a_sigmoid_becomes_two_channels(tmp_path: Path) -> None:
    image = keras.Input(SHAPE)
    head = keras.layers.Conv2D(1, 1, activation="sigmoid", kernel_initializer="ones")
    keras.Model(image, head(image)).save(tmp_path / "a.keras")
    predictor = Predictor(load_model(tmp_path / "a.keras", SHAPE, 2))
    assert predictor.num_classes == 2
    probabilities = predictor.predict(np.full((1, *SHAPE), 2, np.uint8))
    high = 1 / (1 + np.exp(-2))
    np.testing.assert_allclose(probabilities[0, 0, 0], [1 - high, high], rtol=1e-5)


def test_what_is_no_such_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone.keras: expected a model, found no file"):
        load_model(tmp_path / "gone.keras")
    (tmp_path / "torn.keras").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ModelError, match=r"torn.keras: expected a model .* damaged"):
        load_model(tmp_path / "torn.keras")
    path = write_lookup(tmp_path / "a.keras", SHAPE, 3)
    with pytest.raises(ModelError, match=r"images \(4, 4, 1\), received \(8, 4, 1\)") as caught:
        load_model(path, (4, 4, 1), 5)
    assert "expected a model of 5 classes, received 3" in str(caught.value)


def test_a_model_brings_no_code(tmp_path: Path) -> None:
    image = keras.Input(SHAPE)
    keras.Model(image, keras.layers.Lambda(lambda x: x)(image)).save(tmp_path / "a.keras")
    with pytest.raises(ModelError, match=r"a.keras: expected a model that Keras can load"):
        load_model(tmp_path / "a.keras")
