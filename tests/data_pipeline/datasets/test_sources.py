from __future__ import annotations

from pathlib import Path

import pytest

from data_pipeline.config import DataConfig
from data_pipeline.datasets.sources import find_dataset
from data_pipeline.problems import DataError
from tests.data_pipeline.files import (
    CLASSES,
    write_divided,
    write_item,
    write_undivided,
    write_yaml,
)


def config(root: Path, **fields) -> DataConfig:
    return DataConfig(source=str(root), image_size=16, **fields)


def problems(root: Path, **fields) -> dict[str, str]:
    found = find_dataset(config(root, **fields)).problems
    return {str(Path(p.path).relative_to(root)): p.message for p in found}


def test_divided(tmp_path: Path) -> None:
    dataset = find_dataset(config(write_divided(tmp_path)))
    assert dataset.divided
    assert not dataset.problems
    assert [i.split for i in dataset.items] == ["train"] * 5 + ["valid"] * 3 + ["test"] * 2
    assert all(i.image.stem == i.mask.stem == i.stem for i in dataset.items)
    assert (dataset.source, dataset.classes) == ("made for a test", CLASSES)


def test_undivided_with_groups_from_the_list_or_by_pattern(tmp_path: Path) -> None:
    root = write_undivided(tmp_path, 4)
    dataset = find_dataset(config(root))
    assert [i.group for i in dataset.items] == ["object0", "object0", "object1", "object1"]
    assert {i.split for i in dataset.items} == {None}
    by_pattern = find_dataset(config(root, split={"group_pattern": r"p0[01]"}))
    assert [i.group for i in by_pattern.items] == ["p00", "p01"]
    assert len(by_pattern.problems) == 2


def test_classes_of_the_config_overrule(tmp_path: Path) -> None:
    classes = {"a": (0, 0, 0), "b": (9, 9, 9)}
    assert find_dataset(config(write_divided(tmp_path), classes=classes)).classes == classes


def test_no_classes_says_what_to_write(tmp_path: Path) -> None:
    (write_divided(tmp_path) / "dataset.yaml").unlink()
    with pytest.raises(DataError, match=r"classes: \{background: \[0, 0, 0\]"):
        find_dataset(config(tmp_path))


def test_every_file_out_of_place_is_listed(tmp_path: Path) -> None:
    root = write_divided(tmp_path)
    train = root / "train"
    for number in range(3):
        write_item(train, f"extra{number}", 90 + number)
    (train / "masks" / "extra0.png").unlink()
    (train / "images" / "extra1.png").unlink()
    (train / "images" / "extra2.jpg").write_bytes(b"")
    (train / "images" / "notes.txt").write_text("")
    (train / "masks" / "mask.jpg").write_text("")
    (train / "images" / "more").symlink_to(root / "valid" / "images")
    for litter in (".DS_Store", "Thumbs.db"):
        (train / "images" / litter).write_text("")
    found = problems(root)
    assert found.pop("train/images/extra0.png").startswith("image without mask")
    assert found.pop("train/masks/extra1.png").startswith("mask without image")
    for name in ("extra2.jpg", "extra2.png"):
        assert "duplicate stem" in found.pop(f"train/images/{name}")
    assert "found '.txt'" in found.pop("train/images/notes.txt")
    assert "found '.jpg'" in found.pop("train/masks/mask.jpg")
    assert "found a link to a folder" in found.pop("train/images/more")
    assert not found


def test_suffixes_in_capitals(tmp_path: Path) -> None:
    root = write_divided(tmp_path)
    image = root / "train" / "images" / "train0.png"
    image.rename(image.with_suffix(".PNG"))
    assert not problems(root)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: (r / "valid").rename(r / "val"), "expected the name 'valid'"),
        (lambda r: (r / "train").rename(r / "other"), "expected the split 'train'"),
        (lambda r: (r / "train" / "masks").rename(r / "train" / "m"), "expected a folder"),
        (lambda r: (r / "images").mkdir(), "expected split folders or images/"),
    ],
)
def test_layouts_that_cannot_be_meant(tmp_path: Path, change, reason: str) -> None:
    change(write_divided(tmp_path))
    with pytest.raises(DataError, match=reason):
        find_dataset(config(tmp_path))


def test_no_folder_and_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a folder"):
        find_dataset(config(tmp_path / "none"))
    with pytest.raises(DataError, match="found neither"):
        find_dataset(config(tmp_path, classes=CLASSES))


def write_folders(root: Path) -> Path:
    """Two pictures each of four objects, a sub-folder each; the names tell nothing."""
    write_yaml(root)
    for number in range(8):
        write_item(root, "x", number)
        for kind in ("images", "masks"):
            folder = root / kind / f"part{number // 2}"
            folder.mkdir(exist_ok=True)
            (root / kind / "x.png").rename(folder / f"{number % 2}.png")
    return root


def test_sub_folders_are_part_of_the_stem_and_of_the_pairing(tmp_path: Path) -> None:
    root = write_folders(tmp_path)
    dataset = find_dataset(config(root))
    assert not dataset.problems
    assert [item.stem for item in dataset.items[:3]] == ["part0/0", "part0/1", "part1/0"]
    for item in dataset.items:
        assert item.mask.relative_to(root / "masks") == item.image.relative_to(root / "images")
        assert item.group == item.stem
    (root / "masks" / "part0" / "1.png").rename(root / "masks" / "part3" / "9.png")
    (root / "images" / "part1" / "0.jpg").write_bytes(b"")
    found = problems(root)
    assert found.pop("images/part0/1.png").startswith("image without mask")
    assert found.pop("masks/part3/9.png").startswith("mask without image")
    for name in ("0.jpg", "0.png"):
        assert "duplicate stem: expected one file" in found.pop(f"images/part1/{name}")
    assert not found


def test_folders_name_the_objects_where_asked_for(tmp_path: Path) -> None:
    root = write_folders(tmp_path)
    by_folder = find_dataset(config(root, split={"group_folders": True}))
    assert [item.group for item in by_folder.items] == [f"part{n // 2}" for n in range(8)]
    by_pattern = find_dataset(config(root, split={"group_pattern": "^(.*)/"}))
    assert by_pattern.items == by_folder.items
    write_item(root, "loose", 20)
    found = problems(root, split={"group_folders": True})
    assert list(found) == ["images/loose.png"]
    assert "data.split.group_folders" in found["images/loose.png"]


def test_groups_that_lack_the_sub_folder_of_their_picture_are_an_error(tmp_path: Path) -> None:
    root = tmp_path
    write_yaml(root, groups={"a": "tile"})
    write_item(root, "x", 1)
    for kind in ("images", "masks"):
        (root / kind / "part4").mkdir()
        (root / kind / "x.png").rename(root / kind / "part4" / "a.png")
    found = problems(root)
    assert "such as 'part4/a', received 'a'" in found["dataset.yaml"]
    assert not problems(root, split={"group_folders": True})
    write_yaml(root, groups={"part4/a": "tile"})
    assert not problems(root)
