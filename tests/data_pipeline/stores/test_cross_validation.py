from __future__ import annotations

import errno
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.config import DataConfig
from data_pipeline.problems import DataError
from data_pipeline.stores.cross_validation import fold_store
from data_pipeline.stores.originals import Originals
from data_pipeline.stores.prepare import prepare
from data_pipeline.stores.store import Store
from tests.data_pipeline.files import write_divided
from tests.data_pipeline.tiny_store import write_store

FOLDS = 3


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """12 records, each filled with its number, of class number % 3; every one its own group."""
    numbers = np.arange(12, dtype=np.uint8)
    images = np.broadcast_to(numbers[:, None, None, None], (12, 8, 8, 1)).copy()
    masks = np.broadcast_to((numbers % 3)[:, None, None], (12, 8, 8)).copy()
    parts = {"train": slice(0, 6), "valid": slice(6, 9), "test": slice(9, 12)}
    records = {name: (images[rows], masks[rows]) for name, rows in parts.items()}
    return write_store(tmp_path / "whole", records, per_shard=2)


def folds_of(store: Store, folder: Path, folds: int = FOLDS, seed: int = 0) -> list[Store]:
    return [fold_store(store, folds, fold, seed, folder) for fold in range(folds)]


def numbers(store: Store, split: str) -> list[int]:
    return [int(store.read(split, row)[0][0, 0, 0]) for row in range(store.splits[split].count)]


def test_every_record_is_scored_once_and_never_chosen_by_or_trained_on(
    store: Store, tmp_path: Path
) -> None:
    folded = folds_of(store, tmp_path / "folds")
    assert sorted(n for one in folded for n in numbers(one, "test")) == list(range(12))
    assert sorted(n for one in folded for n in numbers(one, "valid")) == list(range(12))
    for one in folded:
        everything = [n for split in ("train", "valid", "test") for n in numbers(one, split)]
        assert sorted(everything) == list(range(12))
    for one, following in zip(folded, [*folded[1:], folded[0]], strict=True):
        assert numbers(one, "valid") == numbers(following, "test")


def test_records_keep_their_names_masks_and_facts(store: Store, tmp_path: Path) -> None:
    one = fold_store(store, FOLDS, 1, 0, tmp_path / "folds")
    original = {f"{name}/{stem}" for name, s in store.splits.items() for stem in s.stems}
    assert {stem for split in one.splits.values() for stem in split.stems} == original
    names = [f"{s.name}/{stem}" for s in one.splits.values() for stem in s.stems]
    assert list(one.survey.names) == names
    for split in one.splits.values():
        rows = one.survey.rows(split.name)
        assert [one.survey.stems[row] for row in rows] == list(split.stems)
        for row in range(split.count):
            image, mask = one.read(split.name, row)
            assert (mask == image[0, 0, 0] % 3).all()
            assert split.pixels[row].tolist() == np.bincount(mask.ravel(), minlength=3).tolist()
            assert split.image_classes[row] == image[0, 0, 0] % 3
        np.testing.assert_array_equal(one.survey.pixels[rows], split.pixels)
    assert one.classes == store.classes
    assert one.colors == store.colors


def test_a_group_of_several_splits_is_not_divided(tmp_path: Path, synthetic_folder: Path) -> None:
    store = prepare(DataConfig(source=str(synthetic_folder), image_size=16))
    folded = folds_of(store, tmp_path / "folds", 4)
    for one in folded:
        where = [{(g, s.name) for g in s.groups} for s in one.splits.values()]
        often = Counter(group for pairs in where for group, _ in pairs)
        assert set(often.values()) == {1}
        assert all(split.count for split in one.splits.values())
    scored = Counter(stem for one in folded for stem in one.splits["test"].stems)
    assert len(scored) == sum(split.count for split in store.splits.values())
    assert set(scored.values()) == {1}


def test_a_fold_is_made_once_and_found_again(store: Store, tmp_path: Path) -> None:
    one = fold_store(store, FOLDS, 0, 0, tmp_path / "folds")
    assert one.path.name == one.fingerprint[:16]
    before = (one.path / "manifest.json").stat().st_mtime_ns
    again = fold_store(store, FOLDS, 0, 0, tmp_path / "folds")
    assert again.path == one.path
    assert (again.path / "manifest.json").stat().st_mtime_ns == before
    others = {
        s.fingerprint
        for s in (
            fold_store(store, FOLDS, 1, 0, tmp_path / "folds"),
            fold_store(store, FOLDS + 1, 0, 0, tmp_path / "folds"),
            fold_store(store, FOLDS, 0, 1, tmp_path / "folds"),
        )
    }
    assert len(others | {one.fingerprint, store.fingerprint}) == 5


def test_what_a_killed_process_left_is_made_anew(store: Store, tmp_path: Path) -> None:
    whole = fold_store(store, FOLDS, 0, 0, tmp_path / "folds")
    expected = numbers(whole, "test")
    half = whole.path.with_name(f"{whole.path.name}.tmp-work")
    os.rename(whole.path, half)
    (half / "manifest.json").unlink()
    again = fold_store(store, FOLDS, 0, 0, tmp_path / "folds")
    assert numbers(again, "test") == expected
    assert not half.exists()
    (again.path / "test-00000.masks").write_bytes(b"cut short")
    mended = fold_store(store, FOLDS, 0, 0, tmp_path / "folds")
    assert numbers(mended, "test") == expected
    assert (mended.path / "test-00000.masks").stat().st_size == len(expected) * 64


def test_many_records_go_into_several_shards(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_pipeline.stores.cross_validation.records_per_shard", lambda shape: 2)
    one = fold_store(store, FOLDS, 0, 0, tmp_path / "folds")
    training = one.splits["train"].count
    assert [shard.count for shard in one.splits["train"].shards] == (
        [2] * (training // 2) + [1] * (training % 2)
    )


@pytest.mark.parametrize(
    ("folds", "fold", "message"),
    [
        (2, 0, "at least 3 folds"),
        (3, 3, "a fold of 0..2, received 3"),
        (13, 0, "12 groups and 13 folds"),
    ],
)
def test_impossible_folds_are_refused(
    store: Store, tmp_path: Path, folds: int, fold: int, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        fold_store(store, folds, fold, 0, tmp_path / "folds")
    assert not (tmp_path / "folds").exists()


def test_a_full_disk_gets_its_room_back(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        (arguments[-1] / "half").write_bytes(b"x")  # type: ignore[operator]
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("data_pipeline.stores.cross_validation._write", full)
    with pytest.raises(OSError, match="No space left"):
        fold_store(store, FOLDS, 0, 0, tmp_path / "folds")
    assert [path.name for path in (tmp_path / "folds").iterdir() if path.is_dir()] == []


def test_a_folds_records_are_found_in_the_source(tmp_path: Path) -> None:
    config = DataConfig(source=str(write_divided(tmp_path / "data")), image_size=16)
    whole = prepare(config)
    seen = []
    for fold in folds_of(whole, tmp_path / "folds"):
        originals = Originals(fold, config, "test")
        for index, stem in enumerate(fold.splits["test"].stems):
            item = originals.items[index]
            assert f"{item.split}/{item.stem}" == stem
            originals.read_mask(index)  # raises where it is not what the record was made from
            seen.append(stem)
    assert len(seen) == len(set(seen)) == 10
