"""Training and evaluation of one model: our own compiled steps, shared by trials and ``train``.

Keras' ``fit`` traces its train step three times as long as the plain one here takes, which a
search of many short trials pays for again and again.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from foundation.errors import UserError
from model.averaging import WeightAverage
from model.checkpoint import (
    Checkpoint,
    CheckpointError,
    first_difference,
    read_checkpoint,
    write_checkpoint,
)
from model.config import TrainConfig
from model.distribution import Devices, OneDevice, Replicas, scope_of
from model.kernels import forward, use_fast_kernels
from model.losses import class_weights_from, make_loss
from model.metrics import Statistics, batch_statistics
from model.optimizer import Optimizer

__all__ = [
    "CheckpointError",
    "NonFiniteLoss",
    "TrainResult",
    "Trainer",
    "ValidationResult",
    "learning_rate_at",
]

# What tells apart layers of equal shapes; see _describe.
_TELLING = (
    "activation",
    "dilation_rate",
    "kernel_size",
    "strides",
    "rate",
    "groups",
    "scale",
    "axis",
)


class NonFiniteLoss(UserError, ArithmeticError):  # noqa: N818 - a state of the training, and public
    """The loss became NaN or infinite; the weights are of no use from here on.

    Attributes:
        step: Training step, counted from 1 over all epochs; the last one for an evaluation.
        value: The loss.
    """

    def __init__(self, step: int, value: float, where: str) -> None:
        super().__init__(f"expected a finite {where} loss, received {value} at step {step}")
        self.step = step
        self.value = value


@dataclass(frozen=True)
class TrainResult:
    """One epoch of training.

    Attributes:
        loss: Mean over the batches.
        images: Number of images seen, by all workers.
        seconds: Wall time, waiting for data and, in the first epoch, tracing included.
        learning_rate: Of the epoch's last update.
    """

    loss: float
    images: int
    seconds: float
    learning_rate: float


@dataclass(frozen=True)
class ValidationResult:
    """One pass over a split.

    Attributes:
        loss: Mean over the batches, each weighing as many as it has images.
        statistics: Counts over the whole split.
        seconds: Wall time.
    """

    loss: float
    statistics: Statistics
    seconds: float


@dataclass
class _Plateau:
    """State of ``reduce_on_plateau``."""

    factor: float = 1.0
    best: float = math.inf
    waited: int = 0

    def update(self, loss: float, config: TrainConfig) -> None:
        if loss < self.best:
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited >= config.plateau_patience:
            self.factor *= config.plateau_factor
            self.waited = 0


def learning_rate_at(config: TrainConfig, step: tf.Tensor, total_steps: int) -> tf.Tensor:
    """Learning rate of an update, before any reduction on a plateau.

    Warm-up: linear, learning_rate * (step + 1) / warmup_steps. Cosine, from the end of the
    warm-up to total_steps: learning_rate * (1 + cos(pi * share done)) / 2, after Loshchilov and
    Hutter, "SGDR" (2017), eq. 5, without restarts.

    Args:
        config: ``learning_rate``, ``schedule`` and ``warmup_steps``.
        step: Updates done before, scalar.
        total_steps: Updates of the whole training.

    Returns:
        A float32 scalar.
    """
    step = tf.cast(step, tf.float32)
    rate = tf.constant(config.learning_rate, tf.float32)
    if config.schedule == "cosine":
        span = max(1, total_steps - config.warmup_steps)
        done = tf.clip_by_value((step - config.warmup_steps) / span, 0.0, 1.0)
        rate *= 0.5 * (1.0 + tf.cos(math.pi * done))
    if config.warmup_steps:
        rate *= tf.minimum((step + 1.0) / config.warmup_steps, 1.0)
    return rate


class Trainer:
    """Trains one model, epoch by epoch, and evaluates it.

    Args:
        model: From ``build_flexunet``, of the precision of ``config``: images [B, H, W, C] to
            probabilities [B, H, W, classes].
        config: How to train.
        class_pixels: Pixels of each class in the training split, background first, for the class
            weights; two for a model with one sigmoid channel.
        steps_per_epoch: Batches of one epoch. With ``accumulation_steps`` k every k of them make
            an update; an update never spans an epoch's end, so the last one may have fewer.
        strategy: What shares each batch among devices; the model was built under its scope. None:
            a single device.

    Attributes:
        epoch: Epochs trained, also before a restore.
        num_classes: Classes, the background included; 2 for one sigmoid channel.

    Raises:
        ValueError: where the number of classes is not the model's, a class has no pixels to
            weigh it by, or the devices cannot share a batch evenly.
    """

    def __init__(
        self,
        model: keras.Model,
        config: TrainConfig,
        *,
        class_pixels: Sequence[int],
        steps_per_epoch: int,
        strategy: tf.distribute.Strategy | None = None,
    ) -> None:
        self.num_classes = max(2, model.output_shape[-1])
        if len(class_pixels) != self.num_classes:
            raise ValueError(
                f"expected class_pixels of the model's {self.num_classes} classes, received "
                f"{len(class_pixels)}: {list(class_pixels)}"
            )
        if steps_per_epoch < 1:
            raise ValueError(f"expected steps_per_epoch >= 1, received {steps_per_epoch}")
        use_fast_kernels(model)
        self.model = model
        self.config = config
        self.steps_per_epoch = steps_per_epoch
        self.epoch = 0
        self._plateau = _Plateau()
        self._loss = make_loss(config, list(class_weights_from(config, class_pixels)))
        self._devices: Devices = (
            OneDevice(model) if strategy is None else Replicas(model, strategy, config.batch_size)
        )
        with scope_of(strategy):
            self._plateau_factor = tf.Variable(1.0, trainable=False, name="plateau_factor")
            self._optimizer = Optimizer(config, model.trainable_variables)
            self._sums = _sums(config, model)
            self._average = (
                WeightAverage(config.weight_averaging, model.variables)
                if config.weight_averaging
                else None
            )
        # Autograph has nothing to convert here, and its search for it takes time.
        self._train_step = tf.function(self._train_batch, autograph=False)
        self._add_step = tf.function(self._add_batch, autograph=False)
        self._update_step = tf.function(self._update_by_sums, autograph=False)
        height, width, channels = model.input_shape[1:]
        self._evaluation_step = tf.function(
            self._evaluate_batch,
            autograph=False,
            # Any batch size, so that a smaller last batch is not traced again.
            input_signature=[
                tf.TensorSpec([None, height, width, channels], tf.uint8),
                tf.TensorSpec([None, height, width], tf.uint8),
            ],
        )

    def train_epoch(self, batches: Iterator[tuple[tf.Tensor, tf.Tensor]]) -> TrainResult:
        """Train on the next ``steps_per_epoch`` batches and count the epoch.

        Args:
            batches: An iterator, such as ``iter(dataset)``, of images uint8 [B, H, W, C] and masks
                uint8 [B, H, W], all batches of one size. It is read no further than needed.
                The images may be smaller or larger than the model's, in sides that its depth
                allows; a size that was not seen before is traced, which takes seconds.

        Raises:
            NonFiniteLoss: for the first step with such a loss.
            ValueError: where the data end before the epoch does.
        """
        start = time.perf_counter()
        losses: list[tf.Tensor] = []
        count, rate = 0, tf.constant(math.nan)
        self._clear_sums()  # of an epoch that failed
        for images, masks in itertools.islice(batches, self.steps_per_epoch):
            # Kept as a tensor: reading it would make the next step wait for this one.
            loss, rate = self._step(images, masks, len(losses) + 1)
            losses.append(loss)
            count += int(images.shape[0]) * self._devices.workers
        if len(losses) < self.steps_per_epoch:
            raise ValueError(
                f"expected {self.steps_per_epoch} batches (steps_per_epoch), received "
                f"{len(losses)}; give a dataset that repeats"
            )
        values = np.array([float(loss) for loss in losses])
        if not np.isfinite(values).all():
            bad = int(np.argmin(np.isfinite(values)))
            raise NonFiniteLoss(self._steps_done + bad + 1, float(values[bad]), "training")
        self.epoch += 1
        return TrainResult(
            float(values.mean()), count, time.perf_counter() - start, learning_rate=float(rate)
        )

    @property
    def _steps_done(self) -> int:
        # Not the optimizer's iterations, in which float16 leaves out the updates it skipped.
        return self.epoch * self.steps_per_epoch

    def _step(
        self, images: tf.Tensor, masks: tf.Tensor, number: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Train on the epoch's batch of a number, from 1; the rate is NaN before an update."""
        steps = self.config.accumulation_steps
        if steps == 1:
            loss, rate = self._train_step(images, masks)
            return loss, rate
        loss = self._add_step(images, masks)
        if number % steps and number < self.steps_per_epoch:
            return loss, math.nan
        count = tf.constant(number % steps or steps, tf.float32)
        return loss, self._update_step(count)

    def _train_batch(self, images: tf.Tensor, masks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        def step(images: tf.Tensor, masks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            rate = self._rate()
            loss, gradients = self._gradients(images, masks)
            loss, *gradients = self._devices.mean([loss, *gradients])
            self._apply(gradients, rate)
            return loss, rate

        loss, rate = self._devices.run(step, images, masks)
        return loss, rate

    def _add_batch(self, images: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
        """Add a batch's gradients to those that wait for an update."""

        def step(images: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
            loss, gradients = self._gradients(images, masks)
            for total, gradient in zip(self._sums, gradients, strict=True):
                # By handle: each replica sums its own.
                tf.raw_ops.AssignAddVariableOp(resource=total.handle, value=gradient)
            return self._devices.mean([loss])[0]

        return self._devices.run(step, images, masks)

    def _update_by_sums(self, count: tf.Tensor) -> tf.Tensor:
        """Do the update that count batches have waited for."""

        def step(count: tf.Tensor) -> tf.Tensor:
            rate = self._rate()
            sums = [tf.convert_to_tensor(total) for total in self._sums]
            self._apply(self._devices.mean([total / count for total in sums]), rate)
            for total in self._sums:
                tf.raw_ops.AssignVariableOp(resource=total.handle, value=tf.zeros(total.shape))
            return rate

        return self._devices.run(step, count)

    def _apply(self, gradients: Sequence[tf.Tensor], rate: tf.Tensor) -> None:
        self._optimizer.apply(gradients, rate)
        if self._average is not None:
            self._average.update(self._optimizer.iterations)

    def _clear_sums(self) -> None:
        for total in self._sums:
            total.assign(tf.zeros(total.shape))

    def _rate(self) -> tf.Tensor:
        updates = self.config.epochs * -(-self.steps_per_epoch // self.config.accumulation_steps)
        rate = learning_rate_at(self.config, self._optimizer.iterations, updates)
        return rate * self._plateau_factor

    def _gradients(self, images: tf.Tensor, masks: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Return the loss, and the gradients of it times the loss scale."""
        images, masks = self._devices.part(images), self._devices.part(masks)
        with tf.GradientTape() as tape:
            weights = self._devices.watch(tape)
            probabilities, states = self._devices.forward(weights, tf.cast(images, tf.float32))
            loss = self._loss(masks, probabilities)
        self._devices.keep(states)
        scale = self._optimizer.loss_scale
        return loss, tape.gradient(loss, weights, output_gradients=scale)

    def evaluate(self, batches: Iterable[tuple[tf.Tensor, tf.Tensor]]) -> ValidationResult:
        """Evaluate on all batches given; dropout off, the weights averaged where they are.

        Args:
            batches: Images uint8 [B, H, W, C] and masks uint8 [B, H, W]; B may vary.

        Raises:
            NonFiniteLoss: where the mean loss is such.
            ValueError: for no batch at all.
        """
        start = time.perf_counter()
        with self.averaged():
            # Kept as tensors until all are under way: no batch waits for the one before it.
            results = [self._evaluation_step(images, masks) for images, masks in batches]
        if not results:
            raise ValueError("expected at least one batch to evaluate, received none")
        statistics = Statistics.empty(self.num_classes)
        for result in results:
            statistics += Statistics.from_batch(result)
        images = sum(int(result["images"]) for result in results)
        loss = sum(float(result["loss"]) * int(result["images"]) for result in results) / images
        if self._devices.workers > 1:
            loss, statistics = self._agreed(loss, statistics)
        if not math.isfinite(loss):
            raise NonFiniteLoss(self._steps_done, loss, "validation")
        return ValidationResult(loss, statistics, time.perf_counter() - start)

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Let the model have its averaged weights for a while, where they are averaged.

        It is not to be trained meanwhile.
        """
        return contextlib.nullcontext() if self._average is None else self._average.in_place()

    def _agreed(self, loss: float, statistics: Statistics) -> tuple[float, Statistics]:
        """Return the first worker's evaluation, since learning rates and the end follow from it."""
        counts, soft = statistics.counts, statistics.soft
        told = np.concatenate([[loss], counts.ravel(), soft.ravel()])
        agreed = self._devices.agree(told)
        counts, soft = agreed[1:].reshape(2, *counts.shape)
        return float(agreed[0]), Statistics.from_batch({"counts": counts, "soft": soft})

    def _evaluate_batch(self, images: tf.Tensor, masks: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = forward(self.model, tf.cast(images, tf.float32))
        return {
            "loss": self._loss(masks, probabilities),
            "images": tf.shape(images)[0],
            **batch_statistics(masks, probabilities),
        }

    def end_epoch(self, validation_loss: float) -> None:
        """Tell the validation loss of an epoch, for ``reduce_on_plateau``."""
        if self.config.schedule == "reduce_on_plateau":
            self._plateau.update(validation_loss, self.config)
            self._plateau_factor.assign(self._plateau.factor)

    def save(self, path: Path, extra: Mapping[str, Any]) -> None:
        """Write all that training needs to continue, atomically, into one ``.npz``.

        Args:
            path: The file; an existing one is replaced, or left whole when writing fails.
            extra: JSON values to keep with it.
        """
        plateau = self._plateau
        state = {
            "epoch": self.epoch,
            # Infinity is not JSON.
            "best": None if math.isinf(plateau.best) else plateau.best,
            "waited": plateau.waited,
            "factor": plateau.factor,
        }
        header = {"model": self._description(), "state": state, "extra": extra}
        arrays = tuple(variable.numpy() for variable in self._variables())
        write_checkpoint(path, Checkpoint(arrays, header))

    def restore(self, path: Path) -> dict[str, Any]:
        """Continue from a file of ``save``, bit for bit as if never interrupted.

        Returns:
            The ``extra`` that was saved.

        Raises:
            CheckpointError: where the file is missing, torn, or of another model or optimizer;
                this trainer is then as it was.
        """
        checkpoint = read_checkpoint(path)
        if difference := first_difference(self._description(), checkpoint.header.get("model", [])):
            raise CheckpointError(path, f"of another model: {difference}")
        for variable, value in zip(self._variables(), checkpoint.arrays, strict=True):
            variable.assign(value)  # cannot fail: shapes and number are in the description
        state = checkpoint.header["state"]
        best = math.inf if state["best"] is None else state["best"]
        self.epoch = state["epoch"]
        self._plateau = _Plateau(state["factor"], best, state["waited"])
        self._plateau_factor.assign(self._plateau.factor)
        return dict(checkpoint.header["extra"])

    def _variables(self) -> list[tf.Variable]:
        """List the weights, the states of the dropout generators, the optimizer's, the average."""
        model = [variable.value for variable in self.model.variables]
        average = [] if self._average is None else self._average.variables
        return [*model, *self._optimizer.variables, *average]

    def _description(self) -> list[str]:
        """Describe what the arrays of a checkpoint belong to."""
        average = [] if self._average is None else ["averaged weights"]
        return [*_describe(self.model, self._optimizer), *average]


def _sums(config: TrainConfig, model: keras.Model) -> list[tf.Variable]:
    """Make what gradients are summed in; none where every batch is an update."""
    if config.accumulation_steps == 1:
        return []
    return [
        tf.Variable(tf.zeros(weight.shape), trainable=False, name="gradient_sum")
        for weight in model.trainable_variables
    ]


def _describe(model: keras.Model, optimizer: Optimizer) -> list[str]:
    """Describe a model and its optimizer, one line a layer and variable.

    Not by Keras' own JSON of the model, which changes between versions of Keras.
    """
    lines = []
    for layer in model.layers:
        settings = layer.get_config()
        told = [f"{key}={_plain(settings[key])}" for key in _TELLING if key in settings]
        shapes = [str(tuple(variable.shape)) for variable in layer.variables]
        lines.append(" ".join([type(layer).__name__, layer.name, *told, *shapes]))
    shapes = [f"{tuple(variable.shape)}" for variable in optimizer.variables]
    lines.append(" ".join(["optimizer", *shapes]))
    return lines


def _plain(value: object) -> object:
    """Write sequences one way: a model that was loaded has lists where a built one has tuples."""
    return list(value) if isinstance(value, list | tuple) else value
