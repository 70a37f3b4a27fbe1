"""The files of an export, and what may stand where one is written."""

from __future__ import annotations

from pathlib import Path

from results.export_choice import MODEL_NAME, ExportError
from results.staging import check_replaceable

CONFIG_NAME = "best.yaml"
SCHEMA_NAME = "best.schema.json"
CARD_NAME = "MODEL_CARD.md"
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


def check_out(out: Path) -> None:
    """Refuse a folder that holds anything but an export.

    Raises:
        ExportError: naming what it holds.
    """
    # An older export has no card, one of other formats no config.
    mark = CONFIG_NAME if (out / CONFIG_NAME).exists() else CARD_NAME
    try:
        check_replaceable(out, _OURS, mark, "an earlier export")
    except FileExistsError as error:
        raise ExportError(str(error)) from None
