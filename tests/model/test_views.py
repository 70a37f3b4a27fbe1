"""A model's layers at another size of image."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from model.config import ModelConfig
from model.flexunet import build_flexunet
from model.kernels import use_fast_kernels
from model.views import Views

WHOLE, WINDOW = (32, 48, 1), (16, 16, 1)


@pytest.mark.processor
@pytest.mark.parametrize("normalization", ["batch", "group", "none"])
@pytest.mark.parametrize("changes", [{}, {"separable": True, "input_scaling": "standardize"}])
def test_a_view_computes_as_a_model_of_its_size_with_the_same_weights(
    normalization: str, changes: dict[str, object]
) -> None:
    config = ModelConfig(num_layers=3, base_filters=4, normalization=normalization, **changes)
    model, small = (build_flexunet(config, shape, 3, seed=1) for shape in (WHOLE, WINDOW))
    use_fast_kernels(model)
    use_fast_kernels(small)
    view = Views(model).of(WINDOW)
    assert all(a is b for a, b in zip(model.variables, view.variables, strict=True))

    images = np.random.default_rng(0).uniform(0, 255, (2, *WINDOW)).astype(np.float32)
    for training in (True, False):
        np.testing.assert_allclose(
            view(images, training=training), small(images, training=training), atol=1e-5
        )
    for mine, its in zip(model.variables, small.variables, strict=True):
        if mine.dtype == "float32":  # the moving averages, which the training pass has moved
            np.testing.assert_allclose(mine, its, atol=1e-5)


def test_the_model_is_saved_as_it_was_built(tmp_path: Path) -> None:
    model = build_flexunet(ModelConfig(num_layers=2, base_filters=2), WHOLE, 3)
    views = Views(model)
    views.of(WINDOW)
    assert views.of(WHOLE) is model
    assert views.of(WINDOW) is views.of(WINDOW)
    model.save(tmp_path / "model.keras")

    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    assert loaded.input_shape == (None, *WHOLE)
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]
    image = np.ones((1, *WHOLE), np.float32)
    np.testing.assert_allclose(loaded(image), model(image), atol=1e-6)
