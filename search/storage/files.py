"""Where the files of a study directory lie."""

from __future__ import annotations

from pathlib import Path


def trial_folder(directory: Path, number: int) -> Path:
    """Return the folder of a trial in the study directory."""
    return directory / "trials" / f"{number:05d}"


def fold_folder(folder: Path, fold: int) -> Path:
    """Return the folder of a fold in a trial's folder."""
    return folder / f"fold-{fold}"
