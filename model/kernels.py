"""Faster computations for built-in Keras layers on CPUs, and a way around a slow one.

A model stays what ``build_flexunet`` made of it: what is set here belongs to the layers of one
model in one process, and no file that the model is saved to knows of it.
"""

from __future__ import annotations

import functools
from typing import Any

import keras
import tensorflow as tf

from model.processor import this_processor


def use_fast_kernels(model: keras.Model) -> None:
    """Let a model's layers compute by the kernels that are fastest here; call it before a trace.

    On GPUs, and with TensorFlow's own kernels, layers stay as they are. With oneDNN's:

    - Batch normalization in training is one fused kernel in each direction. Keras composes it of
      some twenty operations: a seventh of a step (benchmarks/README.md). Outputs and gradients
      differ by rounding.
    - See :func:`forward` for convolutions of a single image.

    Args:
        model: Of built-in layers; its weights, its config and what it computes stay the same.
    """
    if not _has_onednn():
        return
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and _is_usual(layer):
            layer.call = functools.partial(_normalize, layer)
        elif type(layer) is keras.layers.Conv2D and single_is_slow():
            layer.convolution_op = functools.partial(_convolve, layer)


def forward(model: keras.Model, images: tf.Tensor) -> tf.Tensor:
    """Return a model's predictions, dropout off, for a batch of any size.

    With AVX2, oneDNN 3.7 convolves a batch of one image by another kernel than larger ones, which
    for large kernels and many channels is a loop six hundred times as slow
    (findings/onednn_avx2_convolution.sh). So a single image is predicted twice.

    Args:
        model: Maps images [B, H, W, C] to predictions [B, ...].
        images: Float32; the size of the batch may be unknown when this is traced.
    """
    if not single_is_slow():
        return model(images, training=False)
    count = tf.shape(images)[0]
    pair = tf.cond(count == 1, lambda: tf.repeat(images, 2, 0), lambda: images)
    pair.set_shape([None, *images.shape[1:]])
    return model(pair, training=False)[:count]


def single_is_slow() -> bool:
    """Tell whether one image may take much longer than two; see :func:`forward`."""
    return _has_onednn() and this_processor().instructions == "AVX2"


@functools.cache
def _has_onednn() -> bool:
    on_cpu = not tf.config.list_physical_devices("GPU")
    return on_cpu and this_processor().kernels == "onednn"


def _is_usual(layer: keras.layers.BatchNormalization) -> bool:
    """Tell whether a layer is one that the fused kernel computes."""
    other = layer.synchronized or getattr(layer, "renorm", False)  # newer than Keras 3.8
    return bool(layer.axis in (-1, 3) and layer.scale and layer.center and not other)


def _normalize(
    layer: keras.layers.BatchNormalization,
    inputs: Any,
    training: bool | None = None,
    mask: Any = None,
) -> Any:
    """Do what ``BatchNormalization.call`` does, for inputs [B, H, W, C]."""
    if not (training and layer.trainable) or mask is not None:
        return type(layer).call(layer, inputs, training=training, mask=mask)
    result = tf.raw_ops.FusedBatchNormV3(
        x=keras.ops.cast(inputs, "float32"),  # as Keras: half precision overflows in the sums
        scale=keras.ops.convert_to_tensor(layer.gamma, "float32"),
        offset=keras.ops.convert_to_tensor(layer.beta, "float32"),
        mean=tf.zeros([0]),
        variance=tf.zeros([0]),
        epsilon=layer.epsilon,
        is_training=True,
    )
    # The kernel divides the squares by one less than their number, Keras by their number.
    number = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], tf.float32)
    variance = result.batch_variance * ((number - 1.0) / number)
    for average, value in (
        (layer.moving_mean, result.batch_mean),
        (layer.moving_variance, variance),
    ):
        average.assign(average * layer.momentum + value * (1.0 - layer.momentum))
    return keras.ops.cast(result.y, layer.compute_dtype)


def _convolve(layer: keras.layers.Conv2D, inputs: Any, kernel: Any) -> Any:
    """Do what ``Conv2D.convolution_op`` does, a batch of one by the kernel of the gradient.

    A convolution of stride 1 is the gradient, towards the input, of the one whose kernel is turned
    by half a circle and has its channels exchanged.
    """
    usual = layer.padding == "same" and set(layer.strides) == {1} and layer.groups == 1
    # In half precision TensorFlow's own gradient may have to do it, which knows no dilation.
    if inputs.shape[0] != 1 or inputs.dtype != tf.float32 or not usual:
        return type(layer).convolution_op(layer, inputs, kernel)
    dilations = [1, *layer.dilation_rate, 1]
    options: dict[str, Any] = {"strides": [1] * 4, "padding": "SAME", "dilations": dilations}

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def convolve(image: tf.Tensor, weights: tf.Tensor) -> Any:
        turned = tf.transpose(tf.reverse(weights, [0, 1]), [0, 1, 3, 2])
        shape = [*image.shape[:3], weights.shape[-1]]
        output = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=shape, filter=turned, out_backprop=image, **options
        )

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            of_image = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=image.shape, filter=weights, out_backprop=upstream, **options
            )
            of_weights = tf.raw_ops.Conv2DBackpropFilter(
                input=image, filter_sizes=weights.shape, out_backprop=upstream, **options
            )
            return of_image, of_weights

        return output, gradient

    return convolve(inputs, tf.convert_to_tensor(keras.ops.convert_to_tensor(kernel)))
