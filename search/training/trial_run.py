"""One training, epoch by epoch: what a trial runs in its worker and ``train`` runs by itself.

Per epoch: train, evaluate the whole validation split, save the model if it is the best, checkpoint,
append a line to metrics.jsonl. The checkpoint decides what has happened: the model takes its place
only after it, and the lines are brought back to it. So whatever moment the process dies at, running
again loses at most the epoch in flight, and the files agree. An epoch that cannot be written, since
the disk is full, stays in memory: the next step writes it instead of training on.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.stores.store import Store
from data_pipeline.streams.feed import Feed, Reading
from data_pipeline.streams.pipeline import eval_dataset, train_dataset
from data_pipeline.streams.sharing import shared_dataset
from foundation.files import put_link, write_text
from model.cost import estimate_cost
from model.distribution import scope_of, worker_of
from model.flexunet import build_flexunet
from model.inference import Predictor
from model.latency import measure_latency
from model.training import CheckpointError, Trainer, TrainResult, ValidationResult
from results.analysis import scores
from results.records import file_names
from results.records.epochs import METRICS, Epoch, EpochInput, Memory, Seconds, best_of
from search.config.objectives import objective_value
from search.config.trial import TrialConfig
from search.errors import SupersededError
from search.interfaces.messages import SharedInput
from search.process.hardware import this_worker
from search.process.memory import MemoryMeter

LAST = file_names.LAST
PREVIOUS = file_names.PREVIOUS
OWNER = "owner"


class TrialRun:
    """The training of one config in one folder; continues from the folder's last checkpoint.

    Args:
        config: The constants.
        store: The prepared data.
        folder: For metrics.jsonl, last.npz, previous.npz and best.keras; made where it is missing.
        threads: CPU threads of the input pipeline.
        owner: Who trains here. The folder is claimed under this name, and whoever claimed it
            before, such as a worker cut off from its driver, can write no more. None: no claim.
        shared: The pipeline that is shared with other trials. None: one of its own, seeded.
        validate: Whether each epoch is validated. If not, ``best`` is the last epoch, early
            stopping is off, and ``reduce_on_plateau`` goes by the training loss.
        strategy: What shares each batch among devices or workers. None: a single device.
        writes: Whether this process writes the folder: of several workers one does, the others go
            along with it.

    Attributes:
        notes: What of the folder could not be used, and where training goes on, in words.
    """

    def __init__(
        self,
        config: TrialConfig,
        store: Store,
        folder: Path,
        threads: int = 1,
        owner: str | None = None,
        shared: SharedInput | None = None,
        validate: bool = True,
        strategy: tf.distribute.Strategy | None = None,
        writes: bool = True,
    ) -> None:
        self._memory = MemoryMeter()
        self._worker = this_worker()
        self._writes = writes
        self._shard = worker_of(strategy)
        self.config = config
        self.folder = folder
        self.notes: list[str] = []
        self._validate = validate
        self.epochs: list[Epoch] = []
        self._owner = owner
        self._unwritten: Epoch | None = None
        self._store = store
        self._threads = threads
        self.cost = estimate_cost(config.model, store.image_shape, len(store.classes))
        self._steps = config.steps(store.splits["train"].count, store.image_shape)
        with scope_of(strategy):
            self._model = build_flexunet(
                config.model,
                store.image_shape,
                len(store.classes),
                seed=config.seed,
                precision=config.train.precision,
            )
        self._trainer = Trainer(
            self._model,
            config.train,
            class_pixels=store.class_pixels("train").tolist(),
            steps_per_epoch=self._steps,
            strategy=strategy,
        )
        if writes:
            folder.mkdir(parents=True, exist_ok=True)
        if owner is not None:
            write_text(folder / OWNER, owner)
        self._restore()
        self._shared = shared
        self._feed: Feed | None = None
        self._fed: AugmentConfig | None = None
        self._validation = (
            eval_dataset(
                store, "valid", config.validation_batch(store.image_shape), threads=threads
            )
            if validate
            else None
        )

    @property
    def best(self) -> Epoch | None:
        """The epoch with the highest objective; the earliest of equals."""
        return self._best_of(self.epochs)

    def _best_of(self, epochs: Sequence[Epoch]) -> Epoch | None:
        if self._validate:
            return best_of(epochs)
        return epochs[-1] if epochs else None

    @cached_property
    def costs(self) -> dict[str, float]:
        """What the model costs; milliseconds an image measured once, where the study needs it."""
        costs: dict[str, float] = {
            "parameters": self.cost.parameters,
            "flops": self.cost.flops,
            "activation_bytes": self.cost.activation_bytes,
        }
        if self.config.measure_latency:
            costs["latency_ms"] = measure_latency(self._model, self._store.image_shape)
        return costs

    @property
    def done(self) -> bool:
        """Whether all epochs are trained, or early stopping has had its patience."""
        epoch, train = len(self.epochs), self.config.train
        patience = train.early_stopping_patience
        if epoch >= train.epochs or patience is None or not self._validate:
            return epoch >= train.epochs
        return epoch - watched_epoch(self.epochs, self.config) >= patience

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict with the weights as they are validated.

        Args:
            images: uint8 [B, H, W, C], of the store.

        Returns:
            float32 [B, H, W, classes].
        """
        with self._trainer.averaged():
            return self._predictor.predict(images)

    @cached_property
    def _predictor(self) -> Predictor:
        return Predictor(self._model)

    def step(self) -> Epoch:
        """Train and evaluate one epoch and write it; or write the one that could not be.

        Raises:
            model.training.NonFiniteLoss: where the loss is no longer a number.
            OSError: where the epoch cannot be written; the next call tries again.
            SupersededError: where another process has claimed the folder.
        """
        again = self._unwritten is not None
        epoch = self._unwritten or self._train()
        self._unwritten = epoch
        self._write(epoch, again)
        self._unwritten = None
        return epoch

    def _train(self) -> Epoch:
        started = time.perf_counter()
        feed = self._training_feed()
        trained = self._trainer.train_epoch(feed)
        reading = feed.account()
        evaluation = None
        if self._validation is not None:
            evaluation = self._trainer.evaluate(self._validation)
        self._trainer.end_epoch(evaluation.loss if evaluation else trained.loss)
        seconds = Seconds(
            train=round(trained.seconds, 3),
            validate=0.0 if evaluation is None else round(evaluation.seconds, 3),
            input=round(reading.seconds, 3),
            total=round(time.perf_counter() - started, 3),
        )
        return self._epoch(trained, evaluation, reading, seconds)

    def _write(self, epoch: Epoch, again: bool) -> None:
        if not self._writes:
            self.epochs = [*self.epochs, epoch]
            return
        self.check_owner()
        if self.epochs[-1:] != [epoch]:
            epochs = [*self.epochs, epoch]
            if self._best_of(epochs) is epoch:
                with self._trainer.averaged():
                    self._model.save(self._candidate(epoch.epoch))
            self._keep_previous()
            self._trainer.save(self.folder / LAST, {"records": [e.plain() for e in epochs]})
            self.epochs = epochs
        self._publish_best()
        if again:  # the line may be there in part
            self._write_lines()
            return
        with open(self.folder / METRICS, "a", encoding="utf-8") as file:
            file.write(epoch.line())

    def _write_lines(self) -> None:
        write_text(self.folder / METRICS, "".join(epoch.line() for epoch in self.epochs))

    def check_owner(self) -> None:
        """Raise SupersededError where another process has claimed the folder."""
        if self._owner is None:
            return
        owner = (self.folder / OWNER).read_text(encoding="utf-8")
        if owner != self._owner:
            raise SupersededError(
                f"expected {self.folder} to be ours, {self._owner}; it is {owner}'s"
            )

    def _keep_previous(self) -> None:
        """Keep the last checkpoint beside the next one: should that turn out broken, it serves."""
        if (self.folder / LAST).exists():
            put_link(self.folder / LAST, self.folder / PREVIOUS)

    def _training_feed(self) -> Feed:
        """Return the epoch's batches: the last one's stream goes on, unless its windows grow."""
        augment = self.config.augment_at(len(self.epochs))
        if self._feed is None or augment != self._fed:
            self.close()
            self._fed = augment
            shared = self._shared
            self._feed = (
                Feed(self._own_batches)
                if shared is None
                else Feed(self._own_batches, self._shared_batches(shared), shared.patience)
            )
        return self._feed

    def _shared_batches(self, shared: SharedInput) -> Callable[[], Any]:
        """Return what builds the shared batches.

        It holds nothing of the trial: where TensorFlow hangs, so does the thread that reads.
        """
        return partial(
            shared_dataset,
            shared.stream,
            shared.trainer,
            self.config.train.batch_size,
            most_requests=shared.most_requests,
        )

    def _own_batches(self) -> Any:
        """Return batches that are this trial's alone; a resumed trial goes on with the next
        ones.
        """
        batch_size = self.config.train.batch_size
        return train_dataset(
            self._store,
            self.config.augment_at(len(self.epochs)),
            batch_size,
            seed=self.config.seed,
            start=len(self.epochs) * self._steps * batch_size,
            threads=self._threads,
            shard=self._shard,
        )

    def close(self) -> None:
        """Let go of the training data's streams; nothing can be trained after it."""
        if self._feed is not None:
            self._feed.close()

    def _epoch(
        self,
        trained: TrainResult,
        evaluation: ValidationResult | None,
        reading: Reading,
        seconds: Seconds,
    ) -> Epoch:
        window = self.config.augment_at(len(self.epochs)).window_shape(self._store.image_shape)
        cost = estimate_cost(self.config.model, window, len(self._store.classes))
        done = cost.training_flops * trained.images
        now = datetime.now(UTC)
        # Origins as strings: JSON has no other keys.
        streams = {str(origin): made for origin, made in reading.streams.items()}
        return Epoch(
            epoch=len(self.epochs) + 1,
            train_loss=_number(trained.loss),
            learning_rate=_number(trained.learning_rate),
            **({"dice": {}} if evaluation is None else self._scores(evaluation)),
            seconds=seconds,
            input=EpochInput(**{**asdict(reading), "streams": streams}),
            images_per_second=round(trained.images / trained.seconds, 1),
            # Compares nodes; that models of other shapes reach others, results/records/pace.py
            # allows for.
            gflops_per_second=round(done / trained.seconds / 1e9, 6),
            memory=self._memory_held(),
            time=now.replace(microsecond=now.microsecond // 1000 * 1000),  # as a line has it
            worker=self._worker,
        )

    def _memory_held(self) -> Memory:
        """Return the bytes that the process held before the model was built, and at most since.

        The peak is None where it is not known, or where the model is in a GPU's memory.
        """
        on_gpu = bool(tf.config.get_visible_devices("GPU"))
        return Memory(self._memory.before, None if on_gpu else self._memory.peak())

    def _scores(self, evaluation: ValidationResult) -> dict[str, Any]:
        """Return what an epoch says of the validation."""
        classes = self._store.classes
        statistics = evaluation.statistics
        dice = scores.dice(statistics.counts)
        soft = scores.soft_dice(statistics.soft)
        objective = _number(
            objective_value(self.config.objective, dice, classes, self.config.class_weights)
        )
        pruning_values = {
            "objective": objective,
            "soft_foreground_dice": _number(scores.mean_foreground(soft)),
            "negative_validation_loss": _number(-evaluation.loss),
        }
        return {
            "validation_loss": _number(evaluation.loss),
            "objective": objective,
            "pruning_value": pruning_values[self.config.pruning_metric],
            "mean_foreground_dice": _number(scores.mean_foreground(dice)),
            "dice": dict(zip(classes, map(_number, dice), strict=True)),
            "soft_dice": dict(zip(classes, map(_number, soft), strict=True)),
            "counts": dict(zip(classes, map(tuple, statistics.counts.tolist()), strict=True)),
            "pooled_dice": _number(statistics.true_probability / max(statistics.pixels, 1)),
        }

    def _candidate(self, epoch: int) -> Path:
        """Return where the model of an epoch waits for its checkpoint. Keras goes by the suffix."""
        return self.folder / f".best.{epoch}.keras"

    def _publish_best(self) -> None:
        """Let the best epoch's model take its place, if it is not there; remove other ones."""
        best = self.best
        if best is not None and self._candidate(best.epoch).exists():
            os.replace(self._candidate(best.epoch), self.folder / file_names.MODEL)
        for left in self.folder.glob(".best.*.keras"):
            left.unlink()

    def _restore(self) -> None:
        """Continue after the last whole checkpoint; the other files are brought back to it."""
        if not self._writes:
            self._follow()
            return
        for unfinished in self.folder.glob(f".{LAST}.*"):
            unfinished.unlink()
        for name in (LAST, PREVIOUS):
            checkpoint = self.folder / name
            if checkpoint.exists() and self._restore_from(checkpoint):
                break
        if self.notes or (self.epochs and not self.done):
            after = f"after epoch {len(self.epochs)}" if self.epochs else "from the start"
            self.notes.append(f"{self.folder}: training goes on {after}")
        self._publish_best()
        self._write_lines()

    def _follow(self) -> None:
        """Restore what the worker that writes restores, whether or not it has put it right."""
        for name in (LAST, PREVIOUS):
            try:
                self._take_up(self.folder / name)
            except CheckpointError:  # broken, or set aside by now
                continue
            return

    def _take_up(self, checkpoint: Path) -> None:
        self.epochs = [Epoch.of(each) for each in self._trainer.restore(checkpoint)["records"]]

    def _restore_from(self, checkpoint: Path) -> bool:
        try:
            self._take_up(checkpoint)
        except CheckpointError as error:
            if isinstance(error.__cause__, OSError):  # out of reach, which is not broken
                raise error.__cause__ from error
            # An older one loses epochs, going on with broken weights would lose the truth.
            broken = checkpoint.with_suffix(".broken.npz")
            os.replace(checkpoint, broken)
            note = f"{error}; kept as {broken.name}"
            self.notes.append(note)
            with open(self.folder / "checkpoint_error.txt", "a", encoding="utf-8") as file:
                file.write(f"{note}\n")
            return False
        return True


def watched_epoch(epochs: Sequence[Epoch], config: TrialConfig) -> int:
    """Return the epoch since which early stopping waits: its metric's best, the earliest of equals.

    0 where none has a defined value.
    """
    if config.train.early_stopping_metric == "objective":
        best = best_of(epochs)
    else:
        defined = [each for each in epochs if each.validation_loss is not None]
        best = min(defined, key=lambda each: each.validation_loss or 0.0, default=None)
    return 0 if best is None else best.epoch


def _number(value: float) -> float | None:
    """Return a float that JSON can hold: undefined becomes null."""
    return float(value) if math.isfinite(value) else None
