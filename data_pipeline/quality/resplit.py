"""Divides a data set again, by group, so that its scores are of objects not seen in training."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_pipeline.config import SPLITS, DataConfig
from data_pipeline.datasets.dataset_yaml import DatasetInfo, read_dataset_yaml, write_dataset_yaml
from data_pipeline.datasets.sources import Dataset, Item, find_dataset
from data_pipeline.datasets.splits import split_by_group
from data_pipeline.problems import DataError, Problem
from data_pipeline.quality.near_duplicates import Likeness
from data_pipeline.stores.survey import Survey, survey_with_files
from foundation.files import whole_folder

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Resplit:
    """The result of dividing a data set again.

    Attributes:
        out: The new folder.
        images: Images of each split.
        groups: Groups of each split.
        joined: Groups that were joined since their pictures are nearly the same.
        moved: Images that are in another split than before; None where there were no splits.
    """

    out: Path
    images: dict[str, int]
    groups: dict[str, int]
    joined: int
    moved: int | None


def resplit(
    config: DataConfig,
    out: Path,
    *,
    groups: Path | None = None,
    likeness: bool = True,
    progress: Progress | None = None,
) -> Resplit:
    """Write a copy of a data set, its images divided by group.

    Args:
        config: The data set, and the shares, seed and grouping of the split.
        out: Folder to write; must not exist.
        groups: A CSV with the columns stem and group, which overrules every other grouping.
        likeness: Whether groups with nearly the same pictures are joined.
        progress: Called with (images done, images in all).

    Raises:
        DataError: listing every bad file, stems that the CSV lacks, a folder that exists, or a
            split that comes out empty.
    """
    if out.exists():
        raise DataError([Problem(str(out), "expected a folder that is not there yet")])
    dataset = find_dataset(config)
    found, items = survey_with_files(config, progress=progress)
    known = _listed(groups, items) if groups is not None else found.groups
    final = Likeness(found.thumbnails, known).merged(known) if likeness else tuple(known)
    splits = split_by_group(final, found.pixels, config.split)
    for name in (name for name in SPLITS[:2] if name not in splits):
        message = f"expected groups enough for the split {name!r}, found {len(set(final))} in all"
        raise DataError([Problem(str(dataset.root), message)])
    with whole_folder(out, durable=False) as folder:
        _write(folder, dataset, items, final, splits)
    return Resplit(
        out,
        {name: splits.count(name) for name in SPLITS if name in splits},
        {s: len({g for g, at in zip(final, splits, strict=True) if at == s}) for s in set(splits)},
        len(set(known)) - len(set(final)),
        _moved(found, splits) if dataset.divided else None,
    )


def _moved(found: Survey, splits: Sequence[str]) -> int:
    return sum(before != now for before, now in zip(found.splits, splits, strict=True))


def _listed(path: Path, items: Sequence[Item]) -> tuple[str, ...]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError([Problem(str(path), f"cannot be read: {error}")]) from None
    if not rows or not {"stem", "group"} <= rows[0].keys():
        raise DataError([Problem(str(path), "expected the columns stem and group, and rows")])
    listed = {row["stem"]: row["group"] for row in rows}
    missing = [item for item in items if not listed.get(item.stem)]
    if missing:
        raise DataError(
            Problem(str(item.image), f"expected a group for {item.stem!r} in {path}, found none")
            for item in missing
        )
    return tuple(listed[item.stem] for item in items)


def _write(
    folder: Path,
    dataset: Dataset,
    items: Sequence[Item],
    groups: Sequence[str],
    splits: Sequence[str],
) -> None:
    often = Counter(item.stem for item in items)
    stems = {}
    for item, group, split in zip(items, groups, splits, strict=True):
        # One name may have stood in two splits.
        stem = item.stem if often[item.stem] == 1 else f"{item.stem}_{item.split}"
        stems[stem] = group
        for kind, file in (("images", item.image), ("masks", item.mask)):
            copy = folder / split / kind / f"{stem}{file.suffix}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    name, before = dataset.root.resolve().name, read_dataset_yaml(dataset.root)
    terms = before.terms if before else {}
    write_dataset_yaml(folder, DatasetInfo(name, dataset.source, dataset.classes, stems, **terms))
