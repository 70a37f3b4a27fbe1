"""The files of an export, and what may be in a folder where one is written."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foundation.files import check_movable, check_replaceable
from results.exports.choice import MODEL_NAME, ExportError
from results.records import file_names

CONFIG_NAME = file_names.CONFIG
SCHEMA_NAME = "best.schema.json"
CARD_NAME = file_names.CARD
FLEXUNET_NAME = "train_eval_infer.config"


@dataclass(frozen=True)
class ExportFile:
    """A file, or a folder, that a format leaves.

    Attributes:
        name: Its name in the export.
        use: What it is for, as the model card says.
        kind: What the card calls it where it compares models in other formats with Keras; empty
            for a file that is not compared.
    """

    name: str
    use: str
    kind: str = ""


FORMATS: Mapping[str, tuple[ExportFile, ...]] = {
    "yaml": (
        ExportFile(CONFIG_NAME, "the whole config, with where it comes from"),
        ExportFile(SCHEMA_NAME, "the JSON schema that the config obeys"),
    ),
    "flexunet": (ExportFile(FLEXUNET_NAME, "the config for TensorFlow-FlexUNet's own trainer"),),
    "keras": (ExportFile(MODEL_NAME, "the model, for Keras 3"),),
    "savedmodel": (
        ExportFile(
            "saved_model",
            "the model for TensorFlow Serving; images of any size, resized inside",
            "SavedModel",
        ),
    ),
    "onnx": (ExportFile("best.onnx", "the model for ONNX Runtime, float32", "ONNX"),),
    "tflite": (
        ExportFile("best.tflite", "the model for TFLite, float32", "TFLite"),
        ExportFile("best_int8.tflite", "the same with weights of 8 bits", "TFLite int8"),
    ),
    "h5": (
        ExportFile(
            "best_model.h5",
            "the weights alone, as TensorFlow-FlexUNet's trainer loads them",
            "HDF5",
        ),
    ),
}
FILES = {format_: tuple(file.name for file in files) for format_, files in FORMATS.items()}
BY_NAME = {file.name: file for files in FORMATS.values() for file in files}
# Those that the model is converted to.
MODEL_FORMATS = tuple(format_ for format_, (first, *_) in FORMATS.items() if first.kind)
_EARLIER = "README.md"  # of an export before there were model cards
_OURS = {CARD_NAME, _EARLIER, *BY_NAME}

EVALUATION = "evaluation.json"
"""What tells the folder of an evaluation from others: `evaluate` puts it beside the model."""


def evaluations(out: Path) -> list[Path]:
    """Return the evaluations in a folder."""
    if not out.is_dir():
        return []
    return sorted(
        path
        for path in out.glob("evaluation-*")
        if not path.is_symlink() and (path / EVALUATION).is_file()
    )


def keep_evaluations(out: Path, made: Path) -> tuple[str, ...]:
    """Copy the evaluations of an earlier export to what takes its place.

    Each names the model that it is of by its digest. They are copied, so that what stops the
    export, a full disk too, loses none.

    Returns:
        Their names.

    Raises:
        OSError: where one cannot be copied, naming the first file of it.
    """
    kept = evaluations(out)
    for path in kept:
        try:
            shutil.copytree(path, made / path.name, symlinks=True, copy_function=shutil.copyfile)
        except shutil.Error as error:  # a list of (from, to, why)
            name, _, why = error.args[0][0]
            raise OSError(f"{name}: cannot be kept: {why}") from None
    return tuple(path.name for path in kept)


def check_out(out: Path) -> None:
    """Refuse a folder that holds anything but an export, and evaluations of its model.

    Raises:
        ExportError: naming what it holds.
    """
    # An older export has no card, one of other formats no config.
    mark = CONFIG_NAME if (out / CONFIG_NAME).exists() else CARD_NAME
    try:
        names = _OURS | {path.name for path in evaluations(out)}
        check_replaceable(out, names, mark, "an earlier export")
        check_movable(out)
    except FileExistsError as error:
        raise ExportError(str(error)) from None
