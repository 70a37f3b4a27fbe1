from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from model.config import ModelConfig
from model.flexunet import build_flexunet
from model.inference import ModelError
from model.legacy_weights import write_legacy_h5
from tests.model.conftest import trained_a_little

pytestmark = pytest.mark.processor

PARITY = Path(__file__).parents[1] / "data" / "flexunet_parity"
SHAPE = (16, 16, 3)
KINDS = {
    "conv2d": "Conv2D",
    "conv2d_transpose": "Conv2DTranspose",
    "batch_normalization": "BatchNormalization",
}


def small(**values: Any) -> keras.Model:
    config = ModelConfig(**{"num_layers": 2, "base_filters": 4, **values})
    return build_flexunet(config, SHAPE, 3)


def read(path: Path) -> list[tuple[str, str, np.ndarray]]:
    """Layer, weight and value in the file's order, as Keras 2 goes through it."""
    with h5py.File(path) as file:
        return [
            (layer.decode(), name.decode(), file[layer.decode()][name.decode()][()])
            for layer in file.attrs["layer_names"]
            for name in file[layer.decode()].attrs["weight_names"]
        ]


@pytest.mark.parametrize("case", ["a_32px_3levels", "d_32px_batchnorm", "e_32px_binary"])
def test_weights_stand_as_in_the_reference(tmp_path: Path, case: str) -> None:
    facts = json.loads((PARITY / f"{case}.json").read_text())
    config = ModelConfig(
        num_layers=facts["num_layers"],
        base_filters=facts["base_filters"],
        base_kernel=facts["base_kernels"][0],
        dilation=facts["dilation"][0],
        dropout_rate=facts["dropout_rate"],
        normalization="batch" if facts["normalization"] else "none",
    )
    shape = (*[facts["image_size"]] * 2, facts["image_channels"])
    write_legacy_h5(build_flexunet(config, shape, facts["num_classes"]), tmp_path / "best_model.h5")

    received = [
        [KINDS[layer.rstrip("0123456789").rstrip("_")], name.split("/")[1], list(value.shape)]
        for layer, name, value in read(tmp_path / "best_model.h5")
    ]
    expected = [[kind, f"{name}:0", shape] for kind, name, shape in facts["weights"]]
    assert received == expected


def test_layers_are_named_as_keras_counts_them(tmp_path: Path) -> None:
    write_legacy_h5(small(), tmp_path / "best_model.h5")

    layers = list(dict.fromkeys(layer for layer, _, _ in read(tmp_path / "best_model.h5")))
    assert layers == [
        "conv2d",
        "batch_normalization",
        "conv2d_1",
        "batch_normalization_1",
        "conv2d_2",
        "batch_normalization_2",
        "conv2d_3",
        "batch_normalization_3",
        "conv2d_transpose",
        "conv2d_4",
        "batch_normalization_4",
        "conv2d_5",
        "batch_normalization_5",
        "conv2d_6",
    ]


def test_a_fresh_model_loads_them(tmp_path: Path) -> None:
    trained, fresh = trained_a_little(small()), small()
    write_legacy_h5(trained, tmp_path / "best_model.h5")
    fresh.load_weights(tmp_path / "best_model.h5")

    for ours, theirs in zip(trained.get_weights(), fresh.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for weight, (_, _, value) in zip(
        trained.get_weights(), read(tmp_path / "best_model.h5"), strict=True
    ):
        np.testing.assert_array_equal(weight, value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"normalization": "group"}, "no group or layer normalization"),
        ({"normalization": "layer"}, "no group or layer normalization"),
        ({"separable": True}, "no separable convolutions"),
        ({"input_scaling": "standardize"}, "no input_scaling standardize"),
        ({"activation": "gelu"}, r"activation in \['relu', 'mish'\], received gelu"),
    ],
)
def test_what_the_reference_lacks_is_named(
    tmp_path: Path, settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(ModelError, match=told):
        write_legacy_h5(small(**settings), tmp_path / "best_model.h5")

    assert list(tmp_path.iterdir()) == []


def test_all_that_it_lacks_is_named_at_once(tmp_path: Path) -> None:
    model = small(normalization="group", separable=True, activation="silu")
    with pytest.raises(ModelError) as caught:
        write_legacy_h5(model, tmp_path / "best_model.h5")

    for told in ("normalization", "separable", "silu", "best_model.h5"):
        assert told in str(caught.value)


def test_a_model_of_another_build_is_refused(tmp_path: Path) -> None:
    image = keras.Input(SHAPE)
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    model = keras.Model(image, keras.layers.Conv2D(3, 1, activation="softmax")(x))

    with pytest.raises(ModelError, match="expected the layers InputLayer, Rescaling, Conv2D, Drop"):
        write_legacy_h5(model, tmp_path / "best_model.h5")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_weights_are_float32_in_every_precision(tmp_path: Path, precision: str) -> None:
    config = ModelConfig(num_layers=2, base_filters=4, activation="mish")
    model = build_flexunet(config, SHAPE, 3, precision=precision)
    write_legacy_h5(model, tmp_path / "best_model.h5")

    values = [value for _, _, value in read(tmp_path / "best_model.h5")]
    assert {value.dtype for value in values} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(values[0], model.get_weights()[0])
