from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from results.records.pictures import PictureError, load_pictures, read_labels, read_photograph


def listing(folder: Path, **changes: object) -> Path:
    entry = {
        "name": "valid/a17",
        "group": "a",
        "image": "pictures/0.jpg",
        "truth": "pictures/0.truth.png",
        "predictions": {"trial-00012": "pictures/0.trial-00012.png"},
    }
    (folder / "evaluation").mkdir(exist_ok=True)
    told = {"format": 1, "split": "valid", "images": [entry | changes]}
    (folder / "evaluation" / "pictures.json").write_text(json.dumps(told), encoding="utf-8")
    return folder


def test_pictures_are_listed_by_image(tmp_path: Path) -> None:
    picture = load_pictures(listing(tmp_path))["valid/a17"]
    folder = tmp_path / "evaluation" / "pictures"
    assert (picture.group, picture.image) == ("a", folder / "0.jpg")
    assert picture.predictions == {"trial-00012": folder / "0.trial-00012.png"}


def test_a_study_without_pictures_has_none(tmp_path: Path) -> None:
    assert load_pictures(tmp_path) == {}


@pytest.mark.parametrize("place", ["../trials/x.png", "/etc/passwd"])
def test_paths_out_of_the_folder_are_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(PictureError, match="expected paths within evaluation/"):
        load_pictures(listing(tmp_path, truth=place))


@pytest.mark.parametrize("text", ["{", '{"format": 2, "split": "valid"}', "[]", '{"format": 1}'])
def test_a_bad_list_is_named(tmp_path: Path, text: str) -> None:
    listing(tmp_path)
    path = tmp_path / "evaluation" / "pictures.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PictureError, match=r"pictures.json: expected a list of pictures"):
        load_pictures(tmp_path)


def test_files_are_read_as_photographs_and_labels(tmp_path: Path) -> None:
    labels = np.array([[0, 3], [255, 1]], np.uint8)
    path = tmp_path / "labels.png"
    path.write_bytes(cv2.imencode(".png", labels)[1].tobytes())
    np.testing.assert_array_equal(read_labels(path), labels)
    assert read_photograph(path).shape == (2, 2, 3)


@pytest.mark.parametrize("content", [None, b"", b"no picture"])
def test_a_bad_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PictureError, match=r"x.png: expected a picture"):
        read_labels(path)
