"""Group k-fold over a prepared store: for data too small for one test split.

The records of all splits are pooled and their groups dealt into K folds. Fold f is scored, the
next one chooses the epoch, the others train: what is scored has chosen no epoch, and over the K
stores every image is scored once.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_pipeline.config import SPLITS
from data_pipeline.datasets.splits import folds_by_group
from data_pipeline.problems import DataError, Problem
from data_pipeline.stores.prepare import exclusive, publish, try_open, work_folder
from data_pipeline.stores.store import (
    FORMAT,
    Shard,
    ShardWriter,
    Split,
    Store,
    rarest_classes,
    records_per_shard,
    write_manifest,
)
from data_pipeline.stores.survey import Survey

FEWEST_FOLDS = 3


@dataclass(frozen=True, eq=False)
class _Pool:
    """The records of all splits in a row: split and index of each, int64 [n, C] pixels, groups."""

    records: tuple[tuple[str, int], ...]
    stems: tuple[str, ...]
    groups: tuple[str, ...]
    pixels: NDArray[np.int64]


def fold_store(store: Store, folds: int, fold: int, seed: int, folder: Path) -> Store:
    """Open one fold of a store as a store of its own, making it first where it is not there.

    It lies in `folder/<first 16 digits of its fingerprint>` and appears there whole: an interrupted
    making leaves nothing that could be taken for it. Records are copied, once for each fold.

    Args:
        store: The prepared data, of any splits.
        folds: Number of folds K, at least 3.
        fold: Which of them is scored, 0 to K - 1: it becomes `test`. The next one, (fold + 1) % K,
            becomes `valid`, the others `train`.
        seed: Of the dealing. The same for all folds of a data set.
        folder: Where the store is made; missing parents are made.

    Returns:
        A store whose stems are `<original split>/<stem>`.

    Raises:
        DataError: for fewer than 3 folds, a fold that is none of them, or fewer groups than folds.
        OSError: where the folder cannot be written.
    """
    pool = _pool(store)
    _check(folds, fold, pool)
    path = folder / _fingerprint(store, folds, fold, seed)[:16]
    found = try_open(path)
    if found is not None:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder, path.name) as locked:
        found = try_open(path)  # the process waited for may have made it
        if found is None:
            work = work_folder(path, locked)
            shutil.rmtree(work, ignore_errors=True)  # a half one, of a process that was killed
            work.mkdir()
            try:
                _write(store, pool, (folds, fold, seed), work)
                publish(work, path)
            except BaseException:  # a full disk gets its room back
                shutil.rmtree(work, ignore_errors=True)
                raise
    return Store.open(path)


def _pool(store: Store) -> _Pool:
    splits = [store.splits[name] for name in SPLITS if name in store.splits]
    return _Pool(
        records=tuple((split.name, index) for split in splits for index in range(split.count)),
        stems=tuple(f"{split.name}/{stem}" for split in splits for stem in split.stems),
        groups=tuple(group for split in splits for group in split.groups),
        pixels=np.concatenate([split.pixels for split in splits]),
    )


def _check(folds: int, fold: int, pool: _Pool) -> None:
    problems = []
    if folds < FEWEST_FOLDS:
        problems.append(
            f"expected at least {FEWEST_FOLDS} folds, to score, to choose the epoch and to train, "
            f"received {folds}"
        )
    if not 0 <= fold < folds:
        problems.append(f"expected a fold of 0..{folds - 1}, received {fold}")
    if len(set(pool.groups)) < folds:
        problems.append(
            f"expected at least as many groups as folds, received {len(set(pool.groups))} groups "
            f"and {folds} folds"
        )
    if problems:
        raise DataError([Problem("folds", problem) for problem in problems])


def _fingerprint(store: Store, folds: int, fold: int, seed: int) -> str:
    """sha256 of the store's own fingerprint and of the fold, 64 hexadecimal digits."""
    content = {"format": FORMAT, "of": store.fingerprint, "folds": [folds, fold, seed]}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write(store: Store, pool: _Pool, dealing: tuple[int, int, int], work: Path) -> None:
    folds, fold, seed = dealing
    dealt = np.array(folds_by_group(pool.groups, pool.pixels, folds, seed))
    rows = {
        "train": np.flatnonzero((dealt != fold) & (dealt != (fold + 1) % folds)),
        "valid": np.flatnonzero(dealt == (fold + 1) % folds),
        "test": np.flatnonzero(dealt == fold),
    }
    training = (pool.pixels[rows["train"]] > 0).sum(axis=0, dtype=np.int64)
    write_manifest(
        work,
        source=store.source,
        classes=dict(zip(store.classes, store.colors, strict=True)),
        image_shape=store.image_shape,
        fingerprint=_fingerprint(store, folds, fold, seed),
        settings={"of": store.fingerprint, "folds": folds, "fold": fold, "seed": seed},
        splits=[_split(store, pool, name, rows[name], training, work) for name in SPLITS],
        survey=_survey(store.survey, pool, rows),
        skipped=store.skipped,
    )


def _split(
    store: Store,
    pool: _Pool,
    name: str,
    rows: NDArray[np.int64],
    training: NDArray[np.int64],
    work: Path,
) -> Split:
    return Split(
        name=name,
        shards=_copy(store, name, [pool.records[row] for row in rows], work),
        stems=tuple(pool.stems[row] for row in rows),
        groups=tuple(pool.groups[row] for row in rows),
        pixels=pool.pixels[rows],
        image_classes=rarest_classes(pool.pixels[rows], training),
    )


def _copy(
    store: Store, name: str, records: Sequence[tuple[str, int]], work: Path
) -> tuple[Shard, ...]:
    size = records_per_shard(store.image_shape)
    shards: list[Shard] = []
    for start in range(0, len(records), size):
        part = records[start : start + size]
        first = len(shards)
        with ShardWriter(work, name, store.image_shape, len(part), size, first) as writer:
            for slot, (split, index) in enumerate(part):
                writer.write(slot, *store.read(split, index))
            shards += writer.finish(range(len(part)))
    return tuple(shards)


def _survey(survey: Survey, pool: _Pool, rows: dict[str, NDArray[np.int64]]) -> Survey:
    """Return the same facts in the order of the fold's records."""
    known = {name: row for row, name in enumerate(survey.names)}
    order = [known[pool.stems[row]] for name in SPLITS for row in rows[name]]
    return Survey(
        classes=survey.classes,
        stems=tuple(survey.names[row] for row in order),
        splits=tuple(name for name in SPLITS for _ in rows[name]),
        groups=tuple(survey.groups[row] for row in order),
        sizes=survey.sizes[order],
        pixels=survey.pixels[order],
        objects=survey.objects[order],
        thumbnails=survey.thumbnails[order],
    )
