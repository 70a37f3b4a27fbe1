"""Masks of images without masks: whole or tile by tile, at the images' own size.

Small images are decoded and written in threads; of large ones there is one in memory at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_pipeline.facts import decoding_threads, in_order
from data_pipeline.problems import BadFileError
from data_pipeline.reading import read_image, read_size
from data_pipeline.resize import resize_image, restore
from data_pipeline.tiling import Tiling, blended, flipped
from search.counting import decide
from search.model_facts import ModelFacts
from search.predict_folder import Folder, Outcome
from search.predict_inputs import Input

# An image of more than so many times the model's size, in either side, is not made that small.
SHRUNK = 8
_SMALL = 2**24  # pixels of an image of which several may be in memory

Pixels = NDArray[np.uint8]
Probabilities = NDArray[np.float32]
Ask = Callable[[Pixels], Probabilities]


@dataclass(frozen=True)
class Options:
    """How images are predicted, and what is written.

    Attributes:
        tiles: never: each image is resized to the model's size. always: it is predicted at its own
            scale, in overlapping tiles. auto: in tiles where a side is more than 8 times the
            model's.
        overlap: Least share of a tile that neighbours have in common.
        scale: Size at which the model sees a tiled image, relative to its own.
        flips: none, horizontal or all: mirror images whose answers are averaged.
        probabilities: Whether to write them.
        overlays: Whether to write pictures of the masks over the images.
        batch_size: Images or tiles a step.
        threads: Threads that decode and write.
    """

    tiles: Literal["auto", "always", "never"] = "auto"
    overlap: float = 0.25
    scale: float = 1.0
    flips: Literal["none", "horizontal", "all"] = "none"
    probabilities: bool = False
    overlays: bool = True
    batch_size: int = 8
    threads: int = 1


def is_tiled(shape: tuple[int, int], size: tuple[int, int], tiles: str) -> bool:
    """Tell whether an image of (height, width) is predicted in tiles by a model of ``size``."""
    if tiles != "auto":
        return tiles == "always"
    return any(side > SHRUNK * own for side, own in zip(shape, size, strict=True))


def predict(
    ask: Ask, facts: ModelFacts, folder: Folder, inputs: Sequence[Input], options: Options
) -> Iterator[Outcome]:
    """Predict images one after the other and write what is asked for; a bad file ends nothing.

    Args:
        ask: The model: uint8 [B, H, W, C] to float32 [B, H, W, classes].
        facts: What is known of it.
        folder: Where to write.
        inputs: The images.
        options: How.

    Yields:
        What came of each image, in their order.

    Raises:
        OSError: naming the file, where one cannot be written; what was written before stays.
        ValueError: for options out of range.
    """
    work = _Work(flipped(ask, options.flips), facts, folder, options)
    with decoding_threads(options.threads) as pool:
        for group in work.groups(in_order(pool, _measured, inputs, 4 * options.threads)):
            if isinstance(group, Outcome):
                yield group
            elif work.is_tiled(group[0]):
                yield work.tiled(group[0])
            else:
                yield from work.whole(group, pool)


def _measured(each: Input) -> Input | Outcome:
    try:
        return replace(each, shape=read_size(each.path))
    except BadFileError as error:
        return Outcome(each.path, error=str(error))


class _Work:
    """Predicts with one model into one folder."""

    def __init__(self, ask: Ask, facts: ModelFacts, folder: Folder, options: Options) -> None:
        self._ask = ask
        self._folder = folder
        self._options = options
        self._channels = facts.image_shape[2]
        self._size = facts.image_shape[:2]
        self._mode = facts.resize

    def is_tiled(self, each: Input) -> bool:
        return is_tiled(each.shape, self._size, self._options.tiles)

    def groups(self, measured: Iterator[Input | Outcome]) -> Iterator[list[Input] | Outcome]:
        """Yield what is predicted together: a batch of small images, or one that is large."""
        waiting: list[Input] = []
        for each in measured:
            alone = isinstance(each, Outcome) or self._is_large(each)
            if waiting and (alone or len(waiting) == self._options.batch_size):
                yield waiting
                waiting = []
            if isinstance(each, Outcome):
                yield each
            elif alone:
                yield [each]
            else:
                waiting.append(each)
        if waiting:
            yield waiting

    def _is_large(self, each: Input) -> bool:
        return self.is_tiled(each) or each.shape[0] * each.shape[1] > _SMALL

    def whole(self, group: Sequence[Input], pool: ThreadPoolExecutor) -> list[Outcome]:
        """Predict images as they were seen in training: resized to the model's size."""
        started = time.perf_counter()
        decoded = list(pool.map(self._decode, group))
        records = [image[1] for image in decoded if not isinstance(image, Outcome)]
        answers = iter(self._ask(np.stack(records)) if records else ())
        tasks = [
            image
            if isinstance(image, Outcome)
            else pool.submit(self._finish, each, image[0], next(answers))
            for each, image in zip(group, decoded, strict=True)
        ]
        outcomes = [task if isinstance(task, Outcome) else task.result() for task in tasks]
        for outcome in outcomes:
            outcome.seconds = (time.perf_counter() - started) / len(group)
        return outcomes

    def _decode(self, each: Input) -> tuple[Pixels, Pixels] | Outcome:
        """Return an image, uint8 [h, w, C], and what the model sees of it, uint8 [H, W, C]."""
        try:
            image = read_image(each.path, self._channels)
        except BadFileError as error:
            return Outcome(each.path, each.shape, error=str(error))
        return image, resize_image(image, self._size, self._mode)

    def _finish(self, each: Input, image: Pixels, probabilities: Probabilities) -> Outcome:
        shape = (image.shape[0], image.shape[1])
        # Scoring decides by the same function; here it is asked for a truth's size alone.
        labels, _ = decide(probabilities, np.zeros(shape, np.uint8), self._mode)
        if self._options.probabilities:
            for _ in self._folder.keep(
                each.name, shape, iter([restore(probabilities, shape, self._mode)])
            ):
                pass
        return self._write(each, image, iter([labels]), "whole")

    def tiled(self, each: Input) -> Outcome:
        """Predict an image at its own scale, tile by tile."""
        started = time.perf_counter()
        options = self._options
        try:
            image = read_image(each.path, self._channels)
        except BadFileError as error:
            return Outcome(each.path, each.shape, error=str(error))
        shape = (image.shape[0], image.shape[1])
        tiling = Tiling.plan(shape, self._size, options.overlap, options.scale)
        bands = blended(image, tiling, self._ask, options.batch_size)
        if options.probabilities:
            bands = self._folder.keep(each.name, shape, bands)
        labels = (band.argmax(axis=2).astype(np.uint8) for band in bands)
        outcome = self._write(each, image, labels, "tiled")
        outcome.seconds = time.perf_counter() - started
        return outcome

    def _write(self, each: Input, image: Pixels, bands: Iterator[Pixels], how: str) -> Outcome:
        pixels = self._folder.write_mask(each.name, image, bands, self._options.overlays)
        return Outcome(each.path, (image.shape[0], image.shape[1]), how, pixels)
