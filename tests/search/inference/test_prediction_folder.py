from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from search.inference.prediction_folder import Folder, PredictedImage

CLASSES = ("background", "a, b")
COLORS = ((0, 0, 0), (10, 200, 30))
IMAGE = np.full((6, 8, 1), 50, np.uint8)


def folder_in(out: Path) -> Folder:
    folder = Folder(out, CLASSES, COLORS)
    folder.begin({"model": "m"})
    return folder


def test_a_mask_and_its_overlay_are_written_and_counted(tmp_path: Path) -> None:
    labels = np.zeros((6, 8), np.uint8)
    labels[2:4, 1:4] = 1

    pixels = folder_in(tmp_path).write_mask("x/y", IMAGE, iter([labels[:3], labels[3:]]), True)

    assert pixels == {"background": 42, "a, b": 6}
    mask = cv2.imread(str(tmp_path / "masks" / "x" / "y.png"))
    assert (mask[2, 1] == (30, 200, 10)).all()
    assert cv2.imread(str(tmp_path / "overlays" / "x" / "y.jpg")).shape == (6, 8, 3)


def test_probabilities_are_passed_on_and_kept(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((6, 8, 2), np.float32)

    passed = list(folder_in(tmp_path).keep("y", (6, 8), iter([values[:5], values[5:]])))

    assert [len(band) for band in passed] == [5, 1]
    assert (np.load(tmp_path / "probabilities" / "y.npy", mmap_mode="r") == values).all()


def test_each_image_gets_a_line(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    folder.note(PredictedImage(Path("a.png"), (6, 8), "whole", {"background": 42, "a, b": 6}, 0.5))
    folder.note(PredictedImage(Path("b.png"), error="damaged, or not"))

    with open(tmp_path / "predictions.csv", encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)

    assert (first["how"], first["a, b"], first["seconds"]) == ("whole", "6", "0.500")
    assert (second["error"], second["a, b"]) == ("damaged, or not", "")


def test_a_class_called_as_a_column_is_told_from_it(tmp_path: Path) -> None:
    folder = Folder(tmp_path, ("background", "error"), COLORS)
    folder.begin({})
    folder.note(PredictedImage(Path("a.png"), (6, 8), "whole", {"background": 42, "error": 6}, 0.5))

    with open(tmp_path / "predictions.csv", encoding="utf-8", newline="") as file:
        [line] = csv.DictReader(file)

    assert (line["error"], line["error (class)"]) == ("", "6")


def test_a_folder_of_other_things_is_refused_and_an_earlier_one_taken(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").touch()
    folder_in(tmp_path / "ours")

    folder_in(tmp_path / "ours")
    with pytest.raises(FileExistsError, match=r"earlier predictions, found thesis\.tex"):
        folder_in(other)
