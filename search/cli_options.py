"""What several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _study_path(text: str) -> Path:
    """Return a study's directory; of one in an object store, a copy that is fetched now."""
    from search.remote_store import study_path

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
