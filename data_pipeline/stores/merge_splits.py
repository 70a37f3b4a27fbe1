"""Training and validation split as one: for the last training, of a config whose epochs are known.

Nothing is copied: the joined split is a row of both splits' shards.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np

from data_pipeline.problems import DataError, Problem
from data_pipeline.stores.store import FORMAT, Split, Store, rarest_classes

JOINED = ("train", "valid")


def join_store(store: Store) -> Store:
    """Return a store whose split `train` holds the training and the validation images.

    Its stems are `<original split>/<stem>`; there is no split `valid`, and `test` is as it was.
    Groups stay whole: none is divided. It lies where the store lies, so it goes with it.

    Args:
        store: The prepared data, as `prepare` returns it.

    Raises:
        DataError: where one of both splits is missing or empty.
    """
    missing = [name for name in JOINED if name not in store.splits or not store.splits[name].count]
    if missing:
        raise DataError(
            [Problem(str(store.path), f"expected images in the split {n!r}") for n in missing]
        )
    others = {name: split for name, split in store.splits.items() if name not in JOINED}
    renamed = tuple("train" if name in JOINED else name for name in store.survey.splits)
    return replace(
        store,
        fingerprint=_fingerprint(store),
        splits={"train": _joined([store.splits[name] for name in JOINED]), **others},
        survey=replace(store.survey, splits=renamed),
    )


def _joined(splits: list[Split]) -> Split:
    pixels = np.concatenate([split.pixels for split in splits])
    return Split(
        name="train",
        shards=tuple(shard for split in splits for shard in split.shards),
        stems=tuple(f"{split.name}/{stem}" for split in splits for stem in split.stems),
        groups=tuple(group for split in splits for group in split.groups),
        pixels=pixels,
        image_classes=rarest_classes(pixels, (pixels > 0).sum(axis=0, dtype=np.int64)),
    )


def _fingerprint(store: Store) -> str:
    """sha256 of the store's own fingerprint and of what is joined, 64 hexadecimal digits."""
    content = {"format": FORMAT, "of": store.fingerprint, "joined": list(JOINED)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
