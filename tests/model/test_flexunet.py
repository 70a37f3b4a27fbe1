from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np
import pytest

from model.config import Activation, ModelConfig, Normalization
from model.flexunet import build_flexunet
from tests.model.precision import PRECISIONS, needs_bfloat16

pytestmark = pytest.mark.processor

PARITY = Path(__file__).parents[1] / "data" / "flexunet_parity"
CASES = sorted(path.stem for path in PARITY.glob("*.json"))


def small(**values: Any) -> ModelConfig:
    return ModelConfig(**{"num_layers": 2, "base_filters": 4, **values})


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, shape).astype(np.float32)


class Parity:
    """One case that was run through the reference implementation."""

    def __init__(self, name: str) -> None:
        self.facts = json.loads((PARITY / f"{name}.json").read_text())
        self.output = np.load(PARITY / f"{name}.npz")["output"]
        self.shape = (*[self.facts["image_size"]] * 2, self.facts["image_channels"])

    def model(self) -> keras.Model:
        facts = self.facts
        config = ModelConfig(
            num_layers=facts["num_layers"],
            base_filters=facts["base_filters"],
            base_kernel=facts["base_kernels"][0],
            dilation=facts["dilation"][0],
            dropout_rate=facts["dropout_rate"],
            normalization="batch" if facts["normalization"] else "none",
            activation=facts["activation"],
        )
        return build_flexunet(config, self.shape, facts["num_classes"])

    @staticmethod
    def weight(index: int, shape: list[int], kind: str) -> np.ndarray:
        n = int(np.prod(shape))
        scale = np.sqrt(2 / np.prod(shape[:-1])) if len(shape) > 1 else 0.2
        values = scale * np.sin(0.0071 * (np.arange(n) % 1999) ** 2 + index)
        if kind == "gamma":
            values = 1 + values
        if kind == "moving_variance":
            values = 1 + np.abs(values)
        return values.reshape(shape).astype(np.float32)

    def image(self) -> np.ndarray:
        j = np.arange(np.prod(self.shape))
        values = 127.5 + 127.5 * np.sin(0.0013 * (j % 4001) ** 2)
        return values.reshape(1, *self.shape).astype(np.float32)


@pytest.fixture(params=CASES)
def parity(request: pytest.FixtureRequest) -> Parity:
    return Parity(request.param)


def test_all_five_cases_are_there() -> None:
    assert len(CASES) == 5


def test_architecture_is_the_references(parity: Parity) -> None:
    model = parity.model()
    layers = [
        [
            "Lambda" if type(layer).__name__ == "Rescaling" else type(layer).__name__,
            list(layer.output.shape[1:]),
        ]
        for layer in model.layers
    ]
    dropouts = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]

    assert model.count_params() == parity.facts["params"]
    assert layers == parity.facts["layers"]
    assert dropouts == pytest.approx(parity.facts["dropout_rates"])


def test_outputs_are_the_references(parity: Parity) -> None:
    model = parity.model()
    owners = [(type(layer).__name__, weight) for layer in model.layers for weight in layer.weights]
    expected = parity.facts["weights"]
    assert [[owner, w.name, list(w.shape)] for owner, w in owners] == expected

    model.set_weights(
        [Parity.weight(i, shape, kind) for i, (_, kind, shape) in enumerate(expected)]
    )

    np.testing.assert_allclose(model(parity.image()), parity.output, atol=1e-4)


@pytest.mark.parametrize(
    "values",
    [
        *({"normalization": name} for name in get_args(Normalization)),
        *({"activation": name} for name in get_args(Activation)),
        {"input_scaling": "standardize"},
        {"separable": True},
        {"num_layers": 1},
        {"dilation": 3, "separable": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_variant_gives_probabilities(values: dict[str, Any], precision: str) -> None:
    model = build_flexunet(small(**values), (16, 24, 3), 5, precision=precision)

    output = model(noise(2, 16, 24, 3))

    assert output.shape == (2, 16, 24, 5)
    assert output.dtype == "float32"
    np.testing.assert_allclose(np.sum(output, axis=-1), 1, atol=1e-5)
    assert np.std(output) > 1e-3
    assert {weight.dtype for weight in model.weights} == {"float32"}


def test_normalization_and_separable_change_the_layers_they_name() -> None:
    def kinds(**values: Any) -> set[str]:
        model = build_flexunet(small(**values), (16, 16, 3), 2)
        return {type(layer).__name__ for layer in model.layers}

    assert "BatchNormalization" in kinds(normalization="batch")
    assert "GroupNormalization" in kinds(normalization="group")
    assert not any("Norm" in kind for kind in kinds(normalization="none"))
    assert "SeparableConv2D" in kinds(separable=True)


@pytest.mark.parametrize(("filters", "groups"), [(4, {4, 8}), (6, {2, 4}), (16, {8})])
def test_groups_divide_the_filters(filters: int, groups: set[int]) -> None:
    model = build_flexunet(small(normalization="group", base_filters=filters), (8, 8, 1), 2)

    found = {
        layer.groups for layer in model.layers if isinstance(layer, keras.layers.GroupNormalization)
    }

    assert found == groups


@pytest.mark.parametrize("separable", [False, True])
def test_fresh_weights_keep_the_scale_of_the_signal(separable: bool) -> None:
    config = small(separable=separable, base_kernel=7, base_filters=32, normalization="none")
    model = build_flexunet(config, (32, 32, 1), 2)
    a = keras.Model(model.input, model.get_layer("encoder_0_conv_a").output)
    b = keras.Model(model.input, model.get_layer("encoder_0_conv_b").output)
    image = noise(4, 32, 32, 1)

    ratio = np.sqrt(np.mean(np.square(b(image))) / np.mean(np.square(a(image))))

    # The correlated inputs of one convolution leave some play; a wrong fan-in is off by 5.
    assert 0.5 < ratio < 2


def test_the_seed_alone_decides_the_weights() -> None:
    def weights(seed: int, separable: bool) -> list[np.ndarray]:
        model = build_flexunet(small(separable=separable), (16, 16, 3), 2, seed=seed)
        return [value for value in model.get_weights() if value.ndim > 1]

    for separable in (False, True):
        first, again, other = (weights(seed, separable) for seed in (3, 3, 4))
        assert all(np.array_equal(x, y) for x, y in zip(first, again, strict=True))
        assert not any(np.array_equal(x, y) for x, y in zip(first, other, strict=True))


def test_the_seed_decides_the_dropout() -> None:
    config = small(dropout_rate=0.5)
    weights = build_flexunet(config, (16, 16, 3), 2).get_weights()

    def output(seed: int) -> np.ndarray:
        model = build_flexunet(config, (16, 16, 3), 2, seed=seed)
        model.set_weights(weights)
        return np.asarray(model(noise(1, 16, 16, 3), training=True))

    assert np.array_equal(output(1), output(1))
    assert not np.array_equal(output(1), output(2))


def test_integer_images_give_what_float_images_give() -> None:
    model = build_flexunet(small(), (16, 16, 3), 2)
    image = noise(1, 16, 16, 3).round()

    np.testing.assert_array_equal(model(image.astype(np.uint8)), model(image))


def test_standardized_images_do_not_depend_on_exposure() -> None:
    image = noise(2, 16, 16, 1)
    exposures = {
        scaling: np.abs(
            build_flexunet(small(input_scaling=scaling, normalization="none"), (16, 16, 1), 2)(
                image
            )
            - build_flexunet(small(input_scaling=scaling, normalization="none"), (16, 16, 1), 2)(
                image * 0.3 + 20
            )
        ).max()
        for scaling in ("standardize", "rescale")
    }

    assert exposures["standardize"] < 1e-4 < exposures["rescale"]


@needs_bfloat16
@pytest.mark.parametrize(
    "values",
    [
        {"normalization": "group", "input_scaling": "standardize", "activation": "mish"},
        {"separable": True},
    ],
    ids=str,
)
def test_a_saved_model_needs_nothing_of_ours(values: dict[str, Any], tmp_path: Path) -> None:
    model = build_flexunet(small(**values), (16, 16, 3), 4, precision="bfloat16")
    path = tmp_path / "model.keras"
    model.save(path)

    with zipfile.ZipFile(path) as archive:
        modules = set(modules_in(json.loads(archive.read("config.json"))))
    loaded = keras.models.load_model(path, safe_mode=True)

    assert {module.split(".")[0] for module in modules} == {"keras"}
    image = noise(2, 16, 16, 3)
    np.testing.assert_array_equal(loaded(image), model(image))


def modules_in(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["module"]] if node.get("module") else []
        return own + [name for value in node.values() for name in modules_in(value)]
    if isinstance(node, list):
        return [name for value in node for name in modules_in(value)]
    return []


def test_all_problems_stand_in_one_message() -> None:
    with pytest.raises(ValueError) as caught:
        build_flexunet(ModelConfig(num_layers=6), (48, 48, 3), 0, precision="int8")

    for part in ("divisible by", "received 48x48", "num_classes >= 1, received 0", "'int8'"):
        assert part in str(caught.value)
