"""Adam and AdamW with one fused kernel a variable, clipping and loss scaling in one factor.

The arithmetic is that of Keras' Adam, AdamW and LossScaleOptimizer, which the tests hold it to.
Keras composes it of some dozen small operations a variable: more than half of the nodes of a
train step, and of the time to trace and optimise it, which every trial of a search pays.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from model.config import TrainConfig

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7  # Keras' defaults
# Of dynamic loss scaling: Micikevicius et al., "Mixed Precision Training" (2018), Keras' numbers.
_INITIAL_SCALE = 2.0**15
_GROWTH_STEPS = 2000


class Optimizer:
    """Adam (Kingma and Ba, 2015) or AdamW (Loshchilov and Hutter, 2019), in float32.

    g are the gradients, clipped; t counts from 1:
    m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g**2, then
    w = w - rate * weight_decay * w (AdamW), and
    w = w - rate * sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(v) + epsilon).

    Args:
        config: ``optimizer``, ``weight_decay``, ``clip_value``, ``clip_norm`` and ``precision``.
        weights: Float32 variables to train. Built under the strategy's scope where they are
            copies on several devices; each replica then calls ``apply`` with the same gradients.

    Attributes:
        iterations: Updates done, int64 scalar variable.
    """

    def __init__(self, config: TrainConfig, weights: Sequence[keras.Variable]) -> None:
        self._config = config
        self._weights = [weight.value for weight in weights]
        self._first = [_zeros(weight, "m") for weight in self._weights]
        self._second = [_zeros(weight, "v") for weight in self._weights]
        self.iterations = tf.Variable(0, trainable=False, dtype=tf.int64, name="iterations")
        self._scale = tf.Variable(self._initial_scale(), trainable=False, name="loss_scale")
        self._good_steps = tf.Variable(0, trainable=False, dtype=tf.int64, name="good_steps")

    def _initial_scale(self) -> float:
        return _INITIAL_SCALE if self._scales_loss else 1.0

    @property
    def _scales_loss(self) -> bool:
        return self._config.precision == "float16"

    @property
    def variables(self) -> list[tf.Variable]:
        """Everything that a restart must bring back, in a fixed order."""
        own = [self.iterations, self._scale, self._good_steps]
        return [*own, *self._first, *self._second]

    @property
    def loss_scale(self) -> tf.Tensor:
        """Factor by which the gradients given to ``apply`` are larger than those of the loss."""
        return tf.identity(self._scale)

    def apply(self, gradients: Sequence[tf.Tensor], rate: tf.Tensor) -> None:
        """Do one update; call it where a step is traced.

        For float16 the gradients come multiplied by ``loss_scale``, so that small ones do not
        vanish. Where one of them is not finite the update is left out and the factor halved;
        after 2000 updates without that it is doubled.

        Args:
            gradients: One a weight, in the order of the weights, times ``loss_scale``.
            rate: Learning rate, float32 scalar.
        """
        if not self._scales_loss:
            self._update(self._clip(gradients, 1.0), rate)
            return
        inverse = 1.0 / self._scale
        clipped = self._clip(gradients, inverse)
        tf.cond(
            tf.math.is_finite(_global_norm(gradients)),
            lambda: self._good_update(clipped, rate),
            self._scale_down,
        )

    def _clip(self, gradients: Sequence[tf.Tensor], factor: float | tf.Tensor) -> list[tf.Tensor]:
        """Multiply by factor, then clip as the config says."""
        value, norm = self._config.clip_value, self._config.clip_norm
        if norm is not None:
            # factor * gradients, scaled down to a norm of clip_norm where it is above.
            factor *= tf.minimum(1.0, norm / (_global_norm(gradients) * factor))
        if norm is not None or self._scales_loss:
            gradients = [gradient * factor for gradient in gradients]
        if value is not None:
            gradients = [tf.clip_by_value(gradient, -value, value) for gradient in gradients]
        return list(gradients)

    def _update(self, gradients: Sequence[tf.Tensor], rate: tf.Tensor) -> None:
        step = tf.cast(self.iterations + 1, tf.float32)
        powers = {"beta1_power": _BETA_1**step, "beta2_power": _BETA_2**step}
        decay = self._config.weight_decay if self._config.optimizer == "adamw" else 0.0
        slots = zip(self._weights, gradients, self._first, self._second, strict=True)
        for weight, gradient, first, second in slots:
            if decay:
                tf.raw_ops.AssignSubVariableOp(
                    resource=weight.handle, value=weight * (rate * decay)
                )
            tf.raw_ops.ResourceApplyAdam(
                var=weight.handle,
                m=first.handle,
                v=second.handle,
                lr=rate,
                beta1=_BETA_1,
                beta2=_BETA_2,
                epsilon=_EPSILON,
                grad=gradient,
                **powers,
            )
        _assign(self.iterations, self.iterations + 1)

    def _good_update(self, gradients: Sequence[tf.Tensor], rate: tf.Tensor) -> None:
        self._update(gradients, rate)
        good = self._good_steps + 1
        grow = good >= _GROWTH_STEPS
        _assign(self._scale, tf.where(grow, self._scale * 2.0, self._scale))
        _assign(self._good_steps, tf.where(grow, tf.zeros_like(good), good))

    def _scale_down(self) -> None:
        _assign(self._scale, self._scale * 0.5)
        _assign(self._good_steps, tf.zeros([], tf.int64))


def _zeros(weight: tf.Variable, name: str) -> tf.Variable:
    return tf.Variable(tf.zeros(weight.shape, tf.float32), trainable=False, name=name)


def _assign(variable: tf.Variable, value: tf.Tensor) -> None:
    """Write by handle: within a replica of a strategy, that is the replica's own copy."""
    tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)


def _global_norm(gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """Euclidean norm of all gradients as one vector."""
    return tf.sqrt(2.0 * tf.add_n([tf.nn.l2_loss(gradient) for gradient in gradients]))
