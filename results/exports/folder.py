"""The files of an export, and what may stand where one is written."""

from __future__ import annotations

import shutil
from pathlib import Path

from foundation.files import check_movable, check_replaceable
from results.exports.choice import MODEL_NAME, ExportError
from results.records import file_names

CONFIG_NAME = file_names.CONFIG
SCHEMA_NAME = "best.schema.json"
CARD_NAME = file_names.CARD
FLEXUNET_NAME = "train_eval_infer.config"

# What each format leaves, and what every export does.
FILES: dict[str, tuple[str, ...]] = {
    "yaml": (CONFIG_NAME, SCHEMA_NAME),
    "flexunet": (FLEXUNET_NAME,),
    "keras": (MODEL_NAME,),
    "savedmodel": ("saved_model",),
    "onnx": ("best.onnx",),
    "tflite": ("best.tflite", "best_int8.tflite"),
    "h5": ("best_model.h5",),
}
_EARLIER = "README.md"  # of an export before there were model cards
_OURS = {CARD_NAME, _EARLIER, *(name for files in FILES.values() for name in files)}


EVALUATION = "evaluation.json"
"""What tells the folder of an evaluation from others: `evaluate` puts it beside the model."""


def evaluations(out: Path) -> list[Path]:
    """Return the evaluations that stand in a folder."""
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
