"""Where a train step runs: on one device, or on several that share each batch.

With several, each replica computes the gradients of its part of the batch; their mean is the same
in all, and so is the update that each does on its own copy of the weights. A loss that is a mean
over images is then that of the whole batch; one that divides by sums over the batch, as Dice and
the weighted cross-entropy do, becomes a mean over the parts.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from model.views import Views

# Between the seeds of neighbouring replicas' dropout masks; a prime, far above any layer's count.
_SEED_STRIDE = 1_000_003


@dataclass(frozen=True)
class WorkerSpec:
    """One of several processes that train together.

    Attributes:
        addresses: HOST:PORT of each, the chief's first.
        rank: Which of them this process is.
    """

    addresses: tuple[str, ...]
    rank: int

    def to_tf_config(self) -> str:
        """Return the value of the environment variable TF_CONFIG."""
        task = {"type": "worker", "index": self.rank}
        return json.dumps({"cluster": {"worker": list(self.addresses)}, "task": task})


def make_strategy(
    devices: Sequence[str] | None = None, workers: WorkerSpec | None = None
) -> tf.distribute.Strategy | None:
    """Build what spreads a training; None where a single device has it all.

    Args:
        devices: Names such as ``GPU:0``, of this machine. None: TensorFlow's choice. Of several
            workers each uses what it sees: all its GPUs, or its CPU.
        workers: The processes, this one among them. It must not have run TensorFlow before, and
            all must call this: it waits for them. Sets TF_CONFIG. None: this one alone.

    Raises:
        ValueError: for devices twice, a rank out of range, or devices of several workers.
    """
    if workers is not None and len(workers.addresses) > 1:
        if devices is not None:
            raise ValueError("expected devices or workers, received both")
        if not 0 <= workers.rank < len(workers.addresses):
            raise ValueError(
                f"expected a rank below {len(workers.addresses)}, received {workers.rank}"
            )
        os.environ["TF_CONFIG"] = workers.to_tf_config()
        return tf.distribute.MultiWorkerMirroredStrategy()
    if devices is None or len(devices) < 2:
        return None
    if len(set(devices)) < len(devices):
        raise ValueError(f"expected distinct devices, received {list(devices)}")
    return _mirrored(tuple(devices))


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    # One a process: two number their collective operations alike, and TensorFlow mixes them up.
    return tf.distribute.MirroredStrategy(list(devices))


def scope_of(strategy: tf.distribute.Strategy | None) -> contextlib.AbstractContextManager[Any]:
    """Return the context in which a model is built, so that each replica has a copy of it."""
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def worker_of(strategy: tf.distribute.Strategy | None) -> tuple[int, int]:
    """Return this process' rank, and how many share the training."""
    if strategy is None:
        return 0, 1
    count = strategy.num_replicas_in_sync // len(strategy.extended.worker_devices)
    return (strategy.cluster_resolver.task_id if count > 1 else 0), count


class Devices(Protocol):
    """Where a train step runs. All but ``run`` and ``agree`` is called within what ``run`` runs.

    Attributes:
        replicas: Devices that share a batch.
        workers: Processes that do.
    """

    replicas: int
    workers: int

    def run(self, step: Callable[..., Any], *batch: tf.Tensor) -> Any:
        """Run a step on this process' devices; return one device's result."""

    def part(self, batch: tf.Tensor) -> tf.Tensor:
        """Return the replica's part of this process' batch."""

    def mean(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """Return the means over all replicas."""

    def watch(self, tape: tf.GradientTape) -> list[Any]:
        """Return the trainable weights, watched by the tape."""

    def forward(self, weights: list[Any], images: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Return the model's training outputs, and states for ``keep``."""

    def keep(self, states: list[tf.Tensor]) -> None:
        """Write the states that a forward pass has left: averages, dropout generators."""

    def agree(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the first worker's values, outside of ``run``.

        What all decide by must be the same to the bit, and no two machines compute so.
        """


class OneDevice:
    """The whole step where TensorFlow puts it."""

    replicas = 1
    workers = 1

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._views = Views(model)

    def run(self, step: Callable[..., Any], *batch: tf.Tensor) -> Any:
        return step(*batch)

    def part(self, batch: tf.Tensor) -> tf.Tensor:
        return batch

    def mean(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        return tensors

    def watch(self, tape: tf.GradientTape) -> list[Any]:
        return [weight.value for weight in self._model.trainable_variables]

    def forward(self, weights: list[Any], images: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        return self._views.of(tuple(images.shape[1:]))(images, training=True), []

    def keep(self, states: list[tf.Tensor]) -> None:
        pass

    def agree(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values


class Replicas:
    """A part of each batch on every replica of a strategy.

    The model is called without side effects and its states are written here: Keras' variables say
    nothing of how replicas agree on them. Averages of batch normalization become the mean over
    the replicas; each replica draws dropout masks of its own from one common state.

    Raises:
        ValueError: where the batch cannot be shared out evenly.
    """

    def __init__(
        self, model: keras.Model, strategy: tf.distribute.Strategy, batch_size: int
    ) -> None:
        self._model = model
        self._views = Views(model)
        self._strategy = strategy
        self.replicas = strategy.num_replicas_in_sync
        self._local = len(strategy.extended.worker_devices)
        self.workers = self.replicas // self._local
        self._agree = tf.function(self._from_first, autograph=False)
        if batch_size % self.replicas:
            raise ValueError(
                f"expected a batch_size divisible by the {self.replicas} devices that share it, "
                f"received {batch_size}"
            )

    def run(self, step: Callable[..., Any], *batch: tf.Tensor) -> Any:
        results = self._strategy.run(step, args=batch)
        return tf.nest.map_structure(
            lambda value: self._strategy.experimental_local_results(value)[0], results
        )

    def part(self, batch: tf.Tensor) -> tf.Tensor:
        with tf.device("CPU:0"):  # the other parts need not travel to this device
            size = tf.shape(batch)[0] // self._local
            first = self._replica % self._local * size
            part = batch[first : first + size]
        if batch.shape[0] is not None:
            part.set_shape([batch.shape[0] // self._local, *batch.shape[1:]])
        return part

    def mean(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        context = tf.distribute.get_replica_context()
        return list(context.all_reduce(tf.distribute.ReduceOp.MEAN, tensors))

    def watch(self, tape: tf.GradientTape) -> list[Any]:
        weights = [tf.convert_to_tensor(w.value) for w in self._model.trainable_variables]
        tape.watch(weights)
        return weights

    def forward(self, weights: list[Any], images: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        states = [
            tf.convert_to_tensor(state.value) + self._offset(state)
            for state in self._model.non_trainable_variables
        ]
        model = self._views.of(tuple(images.shape[1:]))
        probabilities, states = model.stateless_call(weights, states, images, training=True)
        return probabilities, [tf.stop_gradient(state) for state in states]

    def keep(self, states: list[tf.Tensor]) -> None:
        pairs = list(zip(self._model.non_trainable_variables, states, strict=True))
        averages = [pair for pair in pairs if pair[1].dtype.is_floating]
        means = self.mean([state for _, state in averages]) if averages else []
        for (variable, _), mean in zip(averages, means, strict=True):
            _write(variable, mean)
        for variable, state in pairs:
            if not state.dtype.is_floating:
                _write(variable, state - self._offset(variable))

    def agree(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(self._agree(tf.constant(values, tf.float64)))

    def _from_first(self, values: tf.Tensor) -> tf.Tensor:
        def step(values: tf.Tensor) -> tf.Tensor:
            told = tf.where(self._replica == 0, values, tf.zeros_like(values))
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, told)

        return self.run(step, values)

    @property
    def _replica(self) -> tf.Tensor:
        return tf.convert_to_tensor(
            tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32
        )

    def _offset(self, state: keras.Variable) -> tf.Tensor:
        """Return what a replica adds to a state: to the seed of a dropout generator, [seed,
        count].
        """
        dtype = state.value.dtype
        if dtype.is_floating:
            return tf.zeros([], dtype)
        return tf.cast(self._replica, dtype) * tf.constant([_SEED_STRIDE, 0], dtype)


def _write(variable: keras.Variable, value: tf.Tensor) -> None:
    # By handle, which within a replica is that of its own copy.
    tf.raw_ops.AssignVariableOp(resource=variable.value.handle, value=value)
