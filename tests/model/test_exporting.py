from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_pipeline.datasets.resize import resize_image, restore
from model import exporting
from model.config import Activation, ModelConfig, Normalization
from model.exporting import write_onnx, write_saved_model, write_tflite
from model.flexunet import build_flexunet
from model.inference import ModelError
from model.runtimes import compare, open_predictor
from tests.model.conftest import CLASSES, SHAPE, Formats, trained_a_little
from tests.model.lookup import lookup
from tests.model.precision import needs_bfloat16

pytestmark = pytest.mark.processor

SMALL = (16, 16, 3)


def small(classes: int = 3, precision: str = "float32", **values: Any) -> keras.Model:
    config = ModelConfig(**{"num_layers": 2, "base_filters": 4, **values})
    return trained_a_little(build_flexunet(config, SMALL, classes, precision=precision))


def noise(count: int = 2, shape: tuple[int, ...] = SMALL) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)


@pytest.mark.parametrize("shape", [SHAPE[:2], (40, 33), (9, 50)])
def test_a_saved_model_serves_images_of_any_size(formats: Formats, shape: tuple[int, int]) -> None:
    served = tf.saved_model.load(formats.files["savedmodel"]).signatures["serving_default"]
    images = noise(2, (*shape, 3))
    answer = {name: value.numpy() for name, value in served(images=tf.constant(images)).items()}

    resized = np.stack([resize_image(image, SHAPE[:2], "letterbox") for image in images])
    predicted = np.asarray(formats.model(resized.astype(np.float32), training=False))
    expected = np.stack([restore(each, shape, "letterbox") for each in predicted])
    assert sorted(answer) == ["classes", "probabilities"]
    assert answer["probabilities"].shape == (2, *shape, CLASSES)
    # A step of 1 of 255 in some pixels, where OpenCV rounds otherwise.
    np.testing.assert_allclose(answer["probabilities"], expected, atol=5e-3)
    assert answer["classes"].dtype == np.uint8
    np.testing.assert_array_equal(answer["classes"], answer["probabilities"].argmax(axis=-1))


def test_a_saved_model_is_replaced_but_nothing_else(tmp_path: Path) -> None:
    folder, other = tmp_path / "saved", tmp_path / "other"
    for classes in (3, 4):
        write_saved_model(lookup((8, 4, 1), classes), folder, resize="stretch")
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")

    assert open_predictor(folder).num_classes == 4
    with pytest.raises(ModelError, match="other: expected an empty folder or a SavedModel"):
        write_saved_model(lookup((8, 4, 1), 3), other, resize="stretch")
    assert [path.name for path in other.iterdir()] == ["thesis.tex"]
    assert {path.name for path in tmp_path.iterdir()} == {"saved", "other"}


def test_a_sigmoid_gives_both_classes(tmp_path: Path) -> None:
    model = small(classes=1)
    write_onnx(model, tmp_path / "a.onnx")

    runtime = open_predictor(tmp_path / "a.onnx")
    assert runtime.num_classes == 2
    expected = np.asarray(model(noise().astype(np.float32), training=False))
    np.testing.assert_allclose(runtime.predict(noise())[..., 1:], expected, atol=1e-5)


@needs_bfloat16
def test_a_model_in_bfloat16_is_exported_in_float32(tmp_path: Path) -> None:
    model = small(precision="bfloat16", activation="gelu")
    alike = small(precision="float32", activation="gelu")
    alike.set_weights(model.get_weights())
    write_onnx(model, tmp_path / "a.onnx")

    probabilities = open_predictor(tmp_path / "a.onnx").predict(noise())
    exact, rough = (
        np.asarray(each(noise().astype(np.float32), training=False)) for each in (alike, model)
    )
    np.testing.assert_allclose(probabilities, exact, atol=1e-5)
    assert np.abs(rough - exact).max() > 1e-4, "bfloat16 must differ for this to tell anything"
    assert model.layers[3].compute_dtype == "bfloat16", "the model itself stays as it was"


def test_what_onnx_cannot_express_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "_without_erfc", lambda model: model)
    (tmp_path / "a.onnx").write_text("old")

    with pytest.raises(ModelError, match=r"a.onnx: expected a model that ONNX can express.*Erfc"):
        write_onnx(small(activation="gelu"), tmp_path / "a.onnx")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("package", ["onnx", "tf2onnx"])
def test_a_converter_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(ModelError, match=rf"package {package}.*pip install 'flexunet-search\[exp"):
        write_onnx(lookup((8, 4, 1), 3), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_model_beyond_the_format_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "_LARGEST", 10)
    model = lookup((8, 4, 1), 3)

    with pytest.raises(ModelError, match=r"a.onnx: expected a model below 2 GB"):
        write_onnx(model, tmp_path / "a.onnx")
    with pytest.raises(ModelError, match=r"a.tflite: expected a model below 2 GB"):
        write_tflite(model, tmp_path / "a.tflite", quantize=True)


def test_an_export_is_quiet_and_leaves_the_process_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")
    loggers = [logging.getLogger(name) for name in ("tensorflow", "tf2onnx", "absl")]
    levels = [logger.level for logger in loggers]
    model = lookup((8, 4, 1), 3)
    write_onnx(model, tmp_path / "a.onnx")
    write_saved_model(model, tmp_path / "saved", resize="stretch")

    assert [logger.level for logger in loggers] == levels
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "1"
    assert capfd.readouterr() == ("", "")


@pytest.mark.soak
def test_int8_weights_take_a_quarter(tmp_path: Path) -> None:
    model = build_flexunet(ModelConfig(num_layers=2, base_filters=24), SMALL, 3)
    model.save(tmp_path / "a.keras")
    write_tflite(model, tmp_path / "a.tflite", quantize=False)
    write_tflite(model, tmp_path / "int8.tflite", quantize=True)

    files = {"float": tmp_path / "a.tflite", "int8": tmp_path / "int8.tflite"}
    whole, rounded = compare(tmp_path / "a.keras", files, noise())
    assert rounded.size < 0.4 * whole.size
    assert whole.largest_difference < 1e-5 < rounded.largest_difference < 0.1


@pytest.mark.soak
@pytest.mark.parametrize("activation", get_args(Activation))
def test_every_activation_is_expressed(tmp_path: Path, activation: str) -> None:
    check_formats(tmp_path, small(activation=activation), tflite=activation == "gelu")


@pytest.mark.soak
@pytest.mark.parametrize(
    "settings",
    [
        *({"normalization": kind} for kind in get_args(Normalization) if kind != "batch"),
        {"separable": True, "base_kernel": 5},
        {"input_scaling": "standardize", "dilation": 2},
    ],
    ids=str,
)
def test_every_layer_is_expressed(tmp_path: Path, settings: dict[str, Any]) -> None:
    check_formats(tmp_path, small(**settings), tflite="separable" in settings)


def check_formats(folder: Path, model: keras.Model, *, tflite: bool) -> None:
    model.save(folder / "a.keras")
    files = {"onnx": folder / "a.onnx"}
    write_onnx(model, files["onnx"])
    if tflite:  # slower
        files["tflite"] = folder / "a.tflite"
        write_tflite(model, files["tflite"], quantize=False)
    for check in compare(folder / "a.keras", files, noise()):
        assert check.largest_difference < 1e-4, check
