from __future__ import annotations

from pathlib import Path

import pytest

from data_pipeline.problems import DataError
from search.inference.prediction_inputs import find_images


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_a_folder_gives_its_images_and_their_folders(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "deep/er/a.TIF", "notes.txt")

    found = find_images(str(tmp_path))

    assert [each.name for each in found.inputs] == ["b", "deep/er/a"]
    assert not found.doubles


def test_a_file_and_a_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "x/a1.png", "x/b1.png", "y/a2.png")

    single = find_images(str(tmp_path / "x" / "b1.png"))
    several = find_images(str(tmp_path / "*" / "a*.png"))

    assert [each.name for each in single.inputs] == ["b1"]
    assert [each.name for each in several.inputs] == ["x/a1", "y/a2"]


def test_images_of_one_name_keep_their_suffixes(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "a.jpg", "b.jpg")

    found = find_images(str(tmp_path))

    assert [each.name for each in found.inputs] == ["a.jpg", "a.png", "b"]
    assert found.doubles == ("a",)


def test_a_whole_file_name_that_is_another_ones_stem_is_kept_apart(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "a.jpg", "a.png.tif")

    names = [each.name for each in find_images(str(tmp_path)).inputs]

    assert sorted(names) == ["a.jpg", "a.png", "a.png.tif"]


def test_what_was_written_before_and_hidden_files_are_no_images(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "out/masks/a.png", "._a.png", ".cache/b.png")

    found = find_images(str(tmp_path), tmp_path / "out")

    assert [each.name for each in found.inputs] == ["a"]


@pytest.mark.parametrize(
    ("name", "found"),
    [("", "none"), ("*.png", "none"), ("no/such/*.bmp", "none"), ("a.png", "no such file or")],
)
def test_nothing_to_predict_is_named(tmp_path: Path, name: str, found: str) -> None:
    with pytest.raises(DataError, match=rf"expected images \(.jpg, .*\), found {found}"):
        find_images(str(tmp_path / name))


def test_folders_of_earlier_predictions_are_no_images(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "first/predict.json", "first/masks/a.png", "first/overlays/b/a.jpg")

    assert [each.name for each in find_images(str(tmp_path)).inputs] == ["a"]
    masks = find_images(str(tmp_path / "first" / "masks"))  # asked for by name
    assert [each.name for each in masks.inputs] == ["a"]
    earlier = find_images(str(tmp_path / "first"))
    assert [each.name for each in earlier.inputs] == ["masks/a", "overlays/b/a"]


def test_the_images_folder_is_not_the_one_to_write(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")

    with pytest.raises(DataError, match="expected a folder of its own for what is written"):
        find_images(str(tmp_path), tmp_path)


def test_links_are_followed_and_one_that_leads_nowhere_is_kept_to_be_told(tmp_path: Path) -> None:
    touch(tmp_path, "far/a.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.png").symlink_to(tmp_path / "far" / "a.png")
    (tmp_path / "in" / "c.png").symlink_to(tmp_path / "far" / "gone.png")

    assert [each.name for each in find_images(str(tmp_path / "in")).inputs] == ["b", "c"]
