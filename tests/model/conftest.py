"""One small model in every format, written once: conversions are slow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest

from model.config import ModelConfig
from model.exporting import write_onnx, write_saved_model, write_tflite
from model.flexunet import build_flexunet

SHAPE = (16, 24, 3)
CLASSES = 4


@dataclass(frozen=True)
class Formats:
    """A model, the files made of it by name, and images to ask them about."""

    model: keras.Model
    files: dict[str, Path]
    images: np.ndarray


def trained_a_little(model: keras.Model, seed: int = 0) -> keras.Model:
    """Move all weights off their initial values, so that no bias or statistic is zero or one."""
    random = np.random.default_rng(seed)
    for variable in model.weights:
        noise = 0.2 * random.standard_normal(variable.shape)
        noise = np.abs(noise) if "variance" in variable.name else noise
        variable.assign(np.asarray(variable) + noise)
    return model


@pytest.fixture(scope="session")
def formats(tmp_path_factory: pytest.TempPathFactory) -> Formats:
    folder = tmp_path_factory.mktemp("formats")
    config = ModelConfig(num_layers=2, base_filters=8)
    model = trained_a_little(build_flexunet(config, SHAPE, CLASSES))
    files = {
        "keras": folder / "a.keras",
        "savedmodel": folder / "saved",
        "onnx": folder / "a.onnx",
        "tflite": folder / "a.tflite",
    }
    model.save(files["keras"])
    write_saved_model(model, files["savedmodel"], resize="letterbox")
    write_onnx(model, files["onnx"])
    write_tflite(model, files["tflite"], quantize=False)
    images = np.random.default_rng(0).integers(0, 256, (3, *SHAPE), np.uint8)
    return Formats(model, files, images)
