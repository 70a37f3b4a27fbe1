from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_pipeline.datasets.labels import LabelMap
from data_pipeline.stores.store import Store
from search.training.epoch_pictures import EpochPictures, choose, folder_names, palette_png
from tests.data_pipeline.tiny_store import CLASSES, write_store

# Six images: free, hole, hole and crack, hole, free, hole; pixels of the classes.
PIXELS = np.array([[9, 0, 0], [5, 4, 0], [2, 1, 6], [7, 2, 0], [9, 0, 0], [1, 8, 0]])


def test_each_class_has_its_image_of_median_size_the_rarest_class_first() -> None:
    # Crack's only image; of the holes' sizes 1, 2, 4, 8 the lower median is image 3.
    assert choose(PIXELS, 2) == [2, 3]
    assert choose(PIXELS, 4) == [2, 3, 1, 5]
    assert choose(PIXELS, 9) == [2, 3, 1, 5, 0, 4]
    assert choose(PIXELS, 0) == []
    for count in range(6):
        assert choose(PIXELS, count) == choose(PIXELS, 6)[:count]


def test_a_mask_is_read_again_by_its_colours_and_grey_is_uncounted(tmp_path: Path) -> None:
    labels = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    colors = tuple(CLASSES.values())
    path = tmp_path / "mask.png"
    path.write_bytes(palette_png(labels, colors))
    assert (LabelMap(CLASSES, 0).read(path).labels == labels).all()
    labels[0, 0] = 255
    path.write_bytes(palette_png(labels, colors))
    assert cv2.imread(str(path))[0].tolist() == [[128] * 3, [0, 0, 255], [0, 255, 0]]


def test_names_of_folders_are_plain_and_no_two_are_equal() -> None:
    assert folder_names(["train/a", "train_a", "..", "ü b", "x.1"]) == [
        "train_a",
        "train_a_",
        "_..",
        "ü_b",
        "x.1",
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    masks = np.zeros((3, 8, 8), np.uint8)
    masks[1, :2], masks[2, :4] = 1, 2
    images = np.arange(3 * 8 * 8 * 3, dtype=np.uint8).reshape(3, 8, 8, 3)
    records = {"train": (images, masks), "valid": (images, masks)}
    return write_store(tmp_path_factory.mktemp("pictures") / "store", records)


def rows_of(count: int):
    """A model that sees class 1 in the first rows of every image."""

    def predict(images):
        probabilities = np.zeros((*images.shape[:3], 3), np.float32)
        probabilities[..., 0] = 0.5
        probabilities[:, :count, :, 1] = 1.0
        return probabilities

    return predict


def test_pictures_are_written_every_k_epochs_and_the_first(store: Store, tmp_path: Path) -> None:
    pictures = EpochPictures(tmp_path, store, "valid", count=2, every=2)
    pictures.begin(0, rows_of(0))
    for epoch in range(1, 5):
        pictures.epoch_ended(epoch, rows_of(epoch))
    folder = tmp_path / "predictions"
    assert sorted(p.name for p in (folder / "valid_1").iterdir()) == [
        "epoch-0001.png",
        "epoch-0002.png",
        "epoch-0004.png",
        "image.jpg",
        "truth.png",
    ]
    shown = cv2.imread(str(folder / "valid_2" / "epoch-0004.png"))
    assert shown[:4].reshape(-1, 3).tolist() == [[0, 0, 255]] * 32
    assert shown[4:].max() == 0
    listing = json.loads((folder / "pictures.json").read_text())
    assert [entry["name"] for entry in listing["images"]] == ["valid_1", "valid_2"]
    assert [entry["classes"] for entry in listing["images"]] == [["hole"], ["crack"]]


def test_going_on_removes_what_is_later_and_makes_up_for_the_checkpoint(
    store: Store, tmp_path: Path
) -> None:
    pictures = EpochPictures(tmp_path, store, "valid", count=1, every=1)
    pictures.begin(0, rows_of(0))
    pictures.epoch_ended(1, rows_of(1))
    pictures.epoch_ended(3, rows_of(3))
    EpochPictures(tmp_path, store, "valid", count=1, every=1).begin(2, rows_of(2))
    frames = (tmp_path / "predictions" / "valid_1").glob("epoch-*.png")
    assert sorted(path.name for path in frames) == ["epoch-0001.png", "epoch-0002.png"]


def test_of_several_workers_one_writes_though_all_predict(store: Store, tmp_path: Path) -> None:
    asked = []
    pictures = EpochPictures(tmp_path, store, "valid", count=2, every=1, writes=False)

    def predict(images):
        asked.append(images.shape)
        return rows_of(1)(images)

    pictures.begin(1, predict)
    assert asked == [(1, 8, 8, 3)] * 2
    assert list(tmp_path.iterdir()) == []
