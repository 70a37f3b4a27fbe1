from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.config import DataConfig
from data_pipeline.problems import DataError
from data_pipeline.stores.originals import Originals
from data_pipeline.stores.prepare import prepare
from data_pipeline.stores.store import Store
from tests.data_pipeline.files import (
    labels,
    rgb_mask,
    write_divided,
    write_item,
    write_undivided,
    write_yaml,
)


def config_of(folder: Path, **fields: object) -> DataConfig:
    return DataConfig(source=str(folder), image_size=16, **fields)


def test_every_record_has_its_files_at_their_own_size(tmp_path: Path) -> None:
    config = config_of(write_divided(tmp_path / "data"))
    store = prepare(config)
    originals = Originals(store, config, "valid")
    assert [item.stem for item in originals.items] == ["valid0", "valid1", "valid2"]
    assert len(originals) == 3
    for index in range(3):
        image, mask = originals.read(index)
        assert image.shape == (24, 32, 1)
        np.testing.assert_array_equal(mask, labels(seed=5 + index))


def test_data_that_were_divided_by_us_and_a_bad_file_left_out(tmp_path: Path) -> None:
    folder = write_undivided(tmp_path / "data")
    (folder / "images" / "p03.png").write_bytes(b"no picture")
    config = config_of(folder, on_bad="skip")
    store = prepare(config)
    for split in ("train", "valid", "test"):
        stems = store.splits[split].stems
        originals = Originals(store, config, split)
        assert "p03" not in stems
        for index, stem in enumerate(stems):
            np.testing.assert_array_equal(
                originals.read_mask(index), labels(seed=int(stem.removeprefix("p")))
            )


def test_sub_folders_belong_to_the_stem(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_yaml(folder)
    for number, split in enumerate(["train", "train", "valid"]):
        for part in ("a", "b"):
            write_item(tmp_path / "made", "x", seed=2 * number + (part == "b"))
            for kind in ("images", "masks"):
                place = folder / split / kind / part / f"x{number}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(tmp_path / "made" / kind / "x.png", place)
    config = config_of(folder)
    originals = Originals(prepare(config), config, "valid")
    assert [item.stem for item in originals.items] == ["a/x2", "b/x2"]
    np.testing.assert_array_equal(originals.read_mask(1), labels(seed=5))


@pytest.mark.parametrize("divided", [True, False])
def test_a_fold_tells_the_split_of_its_source(tmp_path: Path, divided: bool) -> None:
    write = write_divided if divided else write_undivided
    config = config_of(write(tmp_path / "data"))
    store = prepare(config)
    # What validates in the fold trained in the store that it was made of.
    split = store.splits["train"]
    moved = replace(split, name="test", stems=tuple(f"train/{stem}" for stem in split.stems))
    fold = replace(store, splits={**store.splits, "test": moved})
    originals = Originals(fold, config, "test")
    assert [item.stem for item in originals.items] == list(split.stems)
    assert len(originals.read_mask(0)) == 24


def test_a_source_that_is_not_the_stores_is_refused(tmp_path: Path) -> None:
    folder = write_divided(tmp_path / "data")
    config = config_of(folder)
    store = prepare(config)
    (folder / "valid" / "masks" / "valid0.png").write_bytes(rgb_mask(np.full((24, 32), 2, "u1")))
    (folder / "valid" / "masks" / "valid1.png").write_bytes(b"no mask")
    originals = Originals(store, config, "valid")
    with pytest.raises(DataError, match=r"valid0.png: expected the mask that the data were"):
        originals.read_mask(0)
    with pytest.raises(DataError, match=r"valid1.png"):
        originals.read(1)

    for kind in ("images", "masks"):
        (folder / "valid" / kind / "valid2.png").unlink()
    with pytest.raises(DataError, match=r"expected the image and mask of valid/valid2, found none"):
        Originals(store, config, "valid")
    with pytest.raises(DataError, match=r"expected a split of .* received 'other'"):
        Originals(store, config, "other")
    with pytest.raises(DataError, match=r"expected the classes"):
        Originals(_renamed(store), config, "train")
    with pytest.raises(DataError, match=r"expected a folder \(data.source\)"):
        Originals(store, config_of(tmp_path / "gone"), "train")


def test_a_mask_whose_only_defect_was_erased_is_refused(tmp_path: Path) -> None:
    folder = write_divided(tmp_path / "data")
    mask = np.zeros((64, 64), np.uint8)
    mask[10:16, 20:26] = 1  # 36 pixels, less than 1 % of all
    write_item(folder / "valid", "valid0", seed=0, mask=mask)
    config = DataConfig(source=str(folder), image_size=64)
    store = prepare(config)
    np.testing.assert_array_equal(Originals(store, config, "valid").read_mask(0), mask)
    (folder / "valid/masks/valid0.png").write_bytes(rgb_mask(np.zeros((64, 64), np.uint8)))
    with pytest.raises(DataError, match=r"valid0.png: expected the mask that the data were"):
        Originals(store, config, "valid").read_mask(0)


def _renamed(store: Store) -> Store:
    return replace(store, classes=("background", "dent", "crack"))


def test_an_image_of_another_size_than_its_mask_is_refused(tmp_path: Path) -> None:
    folder = write_divided(tmp_path / "data")
    config = config_of(folder)
    store = prepare(config)
    write_item(tmp_path / "made", "x", seed=0, mask=np.zeros((10, 10), np.uint8))
    shutil.copyfile(tmp_path / "made/images/x.png", folder / "valid/images/valid0.png")
    with pytest.raises(DataError, match=r"expected the size of its mask"):
        Originals(store, config, "valid").read(0)
