from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from results.flexunet.mapping import FlexUNetExport, Lost, to_flexunet
from results.flexunet.syntax import read_flexunet

CLASSES = {"background": (0, 0, 0), "Crack": (0, 0, 255)}

# Every key that the reference's page lists, spelled out: the table in the code is not asked.
KEYS = {
    "model": "model generator image_width image_height image_channels input_normalize "
    "normalization num_classes base_filters base_kernels num_layers dropout_rate dilation "
    "activation optimizer learning_rate clipvalue loss metrics show_summary",
    "dataset": "class_name",
    "train": "epochs batch_size patience metrics model_dir eval_dir images_dir masks_dir "
    "learning_rate_reducer reducer_factor reducer_patience epoch_change_infer "
    "epoch_change_infer_dir num_infer_images save_weights_only steps_per_epoch validation_steps",
    "valid": "images_dir masks_dir",
    "test": "images_dir masks_dir",
    "infer": "images_dir output_dir",
    "tiledinfer": "overlapping split_size images_dir output_dir",
    "image": "color_order",
    "mask": "mask_file_format mask_datatype rgb_map",
    "augmentor": "rotation angles shrinks shears hflip vflip deformation distortion sharpening "
    "brightening barrdistortion pincdistortion",
    "deformation": "alpah sigmoids",
    "distortion": "gaussian_filter_rsigma gaussian_filter_sigma distortions",
    "sharpening": "k",
    "brightening": "alpha beta",
    "barrdistortion": "radius amount centers",
    "pincdistortion": "radius amount centers",
}

# A config that the reference's trainer can express in full.
PLAIN: dict[str, Any] = {
    "data": {"image_size": [128, 64], "channels": 1, "resize": "stretch"},
    "model": {
        "num_layers": 4,
        "base_filters": 8,
        "base_kernel": 5,
        "dilation": 2,
        "dropout_rate": 0.1,
        "normalization": "batch",
        "activation": "mish",
        "input_scaling": "rescale",
        "separable": False,
    },
    "train": {
        "epochs": 30,
        "batch_size": 4,
        "loss": "cross_entropy",
        "class_weighting": "none",
        "optimizer": "adamw",
        "weight_decay": 0.004,
        "learning_rate": 0.001,
        "clip_value": 0.25,
        "clip_norm": None,
        "schedule": "constant",
        "early_stopping_patience": 7,
        "early_stopping_metric": "validation_loss",
    },
    "augment": {"sampling": "natural"},
}


def export(tree: dict[str, Any] = PLAIN, **given: Any) -> FlexUNetExport:
    return to_flexunet(tree, **{"classes": CLASSES, "images_root": "/data/tiles/", **given})


def changed(section: str, **fields: Any) -> dict[str, Any]:
    tree = copy.deepcopy(PLAIN)
    tree[section].update(fields)
    return tree


def test_every_key_that_the_reference_reads_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "train_eval_infer.config"
    path.write_text(export().text, encoding="ascii")
    values = read_flexunet(path).values

    missing = {
        f"{section}.{key}"
        for section, keys in KEYS.items()
        for key in keys.split()
        if key not in values.get(section, {})
    }
    assert missing == set()
    assert values == export().values


def test_what_that_trainer_can_express_is_written_and_nothing_is_lost() -> None:
    found = export()
    model, train = found.values["model"], found.values["train"]

    assert found.lost == ()
    assert "Lost" not in found.text
    assert (model["image_height"], model["image_width"]) == (128, 64)
    assert (model["image_channels"], model["num_classes"]) == (1, 2)
    assert (model["base_kernels"], model["dilation"]) == ((5, 5), (2, 2))
    assert (model["normalization"], model["activation"]) == (True, "mish")
    assert (model["optimizer"], model["clipvalue"]) == ("AdamW", 0.25)
    assert (train["patience"], train["learning_rate_reducer"]) == (7, False)
    assert train["images_dir"] == "/data/tiles/train/images/"
    assert found.values["valid"]["masks_dir"] == "/data/tiles/valid/masks/"
    assert found.values["mask"]["rgb_map"] == {(0, 0, 0): 0, (0, 0, 255): 1}
    assert model["generator"] is False


@pytest.mark.parametrize(
    ("section", "fields", "lost", "section_of", "key", "written"),
    [
        (
            "train",
            {"loss": "focal_dice"},
            "train.loss",
            "model",
            "loss",
            "categorical_crossentropy",
        ),
        ("train", {"schedule": "cosine"}, "train.schedule", "train", "learning_rate_reducer", True),
        ("train", {"warmup_steps": 9}, "train.warmup_steps", "train", "epochs", 30),
        (
            "train",
            {"clip_value": None, "clip_norm": 1.5},
            "train.clip_norm",
            "model",
            "clipvalue",
            1.5,
        ),
        ("train", {"weight_decay": 0.1}, "train.weight_decay", "model", "optimizer", "AdamW"),
        (
            "train",
            {"class_weighting": "given", "class_weights": [1.0, 3.0]},
            "train.class_weighting",
            "model",
            "loss",
            "categorical_crossentropy",
        ),
        ("train", {"precision": "bfloat16"}, "train.precision", "train", "batch_size", 4),
        ("train", {"accumulation_steps": 3}, "train.accumulation_steps", "train", "batch_size", 4),
        (
            "train",
            {"weight_averaging": 0.99},
            "train.weight_averaging",
            "train",
            "batch_size",
            4,
        ),
        ("train", {"steps_per_epoch": 5}, "train.steps_per_epoch", "train", "steps_per_epoch", 5),
        (
            "train",
            {"early_stopping_metric": "objective"},
            "train.early_stopping_metric",
            "train",
            "patience",
            7,
        ),
        (
            "model",
            {"normalization": "group"},
            "model.normalization",
            "model",
            "normalization",
            True,
        ),
        (
            "model",
            {"normalization": "layer"},
            "model.normalization",
            "model",
            "normalization",
            True,
        ),
        ("model", {"separable": True}, "model.separable", "model", "base_filters", 8),
        (
            "model",
            {"input_scaling": "standardize"},
            "model.input_scaling",
            "model",
            "input_normalize",
            True,
        ),
        ("model", {"activation": "gelu"}, "model.activation", "model", "activation", "mish"),
        ("model", {"activation": "elu"}, "model.activation", "model", "activation", "relu"),
        ("data", {"resize": "letterbox"}, "data.resize", "model", "image_width", 64),
        ("data", {"split": {"folds": 5}}, "data.split.folds", "model", "image_width", 64),
        ("augment", {"sampling": "balanced"}, "augment.sampling", "model", "generator", False),
        (
            "augment",
            {"oversample": {"Crack": 2}},
            "augment.oversample",
            "model",
            "generator",
            False,
        ),
        ("augment", {"paste": 0.2}, "augment.paste", "model", "generator", False),
        ("augment", {"patch_size": 32}, "augment.patch_size", "model", "image_width", 64),
        ("augment", {"elastic": 0.02}, "augment.elastic", "augmentor", "deformation", False),
        ("augment", {"brightness": 0.1}, "augment.brightness", "augmentor", "brightening", False),
        ("augment", {"noise": 0.1}, "augment.noise", "model", "generator", False),
    ],
)
def test_what_is_lost_is_told_with_the_nearest_that_is_written(
    section: str, fields: dict[str, Any], lost: str, section_of: str, key: str, written: Any
) -> None:
    found = export(changed(section, **fields))

    assert lost in [item.field for item in found.lost]
    assert found.values[section_of][key] == written
    head = found.text.partition("\n[model]")[0]
    for item in found.lost:
        assert f"; - {item.field}: {item.value!r}; nearest: {item.nearest}\n" in head


def test_without_clipping_the_value_is_never_reached() -> None:
    found = export(changed("train", clip_value=None))

    assert found.lost == ()
    assert found.values["model"]["clipvalue"] >= 1e9


def test_without_early_stopping_the_patience_is_never_over() -> None:
    found = export(changed("train", early_stopping_patience=None))

    assert (found.lost, found.values["train"]["patience"]) == ((), 30)


def test_augmentation_is_switched_on_with_the_steps_of_an_epoch() -> None:
    tree = changed("augment", horizontal_flip=True, rotation=10.0)
    found = export(tree, counts={"train": 101, "valid": 9})

    assert found.values["model"]["generator"] is True
    assert found.values["augmentor"]["hflip"] is True
    assert found.values["augmentor"]["angles"] == [10.0, 350.0]
    assert found.values["train"]["steps_per_epoch"] == 26
    assert found.values["train"]["validation_steps"] == 3
    assert [(item.field, item.value) for item in found.lost] == [
        ("augment.rotation", 10.0),
        ("augment.probability", {"horizontal_flip": 0.5, "rotation": 1.0}),
        ("augment.border", "reflect"),
    ]


def test_what_the_trainer_reads_and_ignores_is_a_note_and_no_loss() -> None:
    found = export(changed("train", schedule="reduce_on_plateau", plateau_patience=3))

    assert found.lost == ()
    (note,) = found.notes
    assert note.startswith("train.reducer_patience = 3: that trainer reads it, but does not hand")
    assert f"; - {note}\n" in found.text
    assert found.values["train"]["reducer_patience"] == 3


def test_a_patience_that_no_schedule_has_is_not_spoken_of() -> None:
    found = export(changed("train", schedule="cosine", plateau_patience=3))

    assert ([item.field for item in found.lost], found.notes) == (["train.schedule"], ())


def test_steps_that_cannot_be_known_are_told() -> None:
    found = export(changed("augment", vertical_flip=True))

    assert "train.steps_per_epoch" in [item.field for item in found.lost]


def test_masks_may_be_npz() -> None:
    assert export(mask_format=".npz").values["mask"]["mask_file_format"] == ".npz"
    with pytest.raises(ValueError, match=r"expected the mask format .png or .npz, received '.jpg'"):
        export(mask_format=".jpg")


def test_a_config_that_lacks_fields_is_refused() -> None:
    tree = changed("model")
    del tree["model"]["num_layers"], tree["train"]["epochs"]

    with pytest.raises(ValueError, match=r"expected the fields model.num_layers, train.epochs"):
        export(tree)


def test_a_name_begins_no_line_of_its_own() -> None:
    found = export(classes={"background": (0, 0, 0), "a\n[train]\nepochs = 1": (1, 1, 1)})

    assert found.text.count("\n[train]\n") == 1


def test_a_loss_is_words() -> None:
    assert str(Lost("train.loss", "dice", "x")) == "train.loss: 'dice'; nearest: x"
