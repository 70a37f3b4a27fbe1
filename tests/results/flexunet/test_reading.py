from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from data_pipeline.datasets.dataset_yaml import DatasetInfo, write_dataset_yaml
from results.flexunet.mapping import to_flexunet
from results.flexunet.reading import Imported, from_flexunet
from results.flexunet.syntax import read_flexunet, write_flexunet

RECIPE = Path(__file__).parents[3] / "configs" / "magnetic_tile_reference.config"
COLORS = {(0, 0, 0): 0, (255, 0, 0): 1, (0, 255, 0): 2, (0, 0, 255): 3, (255, 255, 0): 4}
COLORS |= {(255, 0, 255): 5}


def recipe(folder: Path, **sections: dict[str, Any]) -> Imported:
    """The published recipe, changed: a value of None takes a key out."""
    values = {name: dict(keys) for name, keys in read_flexunet(RECIPE).values.items()}
    for section, keys in sections.items():
        changed = values.get(section, {}) | keys
        values[section] = {key: value for key, value in changed.items() if value is not None}
    path = folder / "recipe.config"
    path.write_text(write_flexunet(values), encoding="utf-8")
    return from_flexunet(read_flexunet(path), folder)


def test_the_published_recipe_is_taken_over(tmp_path: Path) -> None:
    found = recipe(tmp_path)

    assert found.problems == []
    assert found.tree["model"] == {
        "num_layers": 8,
        "base_filters": 16,
        "base_kernel": 11,
        "dropout_rate": 0.05,
        "dilation": 1,
        "normalization": "none",
        "activation": "relu",
        "input_scaling": "rescale",
        "separable": False,
    }
    assert found.tree["train"] == {
        "epochs": 100,
        "batch_size": 2,
        "loss": "cross_entropy",
        "class_weighting": "none",
        "optimizer": "adam",
        "learning_rate": 7e-5,
        "clip_value": 0.5,
        "clip_norm": None,
        "early_stopping_patience": 10,
        "early_stopping_metric": "validation_loss",
        "schedule": "reduce_on_plateau",
        "plateau_factor": 0.4,
        "plateau_patience": 4,
        "warmup_steps": 0,
    }
    assert found.tree["augment"] == {"preset": "none", "sampling": "natural"}
    assert found.tree["data"]["image_size"] == [512, 512]
    assert found.tree["data"]["channels"] == 3
    assert list(found.tree["data"]["classes"].values()) == [list(color) for color in COLORS]
    assert found.notes == ["train.reducer_patience: counts here; that trainer does not hand it on"]


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()

    found = recipe(tmp_path / "project")

    assert found.tree["data"]["source"] == str(tmp_path / "data" / "magnetic_tile")


@pytest.mark.parametrize("root", ["/data/tiles", "D:\\data\\tiles"])
def test_paths_may_be_absolute_or_of_windows(tmp_path: Path, root: str) -> None:
    mark = "\\" if "\\" in root else "/"
    folders = {
        split: {f"{kind}_dir": mark.join([root, split, kind, ""]) for kind in ("images", "masks")}
        for split in ("train", "valid", "test")
    }

    found = recipe(tmp_path, **folders)

    assert found.problems == []
    assert found.tree["data"]["source"].replace("\\", "/").endswith("data/tiles")


def test_a_test_split_is_not_needed(tmp_path: Path) -> None:
    found = recipe(tmp_path, test={"images_dir": None, "masks_dir": None})

    assert found.problems == []


def test_classes_are_named_by_a_dataset_yaml_of_the_same_colours(tmp_path: Path) -> None:
    folder, source = tmp_path / "configs", tmp_path / "data" / "magnetic_tile"
    folder.mkdir()
    source.mkdir(parents=True)
    named = {f"name {index}": color for color, index in COLORS.items()}
    write_dataset_yaml(source, DatasetInfo("tiles", "here", named))

    assert "classes" not in recipe(folder).tree["data"]

    write_dataset_yaml(source, DatasetInfo("tiles", "here", dict(reversed(named.items()))))
    found = recipe(folder)

    assert list(found.tree["data"]["classes"]) == [
        "background",
        *(f"class {i}" for i in range(1, 6)),
    ]
    assert f"mask.rgb_map: other colours than in {source}/dataset.yaml" in found.notes


def test_a_dataset_yaml_that_is_broken_names_nothing(tmp_path: Path) -> None:
    folder, source = tmp_path / "configs", tmp_path / "data" / "magnetic_tile"
    folder.mkdir()
    source.mkdir(parents=True)
    (source / "dataset.yaml").write_text("classes: {a: [0, 0]", encoding="utf-8")

    assert len(recipe(folder).tree["data"]["classes"]) == 6


def test_classes_stand_in_the_order_of_their_indices(tmp_path: Path) -> None:
    colors = {(9, 9, 9): 1, (0, 0, 0): 0}
    found = recipe(tmp_path, model={"num_classes": 2}, mask={"rgb_map": colors})

    assert found.tree["data"]["classes"] == {"background": [0, 0, 0], "class 1": [9, 9, 9]}


def test_one_class_becomes_two_with_a_note(tmp_path: Path) -> None:
    model = {"num_classes": 1, "loss": "bce_dice_loss"}
    found = recipe(tmp_path, model=model, mask={"rgb_map": None})

    assert found.problems == []
    assert found.tree["train"]["loss"] == "cross_entropy_dice"
    assert len(found.tree["data"]["classes"]) == 2
    assert "model.num_classes: 1 (sigmoid) becomes 2 classes with softmax" in found.notes


def test_adamw_has_the_weight_decay_of_keras(tmp_path: Path) -> None:
    train = recipe(tmp_path, model={"optimizer": "AdamW"}).tree["train"]

    assert (train["optimizer"], train["weight_decay"]) == ("adamw", 0.004)


def test_without_the_reducer_the_rate_is_constant(tmp_path: Path) -> None:
    found = recipe(tmp_path, train={"learning_rate_reducer": False})

    assert found.tree["train"]["schedule"] == "constant"
    assert found.notes == []


def test_augmentation_is_taken_over_with_its_steps(tmp_path: Path) -> None:
    found = recipe(
        tmp_path,
        model={"generator": True},
        train={"steps_per_epoch": 200},
        augmentor={"hflip": True, "deformation": True},
    )

    assert found.problems == []
    assert found.tree["train"]["steps_per_epoch"] == 200
    assert found.tree["augment"]["horizontal_flip"] is True
    assert found.tree["augment"]["elastic"] > 0
    assert any(note.startswith("augmentor.deformation") for note in found.notes)


def test_without_the_generator_nothing_is_augmented(tmp_path: Path) -> None:
    found = recipe(tmp_path, train={"steps_per_epoch": 200}, augmentor={"hflip": True})

    assert found.tree["augment"] == {"preset": "none", "sampling": "natural"}
    assert "steps_per_epoch" not in found.tree["train"]


def test_what_is_left_out_and_harmless_is_noted(tmp_path: Path) -> None:
    found = recipe(
        tmp_path, model={"dilation": None, "activation": None}, image={"color_order": None}
    )

    assert found.problems == []
    assert {
        "model.dilation: not given, taken as (1, 1)",
        "model.activation: not given, taken as 'relu'",
        "image.color_order: not given, taken as 'RGB'",
    } <= set(found.notes)


@pytest.mark.parametrize(
    ("section", "fields", "problem"),
    [
        ("image", {"color_order": "BGR"}, "image.color_order: expected 'RGB', received 'BGR'"),
        ("model", {"input_normalize": False}, "input_normalize: expected True, received False"),
        ("model", {"loss": "dice_loss"}, "loss: expected 'categorical_crossentropy', received"),
        ("model", {"loss": "bce_dice_loss"}, "loss: expected 'categorical_crossentropy', received"),
        ("model", {"base_kernels": (11, 9)}, "expected two equal odd sides, received (11, 9)"),
        ("model", {"base_kernels": (4, 4)}, "expected two equal odd sides, received (4, 4)"),
        ("model", {"dilation": (1, 2)}, "dilation: expected two equal sides, received (1, 2)"),
        ("model", {"activation": "swish2"}, "activation: expected 'relu' or 'mish'"),
        ("model", {"optimizer": "SGD"}, "optimizer: expected 'Adam' or 'AdamW', received 'SGD'"),
        ("model", {"image_channels": 4}, "image_channels: expected 1 or 3, received 4"),
        (
            "model",
            {"model": "TensorFlowFlexAttentionUNet"},
            "model.model: expected 'TensorFlowFlexUNet'",
        ),
        ("model", {"num_layers": None}, "model.num_layers: expected a value, received none"),
        ("model", {"clipvalue": None}, "model.clipvalue: expected a value, received none"),
        ("model", {"num_classes": 5}, "expected each index of 0 to num_classes - 1 = 4 once"),
        ("mask", {"rgb_map": {(0, 0, 0): 0, (1, 1, 1): 0}}, "received [0, 0]"),
        ("mask", {"mask_file_format": ".gif"}, "mask_file_format: expected '.png' or '.npz'"),
        ("mask", {"rgb_map": None}, "mask.rgb_map: expected a value, received none"),
        (
            "valid",
            {"images_dir": "./elsewhere/"},
            "valid.images_dir: expected a folder ending in valid/images/, received './elsewhere/'",
        ),
        (
            "valid",
            {"images_dir": "./other/valid/images/"},
            "expected all splits in one folder, received",
        ),
        ("valid", {"masks_dir": None}, "valid.masks_dir: expected a value, received none"),
    ],
)
def test_what_cannot_be_said_here_is_a_problem(
    tmp_path: Path, section: str, fields: dict[str, Any], problem: str
) -> None:
    (found,) = recipe(tmp_path, **{section: fields}).problems

    assert problem in found


def test_many_problems_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    found = recipe(tmp_path, model={"loss": "x", "optimizer": "y", "base_kernels": (2, 2)})
    path = tmp_path / "recipe.config"
    lines = path.read_text(encoding="utf-8").splitlines()

    assert len(found.problems) == 3
    for problem in found.problems:
        number = int(problem.removeprefix("line ").partition(":")[0])
        key = problem.partition("model.")[2].partition(":")[0]
        assert lines[number - 1].startswith(key)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("tiles/train_eval_infer.config", "tiles"),
        ("tiles/My recipe (2).config", "My-recipe-2-"),
        ("tiles/__.config", "flexunet"),
    ],
)
def test_a_study_is_named_after_its_file_or_folder(tmp_path: Path, file: str, name: str) -> None:
    path = tmp_path / file
    path.parent.mkdir()
    path.write_text("[model]\nnum_layers = 3\n", encoding="utf-8")

    assert from_flexunet(read_flexunet(path), path.parent).tree["study"] == {"name": name}


def test_the_recipe_comes_back_as_it_was(tmp_path: Path) -> None:
    """Config file to our terms and back: every value of the published file, at its key."""
    found = recipe(tmp_path)
    classes = found.tree["data"]["classes"]
    back = to_flexunet(found.tree, classes=classes, images_root="../data/magnetic_tile")
    published = read_flexunet(RECIPE).values

    places = {("infer", "images_dir"), ("infer", "output_dir")}
    different = {
        (section, key): (value, back.values[section][key])
        for section, keys in published.items()
        for key, value in keys.items()
        if (section, key) not in places and back.values[section][key] != value
    }
    assert different == {}
    assert back.lost == ()  # so that --strict takes it
    (note,) = back.notes
    assert "reducer_patience" in note
