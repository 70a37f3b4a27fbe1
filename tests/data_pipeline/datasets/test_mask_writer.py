from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_pipeline.datasets.labels import LabelMap, colorize
from data_pipeline.datasets.mask_writer import write_mask
from tests.data_pipeline.files import CLASSES

COLORS = tuple(CLASSES.values())


def labels_of(height: int = 30, width: int = 21) -> np.ndarray:
    return np.random.default_rng(5).integers(0, len(COLORS), (height, width), np.uint8)


def test_a_mask_is_read_back_by_colours_and_by_our_own_reader(tmp_path: Path) -> None:
    labels = labels_of()
    path = tmp_path / "mask.png"

    write_mask(path, labels.shape, COLORS, iter([labels[:7], labels[7:8], labels[8:]]))

    seen = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    assert (seen == colorize(labels, COLORS)).all()
    assert (LabelMap(CLASSES, 0).read(path).labels == labels).all()


def test_bands_of_another_size_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mask\.png"):
        write_mask(tmp_path / "mask.png", (31, 21), COLORS, [labels_of()])

    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_is_told_with_the_file_and_leaves_the_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(b"earlier")

    def bands() -> Iterator[np.ndarray]:
        yield labels_of(8)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"No space left.*mask\.png"):
        write_mask(path, (30, 21), COLORS, bands())

    assert path.read_bytes() == b"earlier"
    assert [each.name for each in tmp_path.iterdir()] == ["mask.png"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"none.mask\.png"):
        write_mask(tmp_path / "none" / "mask.png", (30, 21), COLORS, [labels_of()])
