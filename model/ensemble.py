"""Several models as one that averages their probabilities, saved and exported like any other."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from model.inference import ModelError

MOST_MEMBERS = 64


def average(models: Sequence[keras.Model]) -> keras.Model:
    """Join models into one whose probabilities are the mean of theirs.

    Averaging over trainings is the simplest ensemble that helps: Lakshminarayanan et al., Simple
    and scalable predictive uncertainty estimation using deep ensembles (NeurIPS 2017). All layers
    are Keras' own and lie in one flat graph, so that the result is loaded in safe mode, exported
    and quantized as a single model is.

    Args:
        models: From images [B, H, W, C], 0-255, to probabilities [B, H, W, classes], all of the
            same images and classes; depths, widths and kernels may differ. Weights are copied.

    Returns:
        A model from such images to float32 probabilities. Layer ``encoder_0_conv_a`` of the second
        model is its ``member_2_encoder_0_conv_a``.

    Raises:
        ModelError: for fewer than two models, or ones of other images or classes.
    """
    _check(models)
    image = keras.Input(models[0].input_shape[1:], name="image", dtype="float32")
    outputs = []
    for number, model in enumerate(models, start=1):
        member = _member(model, image, f"member_{number}_")
        outputs.append(member.output)
    mean = keras.layers.Average(name="probabilities", dtype="float32")(outputs)
    return keras.Model(image, mean, name="flexunet_ensemble")


def _check(models: Sequence[keras.Model]) -> None:
    if not 2 <= len(models) <= MOST_MEMBERS:
        raise ModelError(f"expected 2 to {MOST_MEMBERS} models to average, received {len(models)}")
    first = models[0]
    for number, model in enumerate(models[1:], start=2):
        for what, expected, received in (
            ("images", first.input_shape[1:], model.input_shape[1:]),
            ("probabilities", first.output_shape[1:], model.output_shape[1:]),
        ):
            if expected != received:
                raise ModelError(
                    f"expected models of the same {what}, received {expected} of the first and "
                    f"{received} of model {number}"
                )


def _member(model: keras.Model, image: keras.KerasTensor, prefix: str) -> keras.Model:
    """Copy a model, its layers renamed, onto an input."""

    def renamed(layer: keras.Layer) -> keras.Layer:
        return type(layer).from_config({**layer.get_config(), "name": prefix + layer.name})

    member = keras.models.clone_model(model, input_tensors=image, clone_function=renamed)
    member.set_weights(model.get_weights())
    return member
