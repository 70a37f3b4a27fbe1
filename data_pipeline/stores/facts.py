"""What one decode shows of each item, and the facts of many items as arrays."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from data_pipeline.datasets.labels import Kind, LabelMap
from data_pipeline.datasets.reading import read_image
from data_pipeline.datasets.sources import Item
from data_pipeline.problems import BadFileError, Problem

# Takes a decoded item: its image [h, w, C] and mask [h, w].
Sink = Callable[[NDArray[np.uint8], NDArray[np.uint8]], None]
A = TypeVar("A")
R = TypeVar("R")

THUMBNAIL = 32  # pixels a side


@dataclass(frozen=True, eq=False)
class Facts:
    """Facts about one item; the fields as in `Gathered`."""

    size: tuple[int, int]
    pixels: NDArray[np.int64]
    objects: NDArray[np.int64]
    thumbnail: NDArray[np.uint8]
    kind: Kind


@dataclass(frozen=True, eq=False)
class Gathered:
    """Facts about a run of items, of which n are good.

    Attributes:
        count: Items looked at.
        kept: int64 [n], positions of the good ones, ascending.
        kinds: str [n], how each mask was read.
        sizes: int32 [n, 2], height and width in pixels.
        pixels: int64 [n, C], pixels of each class.
        objects: int64 [n, C], 8-connected regions of each class; the background counts none.
        thumbnails: uint8 [n, 32, 32], the grey image shrunk by area averaging.
        problems: What is wrong with the bad ones.
    """

    count: int
    kept: NDArray[np.int64]
    kinds: NDArray[np.str_]
    sizes: NDArray[np.int32]
    pixels: NDArray[np.int64]
    objects: NDArray[np.int64]
    thumbnails: NDArray[np.uint8]
    problems: tuple[Problem, ...]

    @classmethod
    def of(cls, found: Sequence[Facts | list[Problem]], num_classes: int) -> Gathered:
        """Gather what `examine` returned of a run of items."""
        kept = [(i, f) for i, f in enumerate(found) if isinstance(f, Facts)]
        facts = [f for _, f in kept]
        return cls(
            count=len(found),
            kept=np.array([i for i, _ in kept], np.int64),
            kinds=np.array([f.kind for f in facts], np.str_),
            sizes=np.array([f.size for f in facts], np.int32).reshape(-1, 2),
            pixels=np.array([f.pixels for f in facts], np.int64).reshape(-1, num_classes),
            objects=np.array([f.objects for f in facts], np.int64).reshape(-1, num_classes),
            thumbnails=np.array([f.thumbnail for f in facts], np.uint8).reshape(
                -1, THUMBNAIL, THUMBNAIL
            ),
            problems=tuple(p for f in found if isinstance(f, list) for p in f),
        )

    @classmethod
    def join(cls, parts: Sequence[Gathered]) -> Gathered:
        starts = np.cumsum([0, *(part.count for part in parts)])
        positions = [part.kept + start for part, start in zip(parts, starts, strict=False)]
        return cls(
            count=int(starts[-1]),
            kept=np.concatenate([np.empty(0, np.int64), *positions]),
            problems=tuple(problem for part in parts for problem in part.problems),
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS},
        )

    def without(self, positions: Sequence[int], problems: Sequence[Problem]) -> Gathered:
        """These facts without some items that turn out to be bad."""
        if not positions:
            return self
        rows = ~np.isin(self.kept, positions)
        return replace(
            self,
            kept=self.kept[rows],
            problems=(*self.problems, *problems),
            **{name: getattr(self, name)[rows] for name in ARRAYS},
        )


ARRAYS = ("kinds", "sizes", "pixels", "objects", "thumbnails")
"""The fields of `Gathered` that hold a row for each good item."""


def examine(
    item: Item, labels: LabelMap, channels: int, sink: Sink | None = None
) -> Facts | list[Problem]:
    """Decode an item; hand it to the sink where it is good.

    Returns:
        Its facts, or all that is wrong with it.
    """
    image = mask = None
    problems = []
    try:
        image = read_image(item.image, channels)
    except BadFileError as error:
        problems.append(Problem(str(item.image), str(error)))
    try:
        mask = labels.read(item.mask)
    except BadFileError as error:
        problems.append(Problem(str(item.mask), str(error)))
    if image is None or mask is None:
        return problems
    if image.shape[:2] != mask.labels.shape:
        sizes = [" x ".join(map(str, shape[:2])) for shape in (image.shape, mask.labels.shape)]
        message = f"expected the image's size {sizes[0]} (upright), received {sizes[1]}"
        return [Problem(str(item.mask), message)]
    if sink is not None:
        sink(image, mask.labels)
    height, width = mask.labels.shape
    pixels, objects = _count(mask.labels, len(labels.classes))
    return Facts((height, width), pixels, objects, _thumbnail(image), mask.kind)


def _count(
    mask: NDArray[np.uint8], num_classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pixels and 8-connected regions of each class of a mask [h, w]; the background has
    none.
    """
    if mask.size < 2**24:  # OpenCV's histogram is float32, exact up to here, and much faster
        histogram = cv2.calcHist([mask], [0], None, [256], [0, 256]).ravel()
    else:
        histogram = np.bincount(mask.ravel(), minlength=256)
    pixels = histogram[:num_classes].astype(np.int64)
    objects = np.zeros(num_classes, np.int64)
    for label in np.flatnonzero(pixels[1:]) + 1:
        hit = cv2.inRange(mask, int(label), int(label))
        objects[label] = cv2.connectedComponents(hit, connectivity=8)[0] - 1
    return pixels, objects


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    side = (THUMBNAIL, THUMBNAIL)
    small = cv2.resize(image, side, interpolation=cv2.INTER_AREA)
    if small.ndim == 3:
        small = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    thumbnail: NDArray[np.uint8] = small
    return thumbnail


# Threads


def in_order(
    pool: ThreadPoolExecutor, function: Callable[[A], R], arguments: Iterable[A], ahead: int
) -> Iterator[R]:
    """As `pool.map`, with no more than `ahead` calls begun whose results nobody has taken.

    A hundred thousand futures at once would take more memory than what they return.
    """
    waiting: deque[Future[R]] = deque()
    for argument in arguments:
        waiting.append(pool.submit(function, argument))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextmanager
def decoding_threads(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that decode, and drop what has not begun when they are left by an exception.

    OpenCV lets go of the interpreter while it works; its own threads beside ours would only
    contend for the cores.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prepare")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(before)
