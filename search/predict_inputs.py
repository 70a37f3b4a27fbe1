"""The images to predict: found, named for what is written of them, and measured."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from data_pipeline.problems import DataError, Problem
from data_pipeline.sources import IMAGE_SUFFIXES


@dataclass(frozen=True)
class Input:
    """One image to predict.

    Attributes:
        path: Its file.
        name: Of what is written for it, without a suffix, maybe in folders.
        shape: (height, width) in pixels; 0 before it was measured.
    """

    path: Path
    name: str
    shape: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Found:
    """The images of a folder, a file or a pattern.

    Attributes:
        inputs: In order of their names.
        doubles: Names that several files have; these keep their suffixes in what is written.
    """

    inputs: tuple[Input, ...]
    doubles: tuple[str, ...]


def find_images(images: str) -> Found:
    """Find images: below a folder, by a pattern such as ``'tiles/*.png'``, or a single file.

    Raises:
        DataError: where there is none.
    """
    root, paths = _listed(Path(images).expanduser())
    paths = [path for path in paths if path.is_file()]
    if not paths:
        expected = f"expected images ({', '.join(IMAGE_SUFFIXES)}), found none"
        raise DataError([Problem(images, expected)], "nothing to predict")
    names = [path.relative_to(root).with_suffix("").as_posix() for path in paths]
    often = Counter(names)
    inputs = [
        Input(path, name if often[name] == 1 else path.relative_to(root).as_posix())
        for path, name in zip(paths, names, strict=True)
    ]
    return Found(tuple(inputs), tuple(name for name, count in often.items() if count > 1))


def _listed(given: Path) -> tuple[Path, list[Path]]:
    """Return the folder that names count from, and the files."""
    if given.is_dir():
        return given, [p for p in sorted(given.rglob("*")) if p.suffix.lower() in IMAGE_SUFFIXES]
    if given.exists() or not _is_pattern(given):
        return given.parent, [given]
    root = next(folder for folder in given.parents if not _is_pattern(folder))
    return root, sorted(root.glob(str(given.relative_to(root))))


def _is_pattern(path: Path) -> bool:
    return any(sign in str(path) for sign in "*?[")
