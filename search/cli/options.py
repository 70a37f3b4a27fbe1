"""What several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from results.records.schemas import Flips


def _study_path(text: str) -> Path:
    """Return a study's directory; of one in an object store, a copy that is fetched now."""
    from search.storage.object_store import study_path

    return study_path(text)


StudyDir = Annotated[
    Path,
    typer.Argument(
        metavar="STUDY_DIR", help="A study's directory, or its URL.", parser=_study_path
    ),
]
StudyDirs = Annotated[
    list[Path],
    typer.Argument(
        metavar="STUDY_DIR...",
        help="A study's directory, or its URL; several are compared on one page.",
        parser=_study_path,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=VALUE", help="Override a field; may be repeated."),
]
ModelPath = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL", help="A .keras, .onnx or .tflite file, or the folder of a SavedModel."
    ),
]
ModelConfig = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="YAML",
        help="A config that tells the model's classes, their colours and how images are resized. "
        "Default: training.yaml or best.yaml beside the model, or its study's.",
    ),
]
BatchSize = Annotated[int, typer.Option("--batch", min=1, help="Images or tiles a step.")]
FlipsOption = Annotated[
    Flips,
    typer.Option(
        "--flips", help="Average over mirror images: horizontal takes twice, all 4 times as long."
    ),
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="CPU threads. Default: one a core.")
]
