"""Milliseconds of one forward pass, measured on the device that the process uses."""

from __future__ import annotations

import statistics
import time

import keras
import tensorflow as tf

WARM_UP = 3
RUNS = 15


def measure_latency(model: keras.Model, image_shape: tuple[int, int, int]) -> float:
    """Measure a model's forward pass of one image, as it would be served: batch 1, in a graph.

    A trial's model computes by the kernels of :mod:`model.kernels`, a program that loads the file
    by those of its own TensorFlow.

    The first passes trace the graph and choose kernels; they are not counted. The median of the
    rest leaves out what else the machine does now and then, but not a neighbour that works all
    the time: trials that share a machine measure it as it is.

    Args:
        model: Maps [B, height, width, channels] to predictions.
        image_shape: (height, width, channels), in pixels.

    Returns:
        Milliseconds, the median of 15 passes, the copy of the result to the host included.
    """
    forward = tf.function(lambda images: model(images, training=False), autograph=False)
    images = tf.zeros((1, *image_shape))
    seconds = []
    for _ in range(WARM_UP + RUNS):
        started = time.perf_counter()
        forward(images).numpy()
        seconds.append(time.perf_counter() - started)
    return 1e3 * statistics.median(seconds[WARM_UP:])
