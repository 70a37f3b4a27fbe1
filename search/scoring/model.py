"""One model on the images of a split: its counts, image by image, at the images' own size."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from data_pipeline.config import DataConfig
from data_pipeline.datasets.resize import Mode
from data_pipeline.datasets.tiling import flipped
from data_pipeline.problems import DataError, Problem
from data_pipeline.stores.facts import decoding_threads, in_order
from data_pipeline.stores.originals import Originals
from data_pipeline.stores.store import Store
from results.records.evaluation import Evaluation, Resolution
from results.records.schemas import Flips
from search.scoring.counting import ImageCounts, count_image

_log = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Shown:
    """An image as a model sees it, with its truth at the size at which it is counted.

    Attributes:
        record: uint8 [H, W, C].
        mask: uint8 [h, w], class indices, 255 where not counted.
        image: uint8 [h, w, C]; None where it was not asked for.
    """

    record: Pixels
    mask: Pixels
    image: Pixels | None = None


@dataclass(frozen=True, eq=False)
class Images:
    """The images of a split, as they are scored and shown.

    Attributes:
        store: The prepared data: what a model sees.
        config: How the images were resized.
        split: train, valid or test.
        originals: The source files; None: the records are used instead.
        why: Why there are none.
    """

    store: Store
    config: DataConfig
    split: str
    originals: Originals | None
    why: str = ""

    @classmethod
    def open(cls, store: Store, config: DataConfig, split: str) -> Images:
        """Find the source files of a split, if they are in reach.

        Raises:
            data_pipeline.problems.DataError: where the store has no such split.
        """
        if split not in store.splits:
            message = f"expected a split of {sorted(store.splits)}, received {split!r}"
            raise DataError([Problem(str(store.path), message)])
        try:
            return cls(store, config, split, Originals(store, config, split))
        except (DataError, OSError) as error:
            return cls(store, config, split, None, str(error))

    def prepared(self, why: str) -> Images:
        """Return them at the size of the records."""
        return Images(self.store, self.config, self.split, None, why)

    @property
    def resolution(self) -> Resolution:
        return "prepared" if self.originals is None else "native"

    def mask(self, index: int) -> Pixels:
        """Return a mask, uint8 [h, w], 255 where not counted."""
        if self.originals is None:
            return self.store.read(self.split, index)[1]
        return self.originals.read_mask(index)

    def read(self, index: int) -> tuple[Pixels, Pixels]:
        """Return an image, uint8 [h, w, channels], and its mask, uint8 [h, w]."""
        if self.originals is None:
            return self.store.read(self.split, index)
        return self.originals.read(index)

    @property
    def mode(self) -> Mode | None:
        """How the images were resized; None: they are counted at the size of the records."""
        return None if self.originals is None else self.config.resize

    def shown(self, index: int) -> Shown:
        """Return an image as a model sees it, and its truth."""
        return Shown(self.store.read(self.split, index)[0], self.mask(index))


def score_model(
    model_path: Path,
    store: Store,
    config: DataConfig,
    split: str,
    *,
    name: str,
    trial: int | None,
    epoch: int | None,
    seed: int | None = None,
    fold: int | None = None,
    flips: Flips = "none",
    batch_size: int = 8,
    threads: int = 1,
    beat: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Count what a saved model predicts on every image of a split.

    The model sees the prepared records. Where the source images' masks can be read, its
    probabilities are brought back to each image's own size before the argmax; else everything is
    counted at the size of the records, and the evaluation says so (``resolution``).

    Args:
        model_path: A ``.keras`` file, such as a trial's best.keras.
        store: The prepared data. Of a fold's store, a record's stem is either the source's or
            ``<split of the source>/<stem of the source>``.
        config: Where the source is, and how it was resized.
        split: train, valid or test.
        name, trial, epoch, seed, fold, flips: As
            :class:`results.records.evaluation.Evaluation` keeps them.
        batch_size: Images a step; a float32 [B, H, W, classes] of probabilities is held.
        threads: Threads that read masks and count.
        beat: Called before each step.

    Raises:
        model.inference.ModelError: where the file is no model, or one of other images or classes.
        data_pipeline.problems.DataError: where the store has no such split.
    """
    from model.inference import Predictor, load_model

    images = Images.open(store, config, split)
    model = Predictor(load_model(model_path, store.image_shape, store.num_classes))

    def ask(shown: Pixels) -> NDArray[np.float32]:
        beat()
        return model.predict(shown)

    answer = flipped(ask, flips)
    images, counts = at_best(images, lambda i: list(count_images(i, answer, batch_size, threads)))
    if images.why:
        _log.warning("%s is scored at the size of the prepared data: %s", name, images.why)
    return Evaluation(
        name=name,
        split=split,
        resolution=images.resolution,
        classes=store.classes,
        images=tuple(f"{split}/{stem}" for stem in store.splits[split].stems),
        groups=store.splits[split].groups,
        **arrays_of(counts),
        fingerprint=store.fingerprint,
        trial=trial,
        epoch=epoch,
        seed=seed,
        fold=fold,
        flips=flips,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def arrays_of(counts: Sequence[ImageCounts]) -> dict[str, Any]:
    """Return what an evaluation keeps of its images' counts, by field."""
    return {
        "sizes": np.array([found.size for found in counts], np.int64).reshape(-1, 2),
        "true_probability": np.array([found.true_probability for found in counts], np.float64),
        "cells": _table([found.cells for found in counts]),
        "objects": _table([found.objects for found in counts]),
        "predicted_objects": _table([found.predicted_objects for found in counts]),
    }


Ask = Callable[[Pixels], NDArray[np.float32]]


def at_best(images: Images, work: Callable[[Images], T]) -> tuple[Images, T]:
    """Do a work at the images' own size; of files that turn out bad, at that of the records."""
    try:
        return images, work(images)
    except (DataError, OSError) as error:
        if images.originals is None:
            raise
        images = images.prepared(str(error))
        return images, work(images)


def predicted(
    images: Iterable[tuple[int, Shown]], ask: Ask, batch_size: int
) -> Iterator[tuple[int, Shown, NDArray[np.float32]]]:
    """Ask a model for images, so many at a time; yield each with what it predicts.

    Args:
        images: Each with its index.
        ask: uint8 [B, H, W, C] to probabilities, float32 [B, H, W, classes].
        batch_size: B; the last batch may be smaller.
    """
    waiting = iter(images)
    while batch := list(itertools.islice(waiting, batch_size)):
        found = ask(np.stack([shown.record for _, shown in batch]))
        for (index, shown), probabilities in zip(batch, found, strict=True):
            yield index, shown, probabilities


def count_images(images: Images, ask: Ask, batch_size: int, threads: int) -> Iterator[ImageCounts]:
    """Yield the counts of every image, in order; masks are read and counted in threads."""
    indices = range(images.store.splits[images.split].count)
    with decoding_threads(threads) as pool:
        decoded = enumerate(in_order(pool, images.shown, indices, 2 * batch_size))
        found = predicted(decoded, ask, batch_size)
        yield from in_order(
            pool, lambda each: count_image(each[2], each[1].mask, images.mode), found, 2 * threads
        )


def _table(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Join the images' rows, each behind its image's number: int64 [rows, 4]."""
    numbers = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    rows = np.concatenate([np.zeros((0, 3), np.int64), *parts])
    return np.column_stack([numbers, rows]).astype(np.int64)
