"""A saved model, loaded and asked: images in, probabilities out, in one traced step."""

from __future__ import annotations

import zipfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from foundation.errors import UserError
from model.kernels import forward
from model.losses import two_channels


class ModelError(UserError, ValueError):
    """A file that is no model, or one of other images or classes; the message names it."""


def load_model(
    path: Path, image_shape: tuple[int, int, int] | None = None, num_classes: int | None = None
) -> keras.Model:
    """Load a ``.keras`` file in safe mode: it can bring no code of its own.

    Args:
        path: The file.
        image_shape: (height, width, channels) that it must take, in pixels; None: any.
        num_classes: Classes that it must tell apart, the background included; None: any.

    Raises:
        ModelError: where the file is missing or damaged, or the model is another one; all that is
            wrong in one message.
    """
    if not path.is_file():
        raise ModelError(f"{path}: expected a model, found no file")
    if not zipfile.is_zipfile(path):  # Keras says of such a file that it is not there
        raise ModelError(
            f"{path}: expected a model that Keras can load, received a file that is damaged or "
            "no .keras file"
        )
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever Keras, zip and HDF5 raise of a damaged file
        first = next(iter(str(error).strip().splitlines()), "")
        raise ModelError(
            f"{path}: expected a model that Keras can load, {type(error).__name__}: {first}"
        ) from error
    problems = _problems(model, image_shape, num_classes)
    if problems:
        raise ModelError(f"{path}: {'; '.join(problems)}")
    return model


def _problems(
    model: keras.Model, image_shape: tuple[int, int, int] | None, num_classes: int | None
) -> list[str]:
    taken, given = tuple(model.input_shape[1:]), model.output_shape
    problems = []
    if image_shape is not None and taken != tuple(image_shape):
        problems.append(f"expected a model of images {tuple(image_shape)}, received {taken}")
    if len(given) != 4:
        problems.append(f"expected an output of [B, H, W, classes], received {given}")
    elif num_classes is not None and max(2, given[-1]) != num_classes:
        problems.append(f"expected a model of {num_classes} classes, received {max(2, given[-1])}")
    return problems


class Predictor:
    """Asks one model; traced once, whatever the batch size.

    Args:
        model: From images [B, H, W, C], 0-255, to probabilities [B, H, W, classes].

    Attributes:
        num_classes: Classes, the background included; 2 for one sigmoid channel.
    """

    def __init__(self, model: keras.Model) -> None:
        self.num_classes = max(2, model.output_shape[-1])
        self._model = model
        self._step = tf.function(
            self._ask,
            autograph=False,
            input_signature=[tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8)],
        )

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict one batch; dropout off.

        Args:
            images: uint8 [B, H, W, C].

        Returns:
            float32 [B, H, W, classes]; of a sigmoid [1 - p, p].
        """
        probabilities: NDArray[np.float32] = self._step(images).numpy()
        return probabilities

    def _ask(self, images: tf.Tensor) -> tf.Tensor:
        probabilities = forward(self._model, tf.cast(images, tf.float32))
        return tf.cast(two_channels(probabilities), tf.float32)
