from __future__ import annotations

import math
import sys
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf

from model.inference import ModelError
from model.runtimes import compare, open_predictor
from tests.model.conftest import CLASSES, SHAPE, Formats
from tests.model.lookup import write_lookup

pytestmark = pytest.mark.processor

NAMES = ("keras", "savedmodel", "onnx", "tflite")


def write_onnx_graph(
    path: Path, *, inputs: int = 1, dtype: int = onnx.TensorProto.FLOAT, channels: int = 1
) -> Path:
    """An ONNX model by other hands: the sigmoid of the images, of 4 x 4 pixels."""
    shape = ["batch", 4, 4, channels]
    names = [f"in_{i}" for i in range(inputs)]
    nodes = [
        onnx.helper.make_node("Cast", ["in_0"], ["cast"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Sigmoid", ["cast"], ["out"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "graph",
        [onnx.helper.make_tensor_value_info(name, dtype, shape) for name in names],
        [onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, shape)],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_every_format_answers_as_keras_does(formats: Formats, name: str) -> None:
    runtime = open_predictor(formats.files[name], threads=1)

    assert runtime.image_shape == SHAPE
    assert runtime.num_classes == CLASSES
    expected = np.asarray(formats.model(formats.images.astype(np.float32), training=False))
    assert expected.std() > 0.05, "the answers must differ to tell anything"
    for count in (3, 1, 2):  # a batch that shrinks and grows again
        probabilities = runtime.predict(formats.images[:count])
        assert probabilities.dtype == np.float32
        np.testing.assert_allclose(probabilities, expected[:count], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_format_names_wrong_images(formats: Formats, name: str) -> None:
    runtime = open_predictor(formats.files[name])

    for wrong in (
        np.zeros((1, 24, 16, 3), np.uint8),
        np.zeros((1, *SHAPE), np.float32),
        np.zeros(SHAPE, np.uint8),
    ):
        with pytest.raises(ValueError, match=r"expected images uint8 \[B, 16, 24, 3\], received"):
            runtime.predict(wrong)


@pytest.mark.parametrize("name", ["a.keras", "a.onnx", "a.tflite", "folder", "a"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match=rf"{name}: expected .*(no file|no such file)"):
        open_predictor(tmp_path / name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kept", [0, 0.5])
def test_a_torn_file_is_named(formats: Formats, tmp_path: Path, name: str, kept: float) -> None:
    whole = formats.files[name]
    torn = tmp_path / whole.name
    if whole.is_dir():
        torn.mkdir()
        whole, part = whole / "saved_model.pb", torn / "saved_model.pb"
    else:
        part = torn
    content = whole.read_bytes()
    part.write_bytes(content[: int(kept * len(content))])

    with pytest.raises(ModelError, match=rf"{torn.name}: expected a .*that .* (can load|wrote)"):
        open_predictor(torn)


def test_what_is_no_model_is_told_from_its_name(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("best_model.h5", "notes.txt", "plain"):
        (tmp_path / name).write_bytes(b"something")

    with pytest.raises(ModelError, match="received weights alone, without an architecture"):
        open_predictor(tmp_path / "best_model.h5")
    with pytest.raises(ModelError, match=r"expected a .keras, .onnx .*with the suffix '.txt'"):
        open_predictor(tmp_path / "notes.txt")
    with pytest.raises(ModelError, match="a file without a suffix"):
        open_predictor(tmp_path / "plain")
    with pytest.raises(ModelError, match=r"folder without saved_model.pb"):
        open_predictor(tmp_path / "folder")


def test_a_saved_model_must_be_ours_and_keep_to_itself(tmp_path: Path) -> None:
    module = tf.Module()
    spec = tf.TensorSpec([None, 4, 4, 1], tf.uint8, "images")
    module.plain = tf.function(lambda images: {"out": images}, [spec])
    tf.saved_model.save(module, tmp_path / "plain", {"other": module.plain})
    module.nosy = tf.function(lambda images: {"out": tf.io.read_file("/etc/passwd")}, [spec])
    tf.saved_model.save(module, tmp_path / "nosy", {"network": module.nosy})
    module.loud = tf.function(_print_to_a_file, [spec])
    tf.saved_model.save(module, tmp_path / "loud", {"network": module.loud})

    with pytest.raises(ModelError, match=r"signature 'network', received the signatures \['other'"):
        open_predictor(tmp_path / "plain")
    with pytest.raises(ModelError, match=r"from its images alone, .* the operations ReadFile"):
        open_predictor(tmp_path / "nosy")
    with pytest.raises(ModelError, match=r"from its images alone, .* the operations PrintV2"):
        open_predictor(tmp_path / "loud")


def _print_to_a_file(images: tf.Tensor) -> dict[str, tf.Tensor]:
    tf.raw_ops.PrintV2(input="grown", output_stream="file:///tmp/grown")
    return {"out": images}


def test_a_model_by_other_hands_is_asked_for_floats(tmp_path: Path) -> None:
    runtime = open_predictor(write_onnx_graph(tmp_path / "a.onnx"))

    assert (runtime.image_shape, runtime.num_classes) == ((4, 4, 1), 2)
    probabilities = runtime.predict(np.full((2, 4, 4, 1), 2, np.uint8))
    high = 1 / (1 + math.exp(-2))
    np.testing.assert_allclose(probabilities[1, 3, 3], [1 - high, high], rtol=1e-5)


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    two = write_onnx_graph(tmp_path / "two.onnx", inputs=2)
    whole = write_onnx_graph(tmp_path / "whole.onnx", dtype=onnx.TensorProto.INT64)

    with pytest.raises(ModelError, match="one input and one output, received 2 and 1"):
        open_predictor(two)
    with pytest.raises(ModelError, match=r"expected a model of uint8 or float32 .*received int64"):
        open_predictor(whole)


@pytest.mark.parametrize(
    ("package", "name"), [("onnxruntime", "onnx"), ("ai_edge_litert.interpreter", "tflite")]
)
def test_a_runtime_that_is_not_installed_is_named(
    formats: Formats, monkeypatch: pytest.MonkeyPatch, package: str, name: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(ModelError, match=r"pip install 'flexunet-search\[export\]'"):
        open_predictor(formats.files[name])


def test_formats_are_compared_with_keras(formats: Formats) -> None:
    others = {name: path for name, path in formats.files.items() if name != "keras"}
    checks = compare(formats.files["keras"], others, formats.images)

    assert [check.name for check in checks] == ["savedmodel", "onnx", "tflite"]
    for check in checks:
        assert check.path == others[check.name]
        assert 0 <= check.mean_difference <= check.largest_difference < 1e-5
        assert check.same_class > 0.99
        assert min(check.milliseconds, check.keras_milliseconds) > 0
        assert check.images == 3
    sizes = {check.name: check.size for check in checks}
    assert sizes["onnx"] == others["onnx"].stat().st_size
    assert sizes["savedmodel"] > (others["savedmodel"] / "saved_model.pb").stat().st_size


def test_a_difference_is_measured(tmp_path: Path) -> None:
    def constant(name: str, logits: list[float]) -> Path:
        image = keras.Input((4, 4, 1))
        head = keras.layers.Conv2D(2, 1, activation="softmax")
        model = keras.Model(image, head(image))
        head.set_weights([np.zeros((1, 1, 1, 2)), np.array(logits)])
        model.save(tmp_path / name)
        return tmp_path / name

    first = constant("first.keras", [math.log(3), 0.0])  # 0.75, 0.25
    second = constant("second.keras", [0.0, math.log(4)])  # 0.2, 0.8
    broken = constant("broken.keras", [math.nan, 0.0])
    images = np.zeros((2, 4, 4, 1), np.uint8)
    check, lost = compare(first, {"second": second, "broken": broken}, images)

    assert check.largest_difference == pytest.approx(0.55)
    assert check.mean_difference == pytest.approx(0.55)
    assert check.same_class == 0
    assert math.isnan(lost.largest_difference)
    assert math.isnan(lost.mean_difference)
    with pytest.raises(ModelError, match=r"broken\.keras: expected probabilities, received NaN"):
        open_predictor(broken).predict(images)


def test_what_cannot_be_compared_is_named(tmp_path: Path) -> None:
    ours = write_lookup(tmp_path / "ours.keras", (4, 4, 1), 3)
    theirs = write_onnx_graph(tmp_path / "theirs.onnx")

    with pytest.raises(ModelError, match=r"theirs.onnx: expected .* 3 classes, .* and 2"):
        compare(ours, {"onnx": theirs}, np.zeros((1, 4, 4, 1), np.uint8))
    with pytest.raises(ValueError, match="at least one image"):
        compare(ours, {}, np.zeros((0, 4, 4, 1), np.uint8))
