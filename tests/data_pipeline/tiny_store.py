"""A small prepared store, written without reading any image file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.stores.facts import THUMBNAIL
from data_pipeline.stores.store import ShardWriter, Split, Store, rarest_classes, write_manifest
from data_pipeline.stores.survey import Survey

CLASSES = {"background": (0, 0, 0), "hole": (255, 0, 0), "crack": (0, 255, 0)}


UNCHANGED = AugmentConfig(preset="none")
"""Every change switched off."""


def write_store(folder, records, *, per_shard=0, classes=CLASSES) -> Store:
    """Writes records, {split: (images [n, H, W, C], masks [n, H, W])}, and opens the store."""
    folder.mkdir(parents=True)
    counted = {name: _pixels(masks, len(classes)) for name, (_, masks) in records.items()}
    training = np.count_nonzero(counted["train"], axis=0)
    splits = []
    for name, (images, masks) in records.items():
        with ShardWriter(folder, name, images.shape[1:], len(images), per_shard) as writer:
            for slot, (image, mask) in enumerate(zip(images, masks, strict=True)):
                writer.write(slot, image, mask)
            shards = writer.finish(range(len(images)))
        stems = tuple(f"{name}_{i}" for i in range(len(images)))
        order = rarest_classes(counted[name], training)
        splits.append(Split(name, shards, stems, stems, counted[name], order))
    write_manifest(
        folder,
        source="tiny",
        classes=classes,
        image_shape=records["train"][0].shape[1:],
        fingerprint="0",
        settings={},
        splits=splits,
        survey=_survey(splits, classes),
    )
    return Store.open(folder)


def numbered_store(folder: Path, count: int = 10, *, side: int = 16, per_shard: int = 0) -> Store:
    """A store whose training image i is filled with i, of class i % 3; valid is its first half."""
    numbers = np.arange(count, dtype=np.uint8)
    images = np.broadcast_to(numbers[:, None, None, None], (count, side, side, 1)).copy()
    masks = np.zeros((count, side, side), np.uint8)
    masks[:, : side // 2] = (numbers % 3)[:, None, None]
    records = {"train": (images, masks)}
    if half := count // 2:
        records["valid"] = (images[:half], masks[:half])
    return write_store(folder, records, per_shard=per_shard)


def _pixels(masks, classes):
    return np.array([np.bincount(m.ravel(), minlength=256)[:classes] for m in masks], np.int64)


def _survey(splits, classes):
    stems = tuple(stem for split in splits for stem in split.stems)
    pixels = np.concatenate([split.pixels for split in splits])
    n = len(stems)
    return Survey(
        classes=tuple(classes),
        stems=stems,
        splits=tuple(split.name for split in splits for _ in split.stems),
        groups=stems,
        sizes=np.full((n, 2), 16, np.int32),
        pixels=pixels,
        objects=np.zeros_like(pixels),
        thumbnails=np.zeros((n, THUMBNAIL, THUMBNAIL), np.uint8),
    )
