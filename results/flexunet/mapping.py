"""A config of constants in the terms of the reference's trainer.

What that trainer cannot express is never dropped in silence: it is listed with the nearest that is
written. The other way is ``results/flexunet/reading.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from results.flexunet.augment import to_augmentor
from results.flexunet.syntax import write_flexunet

FILE_NAME = "train_eval_infer.config"
KERAS_WEIGHT_DECAY = 0.004
"""AdamW's default in Keras, which the reference never overrides."""
NEVER_CLIPPED = 1e9
"""A clipvalue that no gradient reaches: that trainer has no word for none."""
_STEPS = {"steps_per_epoch": 200, "validation_steps": 80}  # a published file's, commented out
_NEAREST_ACTIVATION = {"relu": "relu", "mish": "mish", "gelu": "mish", "silu": "mish"}
OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW"}


@dataclass(frozen=True)
class Lost:
    """A setting that the reference's trainer cannot express.

    Attributes:
        field: Its dotted name.
        value: What the config says.
        nearest: What the file says in its place, in words.
    """

    field: str
    value: Any
    nearest: str

    def __str__(self) -> str:
        return f"{self.field}: {self.value!r}; nearest: {self.nearest}"


@dataclass(frozen=True)
class FlexUNetExport:
    """A config for the reference's trainer.

    Attributes:
        values: ReportSection to key to value, every key that its trainer reads.
        lost: What it cannot express.
        text: The file, with what is lost and the notes in its head.
        notes: What to mind, such as keys that that trainer ignores: no loss of the file.
    """

    values: Mapping[str, Mapping[str, Any]]
    lost: tuple[Lost, ...]
    text: str
    notes: tuple[str, ...] = ()


def to_flexunet(
    config: Mapping[str, Any],
    *,
    classes: Mapping[str, Sequence[int]],
    images_root: str,
    mask_format: str = ".png",
    counts: Mapping[str, int] | None = None,
    notes: Sequence[str] = (),
) -> FlexUNetExport:
    """Say a config of constants in the terms of the reference's trainer.

    Args:
        config: The tree of a config, as best.yaml has it: constants, every field named. Of a
            record of an older version, what it does not name it did not do.
        classes: Class name to its RGB colour in the masks, in index order.
        images_root: Folder of ``<split>/images/`` and ``<split>/masks/`` on the machine that
            trains.
        mask_format: Suffix of the mask files: .png or .npz.
        counts: Split to its number of images, for the steps of an epoch with augmentation.
        notes: More of them for its head, such as of data that are not there.

    Raises:
        ValueError: for another mask format, or a config that lacks a field without which nothing
            can be trained.
    """
    if mask_format not in (".png", ".npz"):
        raise ValueError(f"expected the mask format .png or .npz, received {mask_format!r}")
    needed = {
        "model": ("num_layers", "base_filters", "base_kernel", "dropout_rate"),
        "train": ("epochs", "batch_size", "learning_rate"),
        "data": ("image_size", "channels"),
    }
    missing = [f"{s}.{k}" for s, keys in needed.items() for k in keys if k not in config.get(s, {})]
    if missing:
        raise ValueError(f"expected the fields {', '.join(missing)} in the config, found none")
    writer = _FlexUNetWriter(config, counts or {})
    root = images_root.rstrip("/\\")
    values = writer.sections(root, classes, mask_format)
    lost, notes = tuple(writer.lost), (*writer.notes, *notes)
    text = write_flexunet(values, _head(lost, notes, classes, root))
    return FlexUNetExport(values, lost, text, notes)


def _head(
    lost: Sequence[Lost], notes: Sequence[str], classes: Mapping[str, Any], root: str
) -> list[str]:
    lines = [
        f"{FILE_NAME}, written by flexunet-search for the trainer of the reference.",
        f"Expects <split>/images/ and <split>/masks/ in {root}, split = train, valid and test.",
        "Classes by index: "
        + ", ".join(f"{index} {' '.join(name.split())}" for index, name in enumerate(classes)),
    ]
    if lost:
        lines += ["", "Lost: what that trainer cannot express, and the nearest, written here:"]
        lines += [f"- {' '.join(str(item).split())}" for item in lost]
    if notes:
        lines += ["", "Mind:"]
        lines += [f"- {' '.join(note.split())}" for note in notes]
    return lines


class _FlexUNetWriter:
    """Writes the sections, and remembers what is lost on the way."""

    def __init__(self, config: Mapping[str, Any], counts: Mapping[str, int]) -> None:
        self.data = config["data"]
        self.model = config["model"]
        self.train = config["train"]
        self.augmentor = to_augmentor(config.get("augment", {}))
        self.counts = counts
        self.lost: list[Lost] = []
        self.notes: list[str] = []

    def sections(
        self, root: str, classes: Mapping[str, Sequence[int]], mask_format: str
    ) -> dict[str, dict[str, Any]]:
        folders = {
            split: {"images_dir": f"{root}/{split}/images/", "masks_dir": f"{root}/{split}/masks/"}
            for split in ("train", "valid", "test")
        }
        pictures = {"images_dir": f"{root}/test/images/"}
        values = {
            "model": self._model(len(classes)) | self._compilation(),
            "dataset": {"class_name": "ImageCategorizedMaskDataset"},
            "train": self._training() | folders["train"] | self._steps(),
            "valid": folders["valid"],
            "test": folders["test"],
            "infer": {**pictures, "output_dir": "./test_output/"},
            "tiledinfer": {
                "overlapping": 64,
                "split_size": self.data["image_size"][1],
                **pictures,
                "output_dir": "./test_output_tiled/",
            },
            "image": {"color_order": "RGB"},
            "mask": {
                "mask_file_format": mask_format,
                "mask_datatype": "categorized",
                "rgb_map": {rgb(color): i for i, color in enumerate(classes.values())},
            },
            **self.augmentor.sections,
        }
        self._data()
        self.lost += [Lost(*item) for item in self.augmentor.lost]
        return values

    def lose(self, name: str, value: Any, nearest: str) -> None:
        self.lost.append(Lost(name, value, nearest))

    def _model(self, num_classes: int) -> dict[str, Any]:
        model = self.model
        height, width = self.data["image_size"]
        activation = model.get("activation", "relu")
        normalization = model.get("normalization", "none")
        written = _NEAREST_ACTIVATION.get(activation, "relu")
        if written != activation:
            self.lose("model.activation", activation, written)
        if normalization not in ("none", "batch"):
            self.lose("model.normalization", normalization, "normalization = True, by batch")
        if model.get("input_scaling", "rescale") != "rescale":
            self.lose("model.input_scaling", model["input_scaling"], "images divided by 255")
        if model.get("separable", False):
            self.lose("model.separable", True, "plain convolutions, with far more weights")
        return {
            "model": "TensorFlowFlexUNet",
            "generator": self.augmentor.used,
            "image_width": width,
            "image_height": height,
            "image_channels": self.data["channels"],
            "input_normalize": True,
            "normalization": normalization != "none",
            "num_classes": num_classes,
            "base_filters": model["base_filters"],
            "base_kernels": (model["base_kernel"],) * 2,
            "num_layers": model["num_layers"],
            "dropout_rate": model["dropout_rate"],
            "dilation": (model.get("dilation", 1),) * 2,
            "activation": written,
        }

    def _compilation(self) -> dict[str, Any]:
        train = self.train
        loss, optimizer = train.get("loss", "cross_entropy"), train.get("optimizer", "adam")
        if loss != "cross_entropy":
            self.lose("train.loss", loss, "categorical_crossentropy")
        weighting = train.get("class_weighting", "none")
        if weighting != "none":
            weights = train.get("class_weights")
            self.lose("train.class_weighting", weights or weighting, "all classes weigh the same")
        decay = train.get("weight_decay", 0.0)
        if optimizer == "adamw" and decay != KERAS_WEIGHT_DECAY:
            self.lose("train.weight_decay", decay, f"{KERAS_WEIGHT_DECAY}, Keras' default")
        clip = train.get("clip_value")
        if clip is None and train.get("clip_norm") is not None:
            clip = train["clip_norm"]
            self.lose("train.clip_norm", clip, f"each gradient element to {clip:g} (clipvalue)")
        return {
            "optimizer": OPTIMIZERS[optimizer],
            "learning_rate": train["learning_rate"],
            "clipvalue": NEVER_CLIPPED if clip is None else clip,
            "loss": "categorical_crossentropy",
            "metrics": ["dice_coef_multiclass"],
            "show_summary": False,
        }

    def _training(self) -> dict[str, Any]:
        train, patience = self.train, self.train.get("early_stopping_patience")
        if patience is not None and train.get("early_stopping_metric") != "validation_loss":
            metric = train.get("early_stopping_metric", "objective")
            self.lose("train.early_stopping_metric", metric, "the validation loss")
        if train.get("precision", "float32") != "float32":
            self.lose("train.precision", train["precision"], "float32")
        if train.get("accumulation_steps", 1) != 1:
            self.lose("train.accumulation_steps", train["accumulation_steps"], "an update a batch")
        if averaging := train.get("weight_averaging"):
            self.lose("train.weight_averaging", averaging, "the weights of the best epoch")
        return {
            "epochs": train["epochs"],
            "batch_size": train["batch_size"],
            "patience": patience or train["epochs"],  # as many as there are: never
            "metrics": ["dice_coef_multiclass", "val_dice_coef_multiclass"],
            "model_dir": "./models/",
            "eval_dir": "./eval/",
            "create_backup": False,
            **self._schedule(),
            "epoch_change_infer": True,
            "epoch_change_infer_dir": "./epoch_change_infer",
            "epoch_change_tiled_infer": False,
            "epoch_change_tiled_infer_dir": "./epoch_change_tiled_infer",
            "num_infer_images": 6,
            "save_weights_only": True,
        }

    def _schedule(self) -> dict[str, Any]:
        train = self.train
        schedule, patience = train.get("schedule", "constant"), train.get("plateau_patience", 4)
        if schedule == "cosine":
            self.lose("train.schedule", schedule, "less on each plateau (learning_rate_reducer)")
        if schedule == "reduce_on_plateau":
            self.notes.append(
                f"train.reducer_patience = {patience}: that trainer reads it, but does not hand "
                "it to its callback"
            )
        if train.get("warmup_steps", 0):
            self.lose("train.warmup_steps", train["warmup_steps"], "none")
        return {
            "learning_rate_reducer": schedule != "constant",
            "reducer_factor": train.get("plateau_factor", 0.4),
            "reducer_patience": patience,
        }

    def _steps(self) -> dict[str, Any]:
        """Return the steps of an epoch, which that trainer reads where it augments."""
        steps, batch = self.train.get("steps_per_epoch"), self.train["batch_size"]
        found = {
            key: math.ceil(self.counts[split] / batch) if self.counts.get(split) else _STEPS[key]
            for key, split in (("steps_per_epoch", "train"), ("validation_steps", "valid"))
        }
        if steps is not None:
            found["steps_per_epoch"] = steps
            if not self.augmentor.used:
                self.lose("train.steps_per_epoch", steps, "every training image once an epoch")
        elif self.augmentor.used and not self.counts.get("train"):
            nearest = f"{found['steps_per_epoch']}: the number of images is not known here"
            self.lose("train.steps_per_epoch", None, nearest)
        return found

    def _data(self) -> None:
        if self.data.get("resize", "stretch") != "stretch":
            nearest = "sides scaled independently"
            self.lose("data.resize", self.data["resize"], nearest)
        folds = (self.data.get("split") or {}).get("folds")
        if folds is not None:
            self.lose("data.split.folds", folds, "the folders train, valid and test")


def rgb(color: Sequence[int]) -> tuple[int, int, int]:
    """Return a colour as the reference writes it."""
    red, green, blue = (int(part) for part in color)
    return red, green, blue
