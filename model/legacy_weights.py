"""Writes weights for the reference's own trainer: the HDF5 layout of Keras 2.

That trainer builds its own model and calls ``load_weights("best_model.h5")`` under TensorFlow
2.15, which fills the layers in order. The layers bear the names that Keras gives them there, so
that loading by name works as well, in a process that has built no other model before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from foundation.files import whole_file
from model.inference import ModelError

_BLOCK = ("Conv2D", "Dropout", "Conv2D")
_NORMALIZED_BLOCK = ("Conv2D", "BatchNormalization", "Dropout", "Conv2D", "BatchNormalization")
_ACTIVATIONS = ("relu", "mish")
_NAMES = {
    "Conv2D": "conv2d",
    "Conv2DTranspose": "conv2d_transpose",
    "BatchNormalization": "batch_normalization",
}


def write_legacy_h5(model: keras.Model, path: Path) -> None:
    """Write the weights of a FlexUNet as the reference's trainer loads them.

    The reference's model takes images 0-255 and divides them by 255 itself
    (``input_normalize = True``); its ``predict`` stretches them to the model's size by linear
    interpolation.

    Args:
        model: Of any precision; the weights are float32.
        path: The file, ``best_model.h5`` by the reference's habit; an existing one is replaced.

    Raises:
        ModelError: for a model that the reference cannot build; all reasons in one message.
        OSError: where the file cannot be written.
    """
    import h5py  # type: ignore[import-untyped]  # comes with Keras

    if problems := _problems(model):
        raise ModelError(
            f"expected a model that the reference can build for {path}: {'; '.join(problems)}"
        )
    layers = dict(_named(model))
    with whole_file(path) as temporary, h5py.File(temporary, "w") as file:
        # What the file says to have been written by decides how Keras 2 reads it.
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2.15.0"
        file.attrs["layer_names"] = np.array([name.encode() for name in layers])
        for name, layer in layers.items():
            _write_layer(file.create_group(name), name, layer)


def _write_layer(group: Any, name: str, layer: keras.Layer) -> None:
    names = [f"{name}/{variable.name}:0" for variable in layer.weights]
    group.attrs["weight_names"] = np.array([each.encode() for each in names])
    for each, variable in zip(names, layer.weights, strict=True):
        group.create_dataset(each, data=np.asarray(variable, np.float32))


def _named(model: keras.Model) -> Iterator[tuple[str, keras.Layer]]:
    """Yield the layers with weights, in order, by the names that Keras gives unnamed ones."""
    count: Counter[str] = Counter()
    for layer in model.layers:
        if not layer.weights:
            continue
        name = _NAMES[type(layer).__name__]
        yield (f"{name}_{count[name]}" if count[name] else name), layer
        count[name] += 1


def _problems(model: keras.Model) -> list[str]:
    """Say all that keeps the reference from building this model."""
    kinds = [type(layer).__name__ for layer in model.layers]
    expected = _reference_layers(kinds)
    strange = sorted({_strange(kind) for kind in kinds if kind not in expected})
    problems = [f"it has no {what}" for what in strange]
    if not strange and kinds != expected:
        problems.append(f"expected the layers {', '.join(expected)}, received {', '.join(kinds)}")
    return problems + _activation_problems(model)


def _reference_layers(kinds: list[str]) -> list[str]:
    """List the reference's layers for a model of this depth, with batch normalization or not."""
    block = _NORMALIZED_BLOCK if "BatchNormalization" in kinds else _BLOCK
    poolings = kinds.count("MaxPooling2D")
    encoder = [*block, "MaxPooling2D"] * poolings
    decoder = ["Conv2DTranspose", "Concatenate", *block] * poolings
    return ["InputLayer", "Rescaling", *encoder, *block, *decoder, "Conv2D"]


def _strange(kind: str) -> str:
    """Say in the config's words what a layer comes from."""
    return {
        "GroupNormalization": "group or layer normalization",
        "SeparableConv2D": "separable convolutions",
        "LayerNormalization": "input_scaling standardize",
    }.get(kind, f"layer {kind}")


def _activation_problems(model: keras.Model) -> list[str]:
    kinds = (keras.layers.Conv2D, keras.layers.SeparableConv2D)
    *hidden, _ = [layer for layer in model.layers if isinstance(layer, kinds)]
    used = {layer.activation.__name__ for layer in hidden}
    if strange := sorted(used - set(_ACTIVATIONS)):
        return [f"expected activation in {list(_ACTIVATIONS)}, received {', '.join(strange)}"]
    if len(used) > 1:
        return [f"expected one activation, received {', '.join(sorted(used))}"]
    return []
