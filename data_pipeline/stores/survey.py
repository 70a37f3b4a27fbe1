"""Facts about every item of a data set, gathered in the decode that prepares it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_pipeline.config import SPLITS, DataConfig
from data_pipeline.datasets.labels import LabelMap
from data_pipeline.datasets.sources import Dataset, Item, find_dataset
from data_pipeline.datasets.splits import split_by_group
from data_pipeline.problems import DataError, Problem
from data_pipeline.stores.facts import Facts, Gathered, decoding_threads, examine, in_order

Progress = Callable[[int, int], None]
AHEAD = 4  # items a thread that may be begun before their results are taken


@dataclass(frozen=True, eq=False)
class Survey:
    """Facts about n items, at the resolution of the source files.

    Attributes:
        classes: Names of the C classes, background first.
        stems: File stem of each item.
        splits: Split of each item: train, valid or test.
        groups: Object photographed in each item; images of one object share it.
        sizes: int32 [n, 2], height and width in pixels.
        pixels: int64 [n, C], pixels of each class.
        objects: int64 [n, C], 8-connected regions of each class; the background counts none.
        thumbnails: uint8 [n, 32, 32], the grey image shrunk by area averaging.
    """

    classes: tuple[str, ...]
    stems: tuple[str, ...]
    splits: tuple[str, ...]
    groups: tuple[str, ...]
    sizes: NDArray[np.int32]
    pixels: NDArray[np.int64]
    objects: NDArray[np.int64]
    thumbnails: NDArray[np.uint8]

    @property
    def count(self) -> int:
        """Number of items."""
        return len(self.stems)

    @property
    def names(self) -> tuple[str, ...]:
        """`<split>/<stem>` of each item, unique in the data set."""
        return tuple(f"{s}/{stem}" for s, stem in zip(self.splits, self.stems, strict=True))

    def rows(self, split: str) -> NDArray[np.int64]:
        """Return indices of the items of a split, int64 [m]."""
        return np.flatnonzero(np.asarray(self.splits) == split)

    def save(self, path: Path) -> None:
        """Write the survey as one .npz file without pickled objects."""
        arrays: dict[str, Any] = {n: np.array(getattr(self, n), np.str_) for n in _NAMES}
        arrays |= {name: getattr(self, name) for name in _ARRAYS}
        np.savez(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> Survey:
        """Read what `save` wrote.

        Raises:
            OSError, ValueError, KeyError: when the file is missing or not a survey.
        """
        with np.load(path, allow_pickle=False) as file:
            fields: dict[str, Any] = {n: tuple(str(item) for item in file[n]) for n in _NAMES}
            fields |= {name: file[name] for name in _ARRAYS}
        return cls(**fields)


_NAMES = ("classes", "stems", "splits", "groups")
_ARRAYS = ("sizes", "pixels", "objects", "thumbnails")


def survey(
    config: DataConfig, *, workers: int | None = None, progress: Progress | None = None
) -> Survey:
    """Read every image and mask of a data set for its facts; writes nothing.

    Args:
        config: The data set.
        workers: Threads; None for one a core.
        progress: Called with items done and items in all.

    Raises:
        DataError: listing every bad file; with `on_bad: skip` only when a split is left empty.
    """
    return survey_with_files(config, workers=workers, progress=progress)[0]


def survey_with_files(
    config: DataConfig, *, workers: int | None = None, progress: Progress | None = None
) -> tuple[Survey, tuple[Item, ...]]:
    """As `survey`; and the files of each of its rows."""
    dataset = find_dataset(config)
    gathered = gather(dataset, config, workers=workers, progress=progress)
    splits, _ = usable_splits(dataset, config, gathered)
    items = tuple(dataset.items[gathered.kept[k]] for k in _by_split(splits))
    return assemble(dataset, gathered, splits), items


def gather(
    dataset: Dataset,
    config: DataConfig,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Gathered:
    """Decode every item once, in threads, for its facts alone.

    Args:
        dataset: The items.
        config: How to read them.
        workers: Threads; None for one a core.
        progress: Called with items done and items in all.
    """
    labels = LabelMap(dataset.classes, config.color_tolerance)
    workers = workers or os.cpu_count() or 1
    found: list[Facts | list[Problem]] = []
    with decoding_threads(workers) as pool:
        look = partial(examine, labels=labels, channels=config.channels)
        for result in in_order(pool, look, dataset.items, AHEAD * workers):
            found.append(result)
            if progress is not None:
                progress(len(found), len(dataset.items))
    return without_ambiguous(Gathered.of(found, len(dataset.classes)), dataset)


def without_ambiguous(gathered: Gathered, dataset: Dataset) -> Gathered:
    """Leave out masks that read as indices, where others of the data set are grey colours."""
    if "grey colors" not in gathered.kinds:
        return gathered
    positions = gathered.kept[gathered.kinds == "indices"].tolist()
    problems = [Problem(str(dataset.items[index].mask), _AMBIGUOUS) for index in positions]
    return gathered.without(positions, problems)


def usable_splits(
    dataset: Dataset, config: DataConfig, gathered: Gathered
) -> tuple[tuple[str, ...], tuple[Problem, ...]]:
    """Deal the good items into splits, and checks that they make a data set.

    Returns:
        The split of each good item: the folder's own, or by group and class. And the problems of
        the bad ones, which are left out with `on_bad: skip`.

    Raises:
        DataError: when there are bad items and `on_bad` is error, a split is empty, or the items
            cannot be dealt into folds.
    """
    bad = (*dataset.problems, *gathered.problems)
    try:
        splits = _assign_splits(dataset, config, gathered)
    except DataError as error:
        raise DataError((*bad, *error.problems)) from None
    wanted = [name for name in SPLITS if _wanted(name, dataset, config)]
    empty = [
        Problem(str(dataset.root / name if dataset.divided else dataset.root), _empty(name, bad))
        for name in wanted
        if name not in splits
    ]
    if empty or (bad and config.on_bad == "error"):
        raise DataError((*bad, *empty))
    return splits, bad


def _assign_splits(dataset: Dataset, config: DataConfig, gathered: Gathered) -> tuple[str, ...]:
    if dataset.divided and config.split.folds is not None:
        message = f"expected one images/ + masks/ to deal into {config.split.folds} folds, found "
        raise DataError([Problem(str(dataset.root), message + "splits of its own")])
    items = [dataset.items[index] for index in gathered.kept]
    if dataset.divided or not items:
        return tuple(str(item.split) for item in items)
    return split_by_group([item.group for item in items], gathered.pixels, config.split)


def assemble(dataset: Dataset, gathered: Gathered, splits: Sequence[str]) -> Survey:
    """Return the survey of the good items, by split and then in their order.

    Args:
        dataset: The items.
        gathered: Facts of all of them.
        splits: The split of each good one.
    """
    order = _by_split(splits)
    items = [dataset.items[gathered.kept[k]] for k in order]
    return Survey(
        classes=tuple(dataset.classes),
        stems=tuple(item.stem for item in items),
        splits=tuple(splits[k] for k in order),
        groups=tuple(item.group for item in items),
        sizes=gathered.sizes[order],
        pixels=gathered.pixels[order],
        objects=gathered.objects[order],
        thumbnails=gathered.thumbnails[order],
    )


def _by_split(splits: Sequence[str]) -> list[int]:
    return sorted(range(len(splits)), key=lambda k: SPLITS.index(splits[k]))


_AMBIGUOUS = (
    "a single-channel mask that reads as class indices, while others of this data set are grey "
    "class colours; save all of them one way"
)


def _wanted(split: str, dataset: Dataset, config: DataConfig) -> bool:
    if split != "test":
        return True
    return (dataset.root / split).is_dir() if dataset.divided else config.split.test > 0


def _empty(split: str, bad: Sequence[Problem]) -> str:
    why = "no usable image is left" if bad else "it holds no images"
    return f"the split {split!r} is empty: {why}, or too few groups for its share"
