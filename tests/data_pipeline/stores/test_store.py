from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.problems import DataError
from data_pipeline.stores.store import (
    ShardWriter,
    Store,
    rarest_classes,
    read_record,
    records_per_shard,
)
from tests.data_pipeline.tiny_store import write_store

SHAPE = (6, 5, 3)


def records(count: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *SHAPE), np.uint8)
    return images, rng.integers(0, 3, (count, *SHAPE[:2]), np.uint8)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    splits = {"train": records(7), "valid": records(3, 1)}
    return write_store(tmp_path / "store", splits, per_shard=3)


def test_records_are_read_by_index(store: Store) -> None:
    images, masks = records(7)
    assert [shard.count for shard in store.splits["train"].shards] == [3, 3, 1]
    for index in range(7):
        image, mask = store.read("train", index)
        np.testing.assert_array_equal(image, images[index])
        np.testing.assert_array_equal(mask, masks[index])


def test_shards_are_raw(store: Store) -> None:
    shard = store.splits["train"].shards[1]
    images, masks = records(7)
    assert shard.images.read_bytes() == images[3:6].tobytes()
    assert shard.masks.read_bytes() == masks[3:6].tobytes()


@pytest.mark.parametrize("index", [-1, 7])
def test_index_outside(store: Store, index: int) -> None:
    with pytest.raises(IndexError, match=r"0\.\.6"):
        store.read("train", index)


def test_class_pixels(store: Store) -> None:
    expected = [int((records(7)[1] == label).sum()) for label in range(3)]
    assert store.class_pixels("train").tolist() == expected


@pytest.mark.parametrize("kept", [[], [0], [5, 6], [0, 2, 3, 6], [1, 2, 3, 4, 5, 6]])
def test_gaps_are_closed(tmp_path: Path, kept: list[int]) -> None:
    images, masks = records(7)
    with ShardWriter(tmp_path, "train", SHAPE, 7, per_shard=3) as writer:
        for slot in kept:
            writer.write(slot, images[slot], masks[slot])
        shards = writer.finish(kept)
    assert [s.count for s in shards] == [3] * (len(kept) // 3) + [len(kept) % 3] * (
        len(kept) % 3 > 0
    )
    assert len(list(tmp_path.iterdir())) == 2 * len(shards)
    for index, slot in enumerate(kept):
        image, mask = read_record(shards, SHAPE, index)
        np.testing.assert_array_equal(image, images[slot])
        np.testing.assert_array_equal(mask, masks[slot])


def test_writing_from_threads_in_any_order(tmp_path: Path) -> None:
    images, masks = records(64)
    with ShardWriter(tmp_path, "train", SHAPE, 64, per_shard=10) as writer:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda s: writer.write(s, images[s], masks[s]), reversed(range(64))))
        shards = writer.finish(range(64))
    assert b"".join(s.images.read_bytes() for s in shards) == images.tobytes()


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        (np.zeros((6, 5, 1), np.uint8), np.zeros((6, 5), np.uint8)),
        (np.zeros(SHAPE, np.uint8), np.zeros((5, 6), np.uint8)),
        (np.zeros(SHAPE, np.float32), np.zeros((6, 5), np.uint8)),
    ],
)
def test_records_of_another_shape_are_refused(tmp_path: Path, image, mask) -> None:
    with (
        ShardWriter(tmp_path, "train", SHAPE, 1) as writer,
        pytest.raises(ValueError, match="expected"),
    ):
        writer.write(0, image, mask)


def test_shards_take_about_64_mib() -> None:
    assert records_per_shard((128, 128, 1)) == 4096
    assert records_per_shard((4096, 4096, 3)) == 1


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda f: (f / "manifest.json").unlink(), "expected a prepared store"),
        (lambda f: (f / "manifest.json").write_text("{"), "expected a prepared store"),
        (lambda f: (f / "manifest.json").write_text('{"format": 0}'), "expected format 1"),
        (lambda f: (f / "manifest.json").write_text('{"format": 1}'), "complete store"),
        (lambda f: (f / "pixels.npz").write_bytes(b""), "complete store"),
        (lambda f: (f / "survey.npz").unlink(), "complete store"),
        (lambda f: os.truncate(f / "train-00001.masks", 7), "expected 90 bytes, found 7"),
        (lambda f: (f / "valid-00000.images").unlink(), "expected 270 bytes, found None"),
    ],
)
def test_an_incomplete_store_is_refused(store: Store, damage, reason: str) -> None:
    damage(store.path)
    with pytest.raises(DataError, match=reason):
        Store.open(store.path)


def test_lists_that_do_not_agree_are_refused(store: Store) -> None:
    path = store.path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["splits"]["train"]["stems"].pop()
    path.write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="one count of records"):
        Store.open(store.path)


def test_an_image_is_sampled_as_its_rarest_class() -> None:
    pixels = np.array([[9, 5, 1], [9, 5, 0], [9, 0, 0], [0, 1, 1]])
    assert rarest_classes(pixels, np.array([4, 3, 2])).tolist() == [2, 1, 0, 2]
    assert rarest_classes(pixels, np.array([4, 2, 2])).tolist() == [1, 1, 0, 1]
