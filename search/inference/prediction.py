"""Masks of images without masks: whole or tile by tile, at the images' own size.

Small images go in groups: while the model is asked for one, threads decode the next and write the
one before. Of large images there is one in memory at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_pipeline.datasets.reading import LARGE, read_image, read_size
from data_pipeline.datasets.resize import resize_image, restore
from data_pipeline.datasets.tiling import Tiling, blended, flipped
from data_pipeline.problems import BadFileError
from data_pipeline.stores.facts import decoding_threads, in_order
from results.records.schemas import Flips
from search.inference.model_metadata import ModelMetadata
from search.inference.prediction_folder import Folder, PredictedImage
from search.inference.prediction_inputs import InputImage
from search.scoring.counting import decide

# An image of more than so many times the model's size, in either side, is not made that small.
SHRUNK = 8
_SMALL = 2**24  # pixels of a group; an image of more is large

Pixels = NDArray[np.uint8]
Probabilities = NDArray[np.float32]
Ask = Callable[[Pixels], Probabilities]


@dataclass(frozen=True)
class PredictOptions:
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
    flips: Flips = "none"
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
    ask: Ask,
    facts: ModelMetadata,
    folder: Folder,
    inputs: Sequence[InputImage],
    options: PredictOptions,
    advance: Callable[[float], None] = lambda share: None,
) -> Iterator[PredictedImage]:
    """Predict images one after the other and write what is asked for; a bad file ends nothing.

    Args:
        ask: The model: uint8 [B, H, W, C] to float32 [B, H, W, classes].
        facts: What is known of it.
        folder: Where to write.
        inputs: The images.
        options: How.
        advance: Called with the share, 0 to 1, of a tiled image that the model has seen.

    Yields:
        What came of each image, in their order.

    Raises:
        OSError: naming the file, where one cannot be written; what was written before stays.
        ValueError: for options out of range.
    """
    work = _Work(flipped(ask, options.flips), facts, folder, options, advance)
    with decoding_threads(options.threads) as pool:
        groups = work.groups(in_order(pool, _measured_ahead, inputs, 4 * options.threads))
        yield from work.outcomes(groups, pool)


def _measured_ahead(each: InputImage) -> InputImage | PredictedImage:
    """Measure an image, but a large file, which is read when its turn comes: one at a time."""
    try:
        large = each.path.stat().st_size > LARGE
    except OSError:  # reading it will tell
        large = False
    return each if large else _measured(each)


def _measured(each: InputImage) -> InputImage | PredictedImage:
    try:
        return replace(each, shape=read_size(each.path))
    except BadFileError as error:
        return PredictedImage(each.path, error=str(error))


@dataclass(frozen=True, eq=False)
class _Decoded:
    """An image, uint8 [h, w, C], what the model sees of it, uint8 [H, W, C], and the seconds."""

    image: Pixels
    record: Pixels
    seconds: float


_Decoding = list[tuple[InputImage, Future[_Decoded | PredictedImage]]]


class _Work:
    """Predicts with one model into one folder."""

    def __init__(
        self,
        ask: Ask,
        facts: ModelMetadata,
        folder: Folder,
        options: PredictOptions,
        advance: Callable[[float], None],
    ) -> None:
        self._ask = ask
        self._folder = folder
        self._options = options
        self._advance = advance
        self._channels = facts.image_shape[2]
        self._size = facts.image_shape[:2]
        self._mode = facts.resize

    def _is_tiled(self, each: InputImage) -> bool:
        return is_tiled(each.shape, self._size, self._options.tiles)

    def groups(
        self, measured: Iterator[InputImage | PredictedImage]
    ) -> Iterator[list[InputImage] | InputImage | PredictedImage]:
        """Yield what is predicted together: a batch of small images, or one that is large."""
        waiting: list[InputImage] = []
        pixels = 0
        for each in measured:
            if isinstance(each, InputImage) and not each.shape[0]:
                each = _measured(each)
            area = 0 if isinstance(each, PredictedImage) else each.shape[0] * each.shape[1]
            alone = isinstance(each, PredictedImage) or self._is_tiled(each) or area > _SMALL
            full = len(waiting) == self._options.batch_size or pixels + area > _SMALL
            if waiting and (alone or full):
                yield waiting
                waiting, pixels = [], 0
            if alone or isinstance(each, PredictedImage):
                yield each
            else:
                waiting.append(each)
                pixels += area
        if waiting:
            yield waiting

    def outcomes(
        self,
        groups: Iterator[list[InputImage] | InputImage | PredictedImage],
        pool: ThreadPoolExecutor,
    ) -> Iterator[PredictedImage]:
        """Yield what came of each: a group is decoded ahead of the model, one written behind."""
        behind: list[Future[PredictedImage] | PredictedImage] = []
        for step in self._decoding(groups, pool):
            if isinstance(step, list):
                asked = self._asked(step, pool)
                yield from _results(behind)
                behind = asked
                continue
            yield from _results(behind)
            behind = []
            yield step if isinstance(step, PredictedImage) else self._alone(step)
        yield from _results(behind)

    def _decoding(
        self,
        groups: Iterator[list[InputImage] | InputImage | PredictedImage],
        pool: ThreadPoolExecutor,
    ) -> Iterator[_Decoding | InputImage | PredictedImage]:
        """Yield the groups, the one behind it being decoded already."""
        before: _Decoding | InputImage | PredictedImage | None = None
        for group in groups:
            step: _Decoding | InputImage | PredictedImage = (
                [(each, pool.submit(self._decode, each)) for each in group]
                if isinstance(group, list)
                else group
            )
            if before is not None:
                yield before
            before = step
        if before is not None:
            yield before

    def _asked(
        self, group: _Decoding, pool: ThreadPoolExecutor
    ) -> list[Future[PredictedImage] | PredictedImage]:
        """Predict images as they were seen in training: resized to the model's size."""
        decoded = [(each, future.result()) for each, future in group]
        records = [image.record for _, image in decoded if isinstance(image, _Decoded)]
        started = time.perf_counter()
        answers = iter(self._ask(np.stack(records)) if records else ())
        share = (time.perf_counter() - started) / max(1, len(records))
        return [
            pool.submit(self._finish, each, image, next(answers), share)
            if isinstance(image, _Decoded)
            else image
            for each, image in decoded
        ]

    def _decode(self, each: InputImage) -> _Decoded | PredictedImage:
        started = time.perf_counter()
        try:
            image = read_image(each.path, self._channels)
        except BadFileError as error:
            return PredictedImage(each.path, each.shape, error=str(error))
        record = resize_image(image, self._size, self._mode)
        return _Decoded(image, record, time.perf_counter() - started)

    def _finish(
        self, each: InputImage, decoded: _Decoded, probabilities: Probabilities, seconds: float
    ) -> PredictedImage:
        """Write what the model said of an image, after so many seconds of it."""
        started = time.perf_counter()
        shape = (decoded.image.shape[0], decoded.image.shape[1])
        # Scoring decides by the same function; here it is asked for a truth's size alone.
        labels, _ = decide(probabilities, np.zeros(shape, np.uint8), self._mode)
        if self._options.probabilities:
            restored = iter([restore(probabilities, shape, self._mode)])
            for _ in self._folder.keep(each.name, shape, restored):
                pass
        outcome = self._write(each, decoded.image, iter([labels]), "whole")
        outcome.seconds = decoded.seconds + seconds + time.perf_counter() - started
        return outcome

    def _alone(self, each: InputImage) -> PredictedImage:
        """Predict a large image, with no other one in memory."""
        if self._is_tiled(each):
            return self._tiled(each)
        decoded = self._decode(each)
        if isinstance(decoded, PredictedImage):
            return decoded
        started = time.perf_counter()
        found = self._ask(decoded.record[np.newaxis])[0]
        return self._finish(each, decoded, found, time.perf_counter() - started)

    def _tiled(self, each: InputImage) -> PredictedImage:
        """Predict an image at its own scale, tile by tile."""
        started = time.perf_counter()
        options = self._options
        try:
            image = read_image(each.path, self._channels)
        except BadFileError as error:
            return PredictedImage(each.path, each.shape, error=str(error))
        shape = (image.shape[0], image.shape[1])
        tiling = Tiling.plan(shape, self._size, options.overlap, options.scale)
        seen = 0

        def advance(tiles: int) -> None:
            nonlocal seen
            seen += tiles
            self._advance(seen / tiling.count)

        bands = blended(image, tiling, self._ask, options.batch_size, advance)
        if options.probabilities:
            bands = self._folder.keep(each.name, shape, bands)
        labels = (band.argmax(axis=2).astype(np.uint8) for band in bands)
        outcome = self._write(each, image, labels, "tiled")
        outcome.seconds = time.perf_counter() - started
        return outcome

    def _write(
        self, each: InputImage, image: Pixels, bands: Iterator[Pixels], how: str
    ) -> PredictedImage:
        pixels = self._folder.write_mask(each.name, image, bands, self._options.overlays)
        return PredictedImage(each.path, (image.shape[0], image.shape[1]), how, pixels)


def _results(tasks: Sequence[Future[PredictedImage] | PredictedImage]) -> Iterator[PredictedImage]:
    for task in tasks:
        yield task if isinstance(task, PredictedImage) else task.result()
