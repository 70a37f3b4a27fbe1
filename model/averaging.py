"""The average of a model's weights over its last updates, held beside them.

Morales-Brotons, Vogels and Hendrikx, "Exponential Moving Average of Weights in Deep Learning:
Dynamics and Benefits" (2024), https://arxiv.org/abs/2411.18704.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf


class WeightAverage:
    """An exponential moving average of variables, with a decay that warms up.

    After update t, counted from 1: average = d * average + (1 - d) * weight, with
    d = min(decay, (1 + t) / (10 + t)), so that the weights of the start are soon forgotten.
    The moving statistics of batch normalization are averaged likewise, the states of dropout
    generators are not.

    Args:
        decay: d at last; of some 1 / (1 - decay) updates the average is.
        variables: A model's. Built under the strategy's scope where they are copies on several
            devices; each replica then calls ``update``.
    """

    def __init__(self, decay: float, variables: Sequence[keras.Variable]) -> None:
        self._decay = decay
        self._values = [v.value for v in variables if v.value.dtype.is_floating]
        self.variables = [
            tf.Variable(tf.convert_to_tensor(value), trainable=False, name="average")
            for value in self._values
        ]

    def update(self, updates: tf.Tensor) -> None:
        """Take the weights after an update; call it where a step is traced.

        Args:
            updates: Updates done, this one too, scalar.
        """
        done = tf.cast(updates, tf.float32)
        share = 1.0 - tf.minimum(self._decay, (1.0 + done) / (10.0 + done))
        for average, value in zip(self.variables, self._values, strict=True):
            # By handle: within a replica of a strategy, that is the replica's own copy.
            tf.raw_ops.AssignSubVariableOp(resource=average.handle, value=(average - value) * share)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have the averages for a while; the weights come back to the bit."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for average, value in zip(self.variables, self._values, strict=True):
            weight = tf.identity(value)
            value.assign(tf.identity(average))
            average.assign(weight)
