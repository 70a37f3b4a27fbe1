"""A config file of the reference as a study of constants.

What is taken over otherwise is noted; what would change the result without our being able to say
it is a problem. The other way is ``results/flexunet/mapping.py``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from results.flexunet.augment import from_augmentor
from results.flexunet.mapping import (
    FILE_NAME,
    KERAS_WEIGHT_DECAY,
    NEVER_CLIPPED,
    OPTIMIZERS,
    rgb,
)
from results.flexunet.syntax import FlexUNetFile

_ACTIVATIONS = ("relu", "mish", "gelu", "silu", "elu", "leaky_relu")


@dataclass
class Imported:
    """A config file of the reference as a study of constants.

    Attributes:
        tree: The config, as YAML reads it; not to be used where there are problems.
        notes: What is not taken over exactly, and how it is.
        problems: What would change the result and cannot be said here, each with its line.
        lines: Path of a field to the line that says it, counted from 1.
    """

    tree: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    lines: dict[tuple[str, ...], int] = field(default_factory=dict)


def from_flexunet(file: FlexUNetFile, folder: Path) -> Imported:
    """Say a config file of the reference as a study of constants.

    Args:
        file: The file, as read.
        folder: What its relative paths are relative to.
    """
    reader = _Reader(file)
    tree: dict[str, Any] = {
        "study": {"name": _study_name(file.path)},
        "data": reader.data(folder),
        "model": reader.model(),
        "train": reader.train(),
        "augment": reader.augment(),
    }
    return Imported(tree, reader.notes, reader.problems, reader.lines)


def _study_name(path: Path) -> str:
    """Name a study after its file, or the folder of a file that is named as all are."""
    path = path.absolute()
    stem = path.parent.name if path.stem == Path(FILE_NAME).stem else path.stem
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).lstrip("._-")
    return name or "flexunet"


_MISSING = object()


class _Reader:
    """Reads the sections, and remembers what is not taken over."""

    def __init__(self, file: FlexUNetFile) -> None:
        self.file = file
        self.notes: list[str] = []
        self.problems: list[str] = []
        self.lines: dict[tuple[str, ...], int] = {}

    def take(self, section: str, key: str, name: str | None = None, default: Any = _MISSING) -> Any:
        """Return a value, and remember the line of the field that it becomes.

        A value that is missing and has a default is noted; one without is a problem, for the
        reference would fall back to one of its own in silence.
        """
        value = self.file.values.get(section, {}).get(key, _MISSING)
        line = self.file.lines.get((section, key))
        if name is not None and line is not None:
            self.lines.setdefault(tuple(name.split(".")), line)
        if value is not _MISSING:
            return value
        if default is _MISSING:
            self.problems.append(f"{section}.{key}: expected a value, received none")
            return None
        self.notes.append(f"{section}.{key}: not given, taken as {default!r}")
        return default

    def refuse(self, section: str, key: str, problem: str) -> None:
        line = self.file.lines.get((section, key))
        self.problems.append(f"{f'line {line}: ' if line else ''}{section}.{key}: {problem}")

    def choose(self, section: str, key: str, value: Any, known: Sequence[Any]) -> None:
        """Refuse a value that cannot be said here; a missing one is a problem already."""
        if value is not None and value not in known:
            choices = " or ".join(repr(choice) for choice in known)
            self.refuse(section, key, f"expected {choices}, received {value!r}")

    def side(self, key: str, name: str, default: Any = _MISSING, odd: bool = False) -> int | None:
        """Return the side of a pair that must be square."""
        pair = self.take("model", key, name, default)
        if pair is None:
            return None
        first, second = pair
        if first != second or (odd and first % 2 == 0):
            expected = "two equal odd sides" if odd else "two equal sides"
            self.refuse("model", key, f"expected {expected}, received {pair!r}")
            return None
        return int(first)

    # The sections of a config. A field that is a problem already is left out: one of it is enough.

    def data(self, folder: Path) -> dict[str, Any]:
        height = self.take("model", "image_height", "data.image_size")
        width = self.take("model", "image_width", "data.image_size")
        channels = self.take("model", "image_channels", "data.channels")
        self.choose("model", "image_channels", channels, (1, 3))
        if channels == 3:
            order = self.take("image", "color_order", default="RGB")
            self.choose("image", "color_order", order, ("RGB",))
        source = self._source(folder)
        classes = self._classes(source)
        return _given(
            source=None if source is None else str(source),
            image_size=None if None in (height, width) else [height, width],
            channels=channels if channels in (1, 3) else None,
            classes=classes,
        )

    def _source(self, folder: Path) -> Path | None:
        """Return the folder that holds the split folders: the files name each of them."""
        roots: dict[Path, str] = {}
        for split in ("train", "valid", "test"):
            for key, last in (("images_dir", "images"), ("masks_dir", "masks")):
                if split == "test" and key not in self.file.values.get("test", {}):
                    continue  # a test split is none of training's business
                given = self.take(split, key, "data.source")
                if given is None:
                    continue
                path = Path(os.path.normpath(folder / given.replace("\\", "/")))
                if path.parts[-2:] != (split, last):
                    expected = f"expected a folder ending in {split}/{last}/, received {given!r}"
                    self.refuse(split, key, expected)
                else:
                    roots.setdefault(path.parent.parent, f"{split}.{key} {given!r}")
        if len(roots) > 1:
            found = ", ".join(roots.values())
            self.problems.append(f"expected all splits in one folder, received {found}")
        return next(iter(roots), None)

    def _classes(self, source: Path | None) -> dict[str, list[int]] | None:
        """Return the classes that rgb_map names by colour alone; None: dataset.yaml names them."""
        masks = self.file.values.get("mask", {}).get("mask_file_format")
        self.choose("mask", "mask_file_format", masks, (".png", ".npz"))
        count = self.take("model", "num_classes", "data.classes")
        if count == 1:
            self.notes.append("model.num_classes: 1 (sigmoid) becomes 2 classes with softmax")
        named = _dataset_classes(source)
        default = {} if named else {(0, 0, 0): 0, (255, 255, 255): 1} if count == 1 else _MISSING
        colors = self.take("mask", "rgb_map", "data.classes", default)
        if not colors:
            return None
        ordered = sorted(colors, key=lambda color: colors[color])
        indices = sorted(colors.values())
        expected = count if count is None or count > 1 else 2
        if indices != list(range(expected or len(colors))):
            words = f"each index of 0 to num_classes - 1 = {(expected or len(colors)) - 1} once"
            self.refuse("mask", "rgb_map", f"expected {words}, received {indices}")
            return None
        if named and [rgb(color) for color in ordered] == list(named.values()):
            return None
        if named:
            self.notes.append(f"mask.rgb_map: other colours than in {source}/dataset.yaml")
        names = ["background", *(f"class {index}" for index in indices[1:])]
        return {name: list(rgb(color)) for name, color in zip(names, ordered, strict=True)}

    def model(self) -> dict[str, Any]:
        name = self.take("model", "model", default="TensorFlowFlexUNet")
        self.choose("model", "model", name, ("TensorFlowFlexUNet",))
        self.choose("model", "input_normalize", self.take("model", "input_normalize"), (True,))
        activation = self.take("model", "activation", "model.activation", "relu")
        self.choose("model", "activation", activation, _ACTIVATIONS)
        normalized = self.take("model", "normalization", "model.normalization", False)
        same = {
            key: self.take("model", key, f"model.{key}")
            for key in ("num_layers", "base_filters", "dropout_rate")
        }
        return _given(
            **same,
            base_kernel=self.side("base_kernels", "model.base_kernel", odd=True),
            dilation=self.side("dilation", "model.dilation", (1, 1)),
            normalization="batch" if normalized else "none",
            activation=activation if activation in _ACTIVATIONS else None,
            input_scaling="rescale",
            separable=False,
        )

    def train(self) -> dict[str, Any]:
        optimizer = self.take("model", "optimizer", "train.optimizer")
        self.choose("model", "optimizer", optimizer, tuple(OPTIMIZERS.values()))
        clip = self.take("model", "clipvalue", "train.clip_value")
        tree = _given(
            epochs=self.take("train", "epochs", "train.epochs"),
            steps_per_epoch=self._steps(),
            batch_size=self.take("train", "batch_size", "train.batch_size"),
            loss=self._loss(),
            class_weighting="none",
            optimizer=str(optimizer).lower() if optimizer in OPTIMIZERS.values() else None,
            learning_rate=self.take("model", "learning_rate", "train.learning_rate"),
            weight_decay=KERAS_WEIGHT_DECAY if optimizer == "AdamW" else None,
            clip_value=clip if clip is None or clip < NEVER_CLIPPED else None,
            early_stopping_patience=self.take("train", "patience", "train.early_stopping_patience"),
            early_stopping_metric="validation_loss",
        )
        return tree | self._schedule() | {"clip_norm": None, "warmup_steps": 0}

    def _schedule(self) -> dict[str, Any]:
        if not self.take("train", "learning_rate_reducer", "train.schedule", False):
            return {"schedule": "constant"}
        self.notes.append("train.reducer_patience: counts here; that trainer does not hand it on")
        return _given(
            schedule="reduce_on_plateau",
            plateau_factor=self.take("train", "reducer_factor", "train.plateau_factor"),
            plateau_patience=self.take("train", "reducer_patience", "train.plateau_patience"),
        )

    def _loss(self) -> str | None:
        loss = self.take("model", "loss", "train.loss")
        known = {"categorical_crossentropy": "cross_entropy"}
        if self.file.values.get("model", {}).get("num_classes") == 1:
            known = {"binary_crossentropy": "cross_entropy", "bce_dice_loss": "cross_entropy_dice"}
        self.choose("model", "loss", loss, tuple(known))
        return known.get(loss)

    def _steps(self) -> int | None:
        if not self.take("model", "generator", default=False):
            return None
        default = None  # every training image once, which is ours
        found: int | None = self.take("train", "steps_per_epoch", "train.steps_per_epoch", default)
        return found

    def augment(self) -> dict[str, Any]:
        values = self.file.values
        model = values.get("model", {})
        if not model.get("generator"):
            return {"preset": "none", "sampling": "natural"}
        square = model.get("image_width") == model.get("image_height")
        augment, notes = from_augmentor(values, square)
        self.notes += notes
        return augment


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _dataset_classes(source: Path | None) -> dict[str, tuple[int, int, int]] | None:
    """Return what a folder's dataset.yaml names, None where it names nothing that can be used."""
    if source is None:
        return None
    try:
        content = yaml.safe_load((source / "dataset.yaml").read_text(encoding="utf-8"))
        return {str(name): rgb(color) for name, color in content["classes"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError):
        return None  # preparing the data says what is wrong with it
