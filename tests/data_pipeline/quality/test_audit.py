from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_pipeline.config import DataConfig
from data_pipeline.quality.audit import _groups_with, audit, audit_store, describe
from data_pipeline.stores.prepare import prepare
from data_pipeline.stores.store import Split
from data_pipeline.stores.survey import Survey, survey
from tests.data_pipeline.files import CLASSES, encode, labels, picture, write_divided, write_item


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    root = write_divided(tmp_path_factory.mktemp("clean"), (8, 4, 4))
    return survey(DataConfig(source=str(root)))


def kinds(found: Survey) -> dict[str, str]:
    return {finding.kind: finding.severity for finding in audit(found).findings}


def test_clean_data_has_no_findings(clean: Survey) -> None:
    assert audit(clean).findings == ()
    assert not audit(clean).leaks


def test_groups_that_straddle_splits(clean: Survey) -> None:
    groups = list(clean.groups)
    groups[9] = groups[0]
    result = audit(replace(clean, groups=tuple(groups)))
    assert result.leaks
    assert result.findings[0].kind == "group_straddles"
    assert result.findings[0].files == (clean.names[0], clean.names[9])


TURNS = [(quarter, flip) for quarter in range(4) for flip in (False, True)]


@pytest.mark.parametrize(("quarter", "flip"), TURNS)
def test_copies_are_found_flipped_turned_and_at_another_exposure(
    clean: Survey, quarter: int, flip: bool
) -> None:
    copy = np.rot90(clean.thumbnails[1], quarter)
    copy = (copy[:, ::-1] if flip else copy) * 0.4 + 30
    thumbnails = clean.thumbnails.copy()
    thumbnails[13] = copy + np.random.default_rng(0).normal(0, 2, copy.shape)
    result = audit(replace(clean, thumbnails=thumbnails))
    assert result.leaks
    (finding,) = result.findings
    assert finding.kind == "near_duplicates"
    assert len(finding.files) == 1
    assert finding.files[0].startswith(f"{clean.names[1]} = {clean.names[13]} (0.9")


def test_copies_within_a_split_or_a_known_group_are_not_near_duplicates(clean: Survey) -> None:
    thumbnails = clean.thumbnails.copy()
    thumbnails[1] = thumbnails[0]
    assert audit(replace(clean, thumbnails=thumbnails)).findings == ()
    thumbnails[13] = thumbnails[2]
    groups = list(clean.groups)
    groups[13] = groups[2]
    found = kinds(replace(clean, thumbnails=thumbnails, groups=tuple(groups)))
    assert found == {"group_straddles": "leak"}


def test_pictures_that_are_all_alike_are_no_copies(clean: Survey) -> None:
    """As of parts in a fixture: only what is more alike than those are to each other."""
    rng = np.random.default_rng(0)
    part = picture(32, 32, 1, seed=3)[:, :, 0].astype(float)
    thumbnails = np.stack([part + rng.normal(0, 8, part.shape) for _ in clean.stems])
    thumbnails = thumbnails.clip(0, 255).astype(np.uint8)
    assert audit(replace(clean, thumbnails=thumbnails)).findings == ()
    thumbnails[13] = thumbnails[1]
    assert audit(replace(clean, thumbnails=thumbnails)).leaks


def test_flat_pictures_are_no_copies(clean: Survey) -> None:
    thumbnails = np.full_like(clean.thumbnails, 100)
    assert audit(replace(clean, thumbnails=thumbnails)).findings == ()


def test_class_absent_class_in_one_group_empty_masks_and_sizes(clean: Survey) -> None:
    pixels = clean.pixels.copy()
    pixels[clean.rows("valid"), 1] = 0
    pixels[clean.rows("test")[1:], 2] = 0
    pixels[0, 1:] = 0
    sizes = clean.sizes.copy()
    sizes[5] = (24, 320)
    result = audit(replace(clean, pixels=pixels, sizes=sizes))
    assert {f.kind: (f.severity, f.files) for f in result.findings} == {
        "class_absent": ("warning", ()),
        "class_in_one_group": ("info", (clean.names[12],)),
        "empty_mask": ("info", (clean.names[0],)),
        "size_outlier": ("info", (clean.names[5],)),
    }
    assert "valid has no pixel of class 'hole'" in result.findings[0].message
    assert not result.leaks


def test_augmented_copies_in_files_are_a_leak(tmp_path: Path) -> None:
    """As the reference's published split: flipped copies of a photograph in train and valid."""
    root = write_divided(tmp_path / "data")
    image = picture(channels=1, seed=0)
    write_item(root / "valid", "hflipped_train0", 70, labels(seed=0)[:, ::-1])
    (root / "valid" / "images" / "hflipped_train0.png").write_bytes(
        encode(".png", np.ascontiguousarray(image[:, ::-1]))
    )
    assert kinds(survey(DataConfig(source=str(root)))) == {"group_straddles": "leak"}
    for folder in ("images", "masks"):
        file = root / "valid" / folder / "hflipped_train0.png"
        file.rename(file.with_name("renamed.png"))
    assert kinds(survey(DataConfig(source=str(root)))) == {"near_duplicates": "leak"}


def test_describe_and_what_is_lost_in_resizing(tmp_path: Path) -> None:
    root = write_divided(tmp_path / "data")
    dot = np.zeros((64, 64), np.uint8)
    dot[29, 29] = 1
    write_item(root / "train", "dot", 60, dot)
    store = prepare(DataConfig(source=str(root), image_size=(16, 16)))
    result = audit_store(store)
    lost = next(f for f in result.findings if f.kind == "class_lost_in_resizing")
    assert lost.files == ("train/dot (hole)",)
    record = json.loads(json.dumps(describe(store, result)))
    assert record["classes"] == ["background", "hole", "crack"]
    assert record["colors"] == {name: list(color) for name, color in CLASSES.items()}
    assert record["image_shape"] == [16, 16, 1]
    assert record["fingerprint"] == store.fingerprint
    train = record["splits"]["train"]
    assert (train["images"], train["groups"]) == (6, 6)
    assert train["images_with"] == {"background": 6, "hole": 5, "crack": 5}
    assert train["groups_with"] == {"background": 6, "hole": 5, "crack": 5}
    assert train["pixels"]["hole"] == int(store.class_pixels("train")[1])
    assert [f["kind"] for f in record["findings"]] == [f.kind for f in result.findings]
    assert {"kind", "severity", "message", "files"} == set(record["findings"][0])


def test_groups_are_counted_once_a_class() -> None:
    pixels = np.array([[9, 1, 0], [9, 1, 0], [9, 0, 2], [10, 0, 0]])
    split = Split("train", (), ("a", "b", "c", "d"), ("x", "x", "x", "y"), pixels, np.zeros(4))
    assert _groups_with(split).tolist() == [2, 1, 1]


def test_real_bursts_are_found_when_split_by_file(magnetic_tile_raw: Path) -> None:
    """The pictures of one tile, dealt out by file, are near-duplicates; whole bursts are not."""
    files = sorted(
        magnetic_tile_raw.glob("MT_Blowhole/Imgs/*.jpg"),
        key=lambda file: int(file.stem.split("_num_")[1]),
    )
    tiles, group, last = [], 0, 0
    for file in files:
        exposure = int(file.stem[3])
        group, last = group + (exposure <= last), exposure
        tiles.append(f"tile{group}")
    thumbnails = np.stack([
        cv2.resize(cv2.imread(str(f), cv2.IMREAD_GRAYSCALE), (32, 32), interpolation=cv2.INTER_AREA)
        for f in files
    ])  # fmt: skip
    count = len(files)
    by_file = tuple("train" if n % 2 else "valid" for n in range(count))
    by_tile = tuple("train" if int(t[4:]) % 2 else "valid" for t in tiles)
    ones = np.ones((count, 2), np.int64)
    facts = Survey(("background", "Blowhole"), tuple(f.stem for f in files), by_file,
                   tuple(f.stem for f in files), np.full((count, 2), 300, np.int32), ones, ones,
                   thumbnails)  # fmt: skip
    assert kinds(facts) == {"near_duplicates": "leak"}
    assert not audit(replace(facts, splits=by_tile, groups=tuple(tiles))).leaks
