"""Models averaged by one: its answer is their mean, in Keras and after a round trip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from model.config import ModelConfig
from model.ensemble import average
from model.flexunet import build_flexunet
from model.inference import ModelError

SHAPE = (16, 16, 1)


def member(seed: int, num_classes: int = 3, shape: Any = SHAPE, **config: Any) -> keras.Model:
    made = ModelConfig(**{"num_layers": 2, "base_filters": 2, **config})
    return build_flexunet(made, shape, num_classes, seed=seed, precision="float32")


@pytest.mark.processor
@pytest.mark.parametrize("num_classes", [3, 1])
def test_its_answer_is_the_mean_of_its_members(num_classes: int, tmp_path: Path) -> None:
    members = [
        member(0, num_classes),
        member(1, num_classes, num_layers=3, normalization="group"),
        member(2, num_classes, input_scaling="standardize", separable=True, activation="gelu"),
    ]
    joined = average(members)
    joined.save(tmp_path / "joined.keras")
    loaded = keras.models.load_model(tmp_path / "joined.keras", compile=False, safe_mode=True)
    images = np.random.default_rng(0).uniform(0, 255, (3, *SHAPE)).astype(np.float32)
    expected = np.mean([np.asarray(each(images, training=False)) for each in members], axis=0)

    for model in (joined, loaded):
        assert model.input_shape == members[0].input_shape
        assert model.output_shape == members[0].output_shape
        np.testing.assert_allclose(model(images, training=False), expected, atol=1e-6)
    assert joined.count_params() == sum(each.count_params() for each in members)
    # Copies: training a member on does not change it.
    members[0].set_weights([np.zeros_like(weight) for weight in members[0].get_weights()])
    np.testing.assert_allclose(joined(images, training=False), expected, atol=1e-6)


def test_members_of_other_precision_are_averaged_in_float32() -> None:
    config = ModelConfig(num_layers=2, base_filters=2)
    half = build_flexunet(config, SHAPE, 3, seed=0, precision="bfloat16")
    joined = average([half, member(1)])
    assert joined.output.dtype == "float32"


def test_models_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ModelError, match="expected 2 to 64 models to average, received 1"):
        average([member(0)])
    with pytest.raises(ModelError, match=r"same images, received \(16, 16, 1\) .* model 2"):
        average([member(0), member(1, shape=(32, 16, 1))])
    with pytest.raises(ModelError, match="same probabilities"):
        average([member(0), member(1, num_classes=4)])
