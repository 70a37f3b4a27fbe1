"""The embedded data set: magnetic tiles drawn by rule, so that everything runs without data.

Like the photographs it stands in for, it has five defects of very different size (0.2 % of an
image's pixels for a blowhole, a quarter for an uneven patch), tiles without a defect, and up to
six exposures of each tile, which are near-duplicates and stay in one split.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from data_pipeline.config import SPLITS
from data_pipeline.datasets.dataset_yaml import DATASET_YAML, DatasetInfo, write_dataset_yaml
from data_pipeline.datasets.synthetic_tiles import EXPOSURES, draw_tile, expose
from data_pipeline.problems import DataError, Problem

CLASSES: dict[str, tuple[int, int, int]] = {
    "background": (0, 0, 0),
    "Blowhole": (255, 0, 0),
    "Break": (0, 255, 0),
    "Crack": (0, 0, 255),
    "Fray": (255, 255, 0),
    "Uneven": (255, 0, 255),
}
FREE = "Free"
"""What tiles without a defect are called in file names."""

LICENSE = "Apache-2.0, as flexunet-search, which draws it"

MIN_TILES = 12

_VERSION = 1  # raise when the same seed gives other pictures: caches are kept by it
_SHARES = {0: 0.17, 1: 0.18, 2: 0.16, 3: 0.17, 4: 0.16, 5: 0.16}  # of tiles, by class index
_FEWEST_EXPOSURES = 3
_JPEG_QUALITY = 95

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Plan:
    """What one tile will be."""

    number: int
    class_index: int
    split: str


def write_synthetic(
    out: Path, *, seed: int = 0, tiles: int = 60, progress: Progress | None = None
) -> DatasetInfo:
    """Write the data set: `<split>/images/*.jpg`, `<split>/masks/*.png` and dataset.yaml.

    Args:
        out: Folder to write to; new or empty.
        seed: Equal seeds and tiles give equal files.
        tiles: Tiles to draw; each is photographed three to six times. About three fifths are
            for training; every defect is in train and valid, and in test from 18 tiles on.
        progress: Called with (tiles done, tiles) after each.

    Returns:
        What was written to dataset.yaml.

    Raises:
        DataError: when the folder is not empty or cannot be written.
        ValueError: for fewer than 12 tiles.
    """
    if tiles < MIN_TILES:
        raise ValueError(f"expected at least {MIN_TILES} tiles, received {tiles}")
    require_empty(out)
    for split in SPLITS:
        for kind in ("images", "masks"):
            (out / split / kind).mkdir(parents=True)
    groups: dict[str, str] = {}
    for done, plan in enumerate(_plan(seed, tiles), start=1):
        groups |= _write_tile(out, plan, seed)
        if progress is not None:
            progress(done, tiles)
    source = f"synthetic magnetic tiles, version {_VERSION}, seed {seed}, {tiles} tiles"
    info = DatasetInfo(
        name="synthetic", source=source, classes=dict(CLASSES), groups=groups, license=LICENSE
    )
    write_dataset_yaml(out, info)
    return info


def ensure_synthetic(seed: int, tiles: int) -> Path:
    """Find the data set in the user's cache folder, or writes it there.

    The folder is `flexunet-search` in $XDG_CACHE_HOME or ~/.cache. Safe to call from several
    processes at once.

    Returns:
        The data set's folder.

    Raises:
        DataError: when the cache folder cannot be written.
        ValueError: for fewer than 12 tiles.
    """
    folder = _cache_folder() / f"synthetic-v{_VERSION}-seed{seed}-tiles{tiles}"
    if (folder / DATASET_YAML).is_file():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as draft:
            write_synthetic(Path(draft) / "data", seed=seed, tiles=tiles)
            _move_into_place(Path(draft) / "data", folder)
    except OSError as error:
        raise DataError([Problem(str(folder), f"expected a writable cache: {error}")]) from None
    return folder


def require_empty(out: Path) -> None:
    """Refuse a folder that holds anything, so that nothing of the user's is mixed or lost.

    Raises:
        DataError: when the path is a file, or a folder that is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError([Problem(str(out), "expected a new or empty folder, found files there")])


def color_mask(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return class indices [H, W] to the colours of CLASSES, in OpenCV's BGR order [H, W, 3]."""
    table = np.array([color[::-1] for color in CLASSES.values()], np.uint8)
    return table[mask]


def write_image(path: Path, image: npt.NDArray[np.uint8], *options: int) -> None:
    """Write an image by OpenCV, which by itself does not say why it could not.

    Raises:
        OSError: when it cannot be encoded or written.
    """
    done, data = cv2.imencode(path.suffix, image, list(options))
    if not done:
        raise OSError(f"expected an image OpenCV can encode as {path.suffix}: {path}")
    path.write_bytes(data.tobytes())


def _plan(seed: int, tiles: int) -> list[_Plan]:
    """Return class and split of each tile: shares within a class, numbered in random order."""
    slots = [
        (class_index, split)
        for class_index, count in _tiles_per_class(tiles).items()
        for split, share in zip(SPLITS, _split_counts(class_index, count), strict=True)
        for _ in range(share)
    ]
    order = np.random.default_rng([seed, tiles]).permutation(len(slots))
    return [_Plan(number, *slots[position]) for number, position in enumerate(order)]


def _tiles_per_class(tiles: int) -> dict[int, int]:
    """Return tiles of each class by its share, three at least of a defect where the tiles allow
    it.
    """
    least = 3 if tiles >= 3 * len(_SHARES) else 2
    counts = {c: least if c else least - 2 for c in _SHARES}
    while sum(counts.values()) < tiles:
        neediest = max(counts, key=lambda c: _SHARES[c] * tiles - counts[c])
        counts[neediest] += 1
    return counts


def _split_counts(class_index: int, count: int) -> tuple[int, int, int]:
    """Return tiles for train, valid and test: a fifth each for the latter two, at least one."""
    if count < 3:
        # Defects are needed for training and validation first, free tiles for training alone.
        return (min(count, 1), count - 1, 0) if class_index else (min(count, 1), 0, count // 2)
    held = max(1, round(0.2 * count))
    return (count - 2 * held, held, held)


def _write_tile(out: Path, plan: _Plan, seed: int) -> dict[str, str]:
    """Draw a tile and writes its exposures; returns their stems with the tile's group."""
    rng = np.random.default_rng([seed, plan.number, plan.class_index])
    tile = draw_tile(plan.class_index, rng)
    group = f"tile_{plan.number:04d}"
    label = list(CLASSES)[plan.class_index] if plan.class_index else FREE
    count = int(rng.integers(_FEWEST_EXPOSURES, EXPOSURES + 1))
    groups = {}
    for exposure in np.sort(rng.permutation(EXPOSURES)[:count]) + 1:
        image, mask = expose(tile, int(exposure), rng)
        stem = f"{label}_{group}_exp{exposure}"
        folder = out / plan.split
        quality = (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY)
        write_image(folder / "images" / f"{stem}.jpg", image, *quality)
        write_image(folder / "masks" / f"{stem}.png", color_mask(mask))
        groups[stem] = group
    return groups


def _cache_folder() -> Path:
    # The XDG base directory specification says to ignore a relative path.
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".cache") / "flexunet-search"


def _move_into_place(draft: Path, folder: Path) -> None:
    """Rename a finished folder to its name; where another process was first, theirs stays."""
    if folder.exists() and not (folder / DATASET_YAML).is_file():
        shutil.rmtree(folder, ignore_errors=True)  # someone deleted a part of the cache
    try:
        os.rename(draft, folder)
    except OSError:
        if not (folder / DATASET_YAML).is_file():
            raise
