"""The work of preparing, by shard: each is made by itself, anywhere, and made once.

A shard under way has a folder of its own, under a name that nobody else takes; when it is whole,
its files are renamed, the one with its facts last. So whoever is killed leaves a finished shard or
none, and two that make the same one (a lost node's task may come back) leave the same bytes.
"""

from __future__ import annotations

import os
import shutil
import socket
import uuid
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data_pipeline.config import Color, DataConfig
from data_pipeline.datasets.labels import LabelMap
from data_pipeline.datasets.resize import resize_image, resize_mask
from data_pipeline.datasets.sources import Dataset, Item
from data_pipeline.problems import Problem
from data_pipeline.stores.facts import (
    ARRAYS,
    Facts,
    Gathered,
    decoding_threads,
    examine,
    in_order,
)
from data_pipeline.stores.store import INCOMPLETE, ImageShape, Shard, ShardWriter, records_per_shard
from data_pipeline.stores.survey import AHEAD

UNDIVIDED = "undivided"


@dataclass(frozen=True)
class ShardTask:
    """A run of items whose records fill one shard.

    Attributes:
        folder: Where its files are put.
        fingerprint: Of the store that it is made for.
        root: Folder of the data set.
        split: Of its items; "undivided" where there is none yet.
        number: Of the shard within the split.
        items: Images and masks.
        classes: Class name to RGB colour.
        config: How to read and resize them.
    """

    folder: Path
    fingerprint: str
    root: Path
    split: str
    number: int
    items: tuple[Item, ...]
    classes: dict[str, Color]
    config: DataConfig

    @property
    def name(self) -> str:
        return f"{self.split}-{self.number:05d}"

    @property
    def image_shape(self) -> ImageShape:
        """(H, W, C) of the records."""
        return (*self.config.image_size, self.config.channels)

    @property
    def shard(self) -> Shard:
        """The files, with a slot for every item, the bad ones too."""
        images, masks = (self.folder / f"{self.name}.{kind}" for kind in ("images", "masks"))
        return Shard(images, masks, len(self.items))

    @property
    def facts(self) -> Path:
        """The file with what is known of its items."""
        return self.folder / f"{self.name}.facts.npz"


@dataclass(frozen=True)
class ShardDone:
    """A finished shard; all that a task returns.

    Attributes:
        name: As the task's.
        count: Items in it.
        made: Whether it was made now, and not found finished.
    """

    name: str
    count: int
    made: bool


class Across(Protocol):
    """What runs the tasks of a preparation on several machines."""

    def __call__(
        self, make: Callable[[ShardTask], ShardDone], tasks: Sequence[ShardTask]
    ) -> Generator[ShardDone, None, None] | None:
        """Yield what `make` returns of each task, in any order; None: make them all here.

        `make` and the tasks can be pickled, every task writes into its folder, and each may run
        more than once.
        """


@dataclass(frozen=True, eq=False)
class ShardFacts:
    """What is known of a finished shard.

    Attributes:
        gathered: Facts about its items.
        counts: int64 [n, C], pixels of each class of the n good ones at the store's resolution.
        checks: uint32 [n, 2], CRC-32 of their records, image and mask.
    """

    gathered: Gathered
    counts: NDArray[np.int64]
    checks: NDArray[np.uint32]


def shard_tasks(
    dataset: Dataset, config: DataConfig, folder: Path, fingerprint: str
) -> list[ShardTask]:
    """Return the work of a data set, in the order of its items."""
    size = records_per_shard((*config.image_size, config.channels))
    tasks = []
    names = [item.split or UNDIVIDED for item in dataset.items]
    for split in dict.fromkeys(names):
        first, count = names.index(split), names.count(split)  # items stand by split
        for number, start in enumerate(range(first, first + count, size)):
            items = dataset.items[start : min(start + size, first + count)]
            task = ShardTask(
                folder, fingerprint, dataset.root, split, number, items, dataset.classes, config
            )
            tasks.append(task)
    return tasks


def make_shard(task: ShardTask) -> ShardDone:
    """Make a shard in one thread, unless it is there."""
    (done,) = make_shards([task], 1, lambda count: None)
    return done


def make_shards(
    tasks: Sequence[ShardTask], workers: int, tick: Callable[[int], None]
) -> Generator[ShardDone, None, None]:
    """Make the shards that are not there yet, in threads: those of an item, not of a shard.

    Args:
        tasks: The shards, in order.
        workers: Threads.
        tick: Called with each number of items that is done, those of finished shards first.
    """
    with decoding_threads(workers) as pool, decoding_threads(1) as closer:
        left = []
        for task, there in zip(tasks, in_order(pool, is_finished, tasks, 2 * workers), strict=True):
            if there:
                tick(len(task.items))
                yield ShardDone(task.name, len(task.items), made=False)
            else:
                left.append(task)
        begun: list[_Maker] = []

        def slots() -> Iterator[tuple[_Maker, int]]:
            for task in left:
                begun.append(_Maker(task))
                yield from ((begun[-1], slot) for slot in range(len(task.items)))

        closing: list[Future[ShardDone]] = []
        try:
            for maker, found in in_order(pool, _examined, slots(), AHEAD * workers):
                maker.found.append(found)
                tick(1)
                if len(maker.found) == len(maker.task.items):
                    begun.remove(maker)
                    closing.append(closer.submit(maker.finish))
                    while len(closing) > 1:  # flushed to the disk while the next is decoded
                        yield closing.pop(0).result()
            yield from (future.result() for future in closing)
        finally:
            pool.shutdown(cancel_futures=True)
            for maker in begun:
                maker.drop()


def _examined(place: tuple[_Maker, int]) -> tuple[_Maker, Facts | list[Problem]]:
    maker, slot = place
    return maker, maker.examine(slot)


class _Maker:
    """Writes one shard's decoded items as records, and counts their pixels."""

    def __init__(self, task: ShardTask):
        self.task = task
        self.found: list[Facts | list[Problem]] = []
        self._labels = LabelMap(task.classes, task.config.color_tolerance)
        token = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._folder = task.folder / f".{task.name}.part-{token}"
        self._folder.mkdir()
        size = len(task.items)
        self._counts = np.zeros((size, len(task.classes)), np.int64)
        self._checks = np.zeros((size, 2), np.uint32)
        self._writer = ShardWriter(
            self._folder, task.split, task.image_shape, size, size, task.number
        )

    def examine(self, slot: int) -> Facts | list[Problem]:
        """Decode and writes one item; called from several threads at once."""
        sink = partial(self._record, slot)
        return examine(self.task.items[slot], self._labels, self.task.config.channels, sink)

    def _record(self, slot: int, image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
        size, mode = self.task.config.image_size, self.task.config.resize
        image, mask = resize_image(image, size, mode), resize_mask(mask, size, mode)
        classes = self._counts.shape[1]
        self._counts[slot] = np.bincount(mask.ravel(), minlength=classes)[:classes]
        self._writer.write(slot, image, mask)
        self._checks[slot] = [_check(image), _check(mask)]

    def finish(self) -> ShardDone:
        """Flush the files to the disk and gives them their names, the facts' last."""
        task = self.task
        try:
            (shard,) = self._writer.finish(range(len(task.items)))
            gathered = Gathered.of(self.found, len(task.classes))
            kept = gathered.kept
            facts = ShardFacts(gathered, self._counts[kept], self._checks[kept])
            _save(facts, task, self._folder / task.facts.name)
            os.replace(shard.images, task.shard.images)
            os.replace(shard.masks, task.shard.masks)
            os.replace(self._folder / task.facts.name, task.facts)
        finally:
            self.drop()
        return ShardDone(task.name, len(task.items), made=True)

    def drop(self) -> None:
        self._writer.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def is_finished(task: ShardTask) -> bool:
    """Return whether a shard is there, for this store, and every record is as it was written."""
    try:
        facts = read_facts(task)
        for path, shape, checks in zip(
            (task.shard.images, task.shard.masks),
            (task.image_shape, task.image_shape[:2]),
            facts.checks.T,
            strict=True,
        ):
            size = int(np.prod(shape))
            if path.stat().st_size != size * len(task.items):
                return False
            with path.open("rb") as file:
                for slot, check in zip(facts.gathered.kept.tolist(), checks, strict=True):
                    file.seek(slot * size)
                    if _check(file.read(size)) != check:
                        return False
    except INCOMPLETE:
        return False
    return True


def _check(record: Any) -> int:
    return zlib.crc32(record)


def read_facts(task: ShardTask) -> ShardFacts:
    """Read what is known of a finished shard.

    Raises:
        OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile: where the file is missing,
            damaged, or of another store.
    """
    with task.facts.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
        if str(file["fingerprint"]) != task.fingerprint or int(file["count"]) != len(task.items):
            raise ValueError(f"{task.facts}: expected the facts of {task.fingerprint[:16]}")
        gathered = Gathered(
            count=len(task.items),
            kept=file["kept"],
            # Within the data set, which may have been moved meanwhile.
            problems=tuple(Problem(str(task.root / p), str(m)) for p, m in file["problems"]),
            **{name: file[name] for name in ARRAYS},
        )
        return ShardFacts(gathered, file["counts"], file["checks"])


def _save(facts: ShardFacts, task: ShardTask, path: Path) -> None:
    gathered = facts.gathered
    within = [[os.path.relpath(p.path, task.root), p.message] for p in gathered.problems]
    arrays: dict[str, Any] = {name: getattr(gathered, name) for name in ARRAYS}
    with path.open("wb") as file:
        np.savez(
            file,
            fingerprint=np.array(task.fingerprint),
            count=np.array(len(task.items)),
            kept=gathered.kept,
            counts=facts.counts,
            checks=facts.checks,
            problems=np.array(within, np.str_).reshape(-1, 2),
            **arrays,
        )
        file.flush()
        os.fsync(file.fileno())
