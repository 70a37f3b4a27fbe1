"""From finished shards to a store: splits chosen, gaps of bad files closed, in bounded memory.

What is read are facts, about 1 KB an item; of the records, one at a time. The finished shards stay
as they are until the store is whole, so that an interruption costs this step alone.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_pipeline.config import SPLITS, DataConfig
from data_pipeline.datasets.sources import Dataset
from data_pipeline.problems import Problem, relative_problems
from data_pipeline.stores.facts import Gathered
from data_pipeline.stores.shards import ShardFacts, ShardTask, read_facts
from data_pipeline.stores.store import (
    INCOMPLETE,
    ImageShape,
    Shard,
    ShardWriter,
    Split,
    rarest_classes,
    read_record,
    records_per_shard,
    write_manifest,
)
from data_pipeline.stores.survey import (
    Survey,
    assemble,
    usable_splits,
    without_ambiguous,
)

# A network file system may show a file that another node wrote some seconds late.
PATIENCE_SECONDS = 60.0


def assemble_store(
    folder: Path,
    dataset: Dataset,
    config: DataConfig,
    tasks: Sequence[ShardTask],
    patience: float = 0.0,
) -> tuple[Problem, ...]:
    """Make a store of finished shards.

    Args:
        folder: An empty one; best on the shards' file system, where a shard without gaps is
            linked and not copied.
        dataset: The items.
        config: Their settings.
        tasks: The shards, in the order of the items.
        patience: Seconds to wait for facts that were written on another machine.

    Returns:
        The problems of the files that are left out.

    Raises:
        DataError: listing every bad file (`on_bad: error`), or an empty split.
        OSError: where a shard is missing.
    """
    gathered, counts = _gather(dataset, tasks, patience)
    splits, skipped = usable_splits(dataset, config, gathered)
    wanted = _rows_by_split(tasks, gathered.kept, splits)
    facts = assemble(dataset, gathered, splits)
    write_manifest(
        folder,
        source=dataset.source,
        classes=dataset.classes,
        image_shape=tasks[0].image_shape,
        fingerprint=tasks[0].fingerprint,
        settings=config.model_dump(mode="json"),
        splits=_describe_splits(
            {name: _write_split(folder, name, rows) for name, rows in wanted.items()},
            facts,
            splits,
            counts,
        ),
        survey=facts,
        skipped=relative_problems(skipped, dataset.root),
    )
    return skipped


_Rows = list[tuple[ShardTask, NDArray[np.int64]]]


def _gather(
    dataset: Dataset, tasks: Sequence[ShardTask], patience: float
) -> tuple[Gathered, NDArray[np.int64]]:
    """Return facts about all items, and int64 [n, C] pixels of the good ones' records."""
    deadline = time.monotonic() + patience
    parts = [_read_patiently(task, deadline) for task in tasks]
    classes = len(dataset.classes)
    before = Gathered.join([Gathered.of([], classes), *(part.gathered for part in parts)])
    counts = np.concatenate([np.zeros((0, classes), np.int64), *(part.counts for part in parts)])
    gathered = without_ambiguous(before, dataset)
    return gathered, counts[np.isin(before.kept, gathered.kept)]


def _read_patiently(task: ShardTask, deadline: float) -> ShardFacts:
    while True:
        try:
            return read_facts(task)
        except INCOMPLETE:
            if time.monotonic() >= deadline:
                raise
        time.sleep(0.5)
        os.listdir(task.folder)  # has a network file system look again


def _rows_by_split(
    tasks: Sequence[ShardTask], kept: NDArray[np.int64], splits: Sequence[str]
) -> dict[str, _Rows]:
    """Return which rows of which shards make up each split, in order."""
    names = np.array(splits)
    wanted: dict[str, _Rows] = {name: [] for name in SPLITS if name in set(splits)}
    start = 0
    for task in tasks:
        end = start + len(task.items)
        here = slice(*np.searchsorted(kept, [start, end]))
        for name, rows in wanted.items():
            chosen = kept[here][names[here] == name] - start
            if len(chosen):
                rows.append((task, chosen))
        start = end
    return wanted


def _write_split(folder: Path, split: str, rows: _Rows) -> tuple[Shard, ...]:
    shape = rows[0][0].image_shape
    size = records_per_shard(shape)
    full = [len(task.items) == size for task, _ in rows]
    whole = all(len(chosen) == len(task.items) for task, chosen in rows)
    if whole and all(full[:-1]):
        return tuple(_link(task.shard, folder, split, n) for n, (task, _) in enumerate(rows))
    return _copy(folder, split, shape, rows)


def _link(shard: Shard, folder: Path, split: str, number: int) -> Shard:
    name = f"{split}-{number:05d}"
    linked = Shard(folder / f"{name}.images", folder / f"{name}.masks", shard.count)
    for source, target in ((shard.images, linked.images), (shard.masks, linked.masks)):
        try:
            os.link(source, target)
        except OSError:  # a file system without links
            shutil.copyfile(source, target)
    return linked


def _copy(folder: Path, split: str, shape: ImageShape, rows: _Rows) -> tuple[Shard, ...]:
    """Copy records out of the shards: their split is known only after all are decoded."""
    records = _records(rows, shape)
    size, left = records_per_shard(shape), sum(len(chosen) for _, chosen in rows)
    shards: list[Shard] = []
    while left:
        count = min(size, left)
        with ShardWriter(folder, split, shape, count, size, first=len(shards)) as writer:
            for slot, (image, mask) in enumerate(islice(records, count)):
                writer.write(slot, image, mask)
            shards += writer.finish(range(count))
        left -= count
    return tuple(shards)


def _records(
    rows: _Rows, shape: ImageShape
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    for task, chosen in rows:
        for row in chosen:
            yield read_record((task.shard,), shape, int(row))


def _describe_splits(
    shards: Mapping[str, tuple[Shard, ...]],
    facts: Survey,
    splits: Sequence[str],
    pixels: NDArray[np.int64],
) -> list[Split]:
    names = np.asarray(splits)
    by_split = {name: pixels[names == name] for name in SPLITS}
    images_with = (by_split["train"] > 0).sum(axis=0, dtype=np.int64)
    described = []
    for name, files in shards.items():
        rows = facts.rows(name)
        described.append(
            Split(
                name=name,
                shards=files,
                stems=tuple(facts.stems[row] for row in rows),
                groups=tuple(facts.groups[row] for row in rows),
                pixels=by_split[name],
                image_classes=rarest_classes(by_split[name], images_with),
            )
        )
    return described
