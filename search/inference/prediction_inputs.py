"""The images to predict: found, named for what is written of them, and measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_pipeline.datasets.sources import IMAGE_SUFFIXES
from data_pipeline.problems import DataError, Problem
from search.inference.prediction_folder import MARK


@dataclass(frozen=True)
class InputImage:
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

    inputs: tuple[InputImage, ...]
    doubles: tuple[str, ...]


def find_images(images: str, out: Path | None = None) -> Found:
    """Find images: below a folder, by a pattern such as ``'tiles/*.png'``, or a single file.

    Hidden files of a folder are left out, as of a data set.

    Args:
        images: What is given.
        out: The folder to write, maybe within the other: what lies there is no image to predict,
            nor is what lies in a folder of earlier predictions.

    Raises:
        DataError: where there is none, or where ``out`` is the folder itself.
    """
    root, paths = _listed(Path(images).expanduser())
    own = None if out is None else out.expanduser().resolve()
    if Path(images).expanduser().resolve() == own:
        expected = "expected a folder of its own for what is written, received that of the images"
        raise DataError([Problem(images, expected)], "nothing to predict")
    # A link that leads nowhere is reported with the bad files.
    there = [path for path in paths if path.is_file() or _leads_nowhere(path)]
    paths = [path for path in there if own not in path.resolve().parents]
    if not paths:
        given = Path(images).expanduser()
        lost = not given.exists() and not _is_pattern(given)
        found = "no such file or folder" if lost else "none"
        expected = f"expected images ({', '.join(IMAGE_SUFFIXES)}), found {found}"
        raise DataError([Problem(images, expected)], "nothing to predict")
    files = [path.relative_to(root).as_posix() for path in paths]
    stems = [path.relative_to(root).with_suffix("").as_posix() for path in paths]
    names = _distinct(stems, files)
    often = Counter(stems)
    return Found(
        tuple(InputImage(path, name) for path, name in zip(paths, names, strict=True)),
        tuple(stem for stem, count in often.items() if count > 1),
    )


def _distinct(stems: Sequence[str], files: Sequence[str]) -> list[str]:
    """Name each by its stem, and those that would share a name by their whole file name.

    That name may be another's stem, as of a.png, a.jpg and a.png.tif: then that one is long, too.
    """
    names = list(stems)
    while shared := {name for name, count in Counter(names).items() if count > 1}:
        names = [file if name in shared else name for name, file in zip(names, files, strict=True)]
    return names


def _listed(given: Path) -> tuple[Path, list[Path]]:
    """Return the folder that names count from, and the files."""
    if given.is_dir():
        found = [path for path in sorted(given.rglob("*")) if _is_image(path, given)]
        written = {path.parent for path in given.rglob(MARK)} - {given}
        return given, [path for path in found if written.isdisjoint(path.parents)]
    if given.exists() or not _is_pattern(given):
        return given.parent, [given]
    root = next(folder for folder in given.parents if not _is_pattern(folder))
    return root, sorted(root.glob(str(given.relative_to(root))))


def _leads_nowhere(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _is_image(path: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return not hidden and path.suffix.lower() in IMAGE_SUFFIXES


def _is_pattern(path: Path) -> bool:
    return any(sign in str(path) for sign in "*?[")
