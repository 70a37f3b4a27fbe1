from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from data_pipeline.stores.prepare import prepare
from model.cost import estimate_cost
from search.config.errors import ConfigError
from search.config.loading import config_from_tree
from search.data.preflight import check_data
from tests.search.tiny import tiny_tree

CLASSES = {"background": [0, 0, 0], "Crack": [0, 0, 255], "Fray": [255, 255, 0]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images whose Fray is in the validation split alone."""
    rng = np.random.default_rng(0)
    for split in ("train", "valid"):
        for number in range(6 if split == "train" else 2):
            for kind in ("images", "masks"):
                (tmp_path / "data" / split / kind).mkdir(parents=True, exist_ok=True)
            image = rng.integers(0, 255, (16, 16), np.uint8)
            mask = np.zeros((16, 16, 3), np.uint8)
            mask[:4] = (255, 0, 0)  # Crack, in OpenCV's order
            if split == "valid":
                mask[8:12] = (0, 255, 255)
            name = f"{split}{number}.png"
            cv2.imwrite(str(tmp_path / "data" / split / "images" / name), image)
            cv2.imwrite(str(tmp_path / "data" / split / "masks" / name), mask)
    return tmp_path / "data"


def problems_of(folder: Path, **changes: dict) -> str:
    tree = tiny_tree(folder.parent, folder)
    tree["data"]["classes"] = CLASSES
    for section, fields in changes.items():
        tree.setdefault(section, {}).update(fields)
    config = config_from_tree(tree)
    with pytest.raises(ConfigError) as caught:
        check_data(config, prepare(config.data))
    return str(caught.value)


def test_all_that_the_data_refuse_stands_in_one_error(folder: Path) -> None:
    text = problems_of(
        folder,
        train={
            "batch_size": {"choice": [4, 8]},
            "class_weighting": "given",
            "class_weights": [1.0, 2.0],
        },
        augment={"sampling": "weights", "sampling_weights": {"Crack": 1.0, "Blowhole": 1.0}},
    )

    assert "4 problems" in text
    assert "pixels of class 'Fray' in the training split, received none" in text
    assert "at most the 6 images of the training split, received 8" in text
    assert "expected 3 weights (background, Crack, Fray), received 2" in text
    assert "received 'Blowhole'" in text


def test_a_weight_for_a_class_without_images_is_refused(folder: Path) -> None:
    weights = {"sampling": "weights", "sampling_weights": {"Fray": 1.0, "Crack": 1.0}}

    assert "training images of 'Fray' for its weight 1.0" in problems_of(folder, augment=weights)


def test_weights_of_the_objective_name_foreground_classes(folder: Path) -> None:
    def weighted(weights: dict[str, float]) -> str:
        search = {"objective": "weighted_dice", "class_weights": weights}
        return problems_of(folder, search=search)

    named = weighted({"Crack": 2.0, "background": 1.0, "Blowhole": 1.0})
    assert "expected classes of Crack, Fray, received 'background'" in named
    assert "expected classes of Crack, Fray, received 'Blowhole'" in named
    assert "expected a weight above 0" in weighted({"Crack": 0.0, "Fray": 0.0})


def test_a_baseline_that_only_the_datas_classes_put_over_a_limit_is_refused(folder: Path) -> None:
    params = {"model.num_layers": 1, "model.base_filters": 2, "train.learning_rate": 0.01}
    model = config_from_tree(tiny_tree(folder.parent, folder)).at(params).model
    two, three = (estimate_cost(model, (16, 16, 1), classes).parameters for classes in (2, 3))
    tree = tiny_tree(folder.parent, folder, max_parameters=two)
    tree["search"]["baselines"] = [{"name": "known", "params": params}]
    (folder / "dataset.yaml").write_text(
        yaml.safe_dump({"format": 1, "classes": CLASSES}), encoding="utf-8"
    )
    config = config_from_tree(tree)
    with pytest.raises(ConfigError, match=f"'known': expected at most max_parameters.*{three}"):
        check_data(config, prepare(config.data))


def test_names_of_an_augmentation_that_the_data_lack_are_refused(folder: Path) -> None:
    text = problems_of(
        folder,
        augment={
            "sampling": "natural",
            "oversample": {"Fray": 2.0, "Dent": 2.0, "Crack": 2.0},
            "crop": 0.5,
            "crop_class": "Dent",
            "border": "constant",
            "border_class": "Dent",
        },
    )

    assert "5 problems" in text  # and no Fray to train on
    assert "augment.oversample: expected training images of 'Fray'" in text
    assert "augment.oversample: expected classes of background, Crack, Fray" in text
    assert "augment.crop_class: expected one of background, Crack, Fray, received 'Dent'" in text
    assert "augment.border_class: expected one of ignore, background, Crack, Fray" in text


def test_an_image_of_two_classes_counts_for_both_in_oversampling(folder: Path) -> None:
    for mask in (folder / "train" / "masks").iterdir():
        pixels = cv2.imread(str(mask))
        pixels[12:14] = (0, 255, 255)  # Fray, which is rarer then
        cv2.imwrite(str(mask), pixels)
    tree = tiny_tree(folder.parent, folder)
    tree["data"]["classes"] = CLASSES
    tree["augment"] = {"sampling": "natural", "oversample": {"Crack": 2.0, "Fray": 3.0}}
    config = config_from_tree(tree)

    check_data(config, prepare(config.data))
