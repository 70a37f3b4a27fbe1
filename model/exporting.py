"""Writes a trained model in the formats that other programs serve it from.

Each takes uint8 images, 0-255, and gives float32 probabilities of all classes, the background
first, also for a model with one sigmoid channel. Weights are float32 whatever precision the model
was trained in. ``runtimes.compare`` tells what each is worth.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from foundation.files import whole_file, whole_folder
from model.inference import ModelError
from model.legacy_weights import write_legacy_h5
from model.losses import two_channels
from model.resampling import Resize, from_model, to_model
from model.runtimes import NETWORK, optional_package

__all__ = ["write_format", "write_legacy_h5", "write_onnx", "write_saved_model", "write_tflite"]

# Of 2022: every runtime of today reads it, and nothing later is needed.
_OPSET = 17
# Protocol buffers and FlatBuffers address no more; some room for the graph.
_LARGEST = 2**31 - 2**24
_LOGGERS = ("tensorflow", "tf2onnx", "absl")


def write_format(model: keras.Model, name: str, files: Sequence[Path], *, resize: Resize) -> None:
    """Write a model in one format.

    Args:
        model: From images [B, H, W, C], 0-255, to probabilities [B, H, W, classes].
        name: savedmodel, onnx, tflite or h5.
        files: Where to: one file or folder, of tflite that of float32 and that of int8 weights.
        resize: How the model's training images were brought to its size.

    Raises:
        ModelError: where the model cannot have this format, or its packages are not installed.
        OSError: where a file cannot be written.
        ValueError: for another name.
    """
    match name:
        case "savedmodel":
            write_saved_model(model, files[0], resize=resize)
        case "onnx":
            write_onnx(model, files[0])
        case "tflite":
            write_tflite(model, files[0], quantize=False)
            write_tflite(model, files[1], quantize=True)
        case "h5":
            write_legacy_h5(model, files[0])
        case _:
            raise ValueError(f"expected savedmodel, onnx, tflite or h5, received {name!r}")


def write_saved_model(model: keras.Model, folder: Path, *, resize: Resize) -> None:
    """Write a SavedModel that takes images of any size, and gives masks of that size.

    Its signature ``serving_default`` maps ``images``, uint8 [B, h, w, C], to ``classes``, uint8
    [B, h, w], and ``probabilities``, float32 [B, h, w, classes]. Resizing is inside, as
    ``data_pipeline.datasets.resize`` does it with OpenCV. Its signature ``network`` is the model
    alone: ``images``, uint8 [B, H, W, C] of the model's own size, to ``probabilities``.

    Args:
        model: From images [B, H, W, C], 0-255, to probabilities [B, H, W, classes].
        folder: An existing SavedModel there is replaced.
        resize: How the model's training images were brought to its size.

    Raises:
        ModelError: for a folder that holds something else.
        OSError: where the folder cannot be written.
    """
    holds_other = folder.is_dir() and any(folder.iterdir()) and not _is_saved_model(folder)
    if holds_other or folder.is_file():
        raise ModelError(f"{folder}: expected an empty folder or a SavedModel to replace")
    served = _serve(_in_float32(model), resize)
    with whole_folder(folder) as temporary, _quiet():
        signatures = {"serving_default": served.any_size, NETWORK: served.network}
        _save(served, temporary, signatures, folder)


def write_onnx(model: keras.Model, path: Path) -> None:
    """Write an ONNX file: ``images``, uint8 [B, H, W, C], to ``probabilities``; B is free.

    Args:
        model: From images [B, H, W, C], 0-255, to probabilities [B, H, W, classes].
        path: The file; an existing one is replaced.

    Raises:
        ModelError: where the packages for it are not installed, or the model is beyond 2 GB or
            has a layer that ONNX cannot express.
        OSError: where the file cannot be written.
    """
    _expect_fits(model, path)
    served = _serve(_without_erfc(model))
    with _quiet(), _named(path, "ONNX"):
        onnx = optional_package("onnx")
        tf2onnx = optional_package("tf2onnx")
        converted, _ = tf2onnx.convert.from_function(
            served.network, served.network.input_signature, opset=_OPSET
        )
        content = converted.SerializeToString()
        # tf2onnx leaves an operation that it does not know as it is, and raises nothing.
        onnx.checker.check_model(content)
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def write_tflite(model: keras.Model, path: Path, *, quantize: bool) -> None:
    """Write a TFLite file: ``images``, uint8 [B, H, W, C], to ``probabilities``.

    B is 1, and the interpreter resizes it.

    Args:
        model: From images [B, H, W, C], 0-255, to probabilities [B, H, W, classes].
        path: The file; an existing one is replaced.
        quantize: Store the weights of larger layers as int8, a scale for each filter, and let the
            interpreter round the activations to int8 as it goes (dynamic-range quantization): a
            quarter of the bytes.

    Raises:
        ModelError: where the model is beyond 2 GB or has a layer that TFLite cannot express.
        OSError: where the file cannot be written.
    """
    _expect_fits(model, path)
    served = _serve(_in_float32(model))
    # By way of a SavedModel: given the function itself, the converter of TensorFlow 2.21 loses the
    # weights of a Keras 3 model, and the file answers with NaN.
    with tempfile.TemporaryDirectory() as folder, _quiet(), _named(path, "TFLite"):
        _save(served, Path(folder), {NETWORK: served.network}, Path(folder))
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[NETWORK])
        if quantize:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        content = converter.convert()
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def _save(served: tf.Module, folder: Path, signatures: Mapping[str, Any], named: Path) -> None:
    """Write a SavedModel.

    Raises:
        OSError: with the name ``named`` where the disk is full, for which TensorFlow has an error
            of its own.
    """
    try:
        tf.saved_model.save(served, folder, signatures)
    except tf.errors.ResourceExhaustedError as error:
        reason = os.strerror(errno.ENOSPC)
        if reason not in str(error):
            raise
        raise OSError(errno.ENOSPC, reason, str(named)) from error


def _serve(model: keras.Model, resize: Resize = "stretch") -> tf.Module:
    """Make the functions by which a model is served, ``network`` and ``any_size``.

    The Keras model itself stays out of the module: a SavedModel gets its variables alone.
    """
    height, width, channels = model.input_shape[1:]

    def ask(images: tf.Tensor) -> tf.Tensor:
        return two_channels(model(images, training=False))

    def network(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": ask(tf.cast(images, tf.float32))}

    def any_size(images: tf.Tensor) -> dict[str, tf.Tensor]:
        shape = tf.shape(images)
        probabilities = ask(to_model(images, (height, width), resize))
        probabilities = from_model(probabilities, (shape[1], shape[2]), resize)
        classes = tf.cast(tf.argmax(probabilities, axis=-1), tf.uint8)
        return {"classes": classes, "probabilities": probabilities}

    own = tf.TensorSpec([None, height, width, channels], tf.uint8, "images")
    free = tf.TensorSpec([None, None, None, channels], tf.uint8, "images")
    served = tf.Module(name="flexunet")
    served.weights = [variable.value for variable in model.variables]
    served.network = tf.function(network, [own], autograph=False)
    served.any_size = tf.function(any_size, [free], autograph=False)
    return served


def _in_float32(model: keras.Model) -> keras.Model:
    """Give the model itself or, where any layer computes in another type, a copy in float32."""
    if all(layer.compute_dtype == "float32" for layer in model.layers):
        return model
    return _copied(model, {})


def _without_erfc(model: keras.Model) -> keras.Model:
    """Write GELU by erf, for converters that do not know the erfc of Keras."""
    return _copied(model, {"gelu": _gelu})


def _gelu(x: tf.Tensor) -> tf.Tensor:
    """x * Phi(x), of the normal distribution: Hendrycks and Gimpel (2016), section 2."""
    return 0.5 * x * (1.0 + tf.math.erf(x / math.sqrt(2.0)))


def _copied(model: keras.Model, activations: Mapping[str, Any]) -> keras.Model:
    """Copy a model in float32, with activations replaced by name."""

    def copied(layer: keras.Layer) -> keras.Layer:
        config = {**layer.get_config(), "dtype": "float32"}
        if config.get("activation") in activations:
            config["activation"] = activations[config["activation"]]
        return type(layer).from_config(config)

    copy = keras.models.clone_model(model, clone_function=copied)
    copy.set_weights(model.get_weights())
    return copy


def _is_saved_model(folder: Path) -> bool:
    return (folder / "saved_model.pb").is_file()


def _expect_fits(model: keras.Model, path: Path) -> None:
    size = 4 * model.count_params()
    if size > _LARGEST:
        raise ModelError(
            f"{path}: expected a model below 2 GB, the limit of the format, received weights of "
            f"{size / 1e9:.1f} GB; a SavedModel has no such limit"
        )


@contextmanager
def _named(path: Path, format_name: str) -> Iterator[None]:
    """Name the file in whatever a converter raises: it has no errors of its own."""
    try:
        yield
    except (ModelError, OSError):
        raise
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), "")
        raise ModelError(
            f"{path}: expected a model that {format_name} can express, "
            f"{type(error).__name__}: {first}"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the converters, which report every step, and undo what they set."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    variable = os.environ.get("TF_CPP_MIN_LOG_LEVEL")  # tf2onnx sets it on import
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if variable is None:
            os.environ.pop("TF_CPP_MIN_LOG_LEVEL", None)
        else:
            os.environ["TF_CPP_MIN_LOG_LEVEL"] = variable
