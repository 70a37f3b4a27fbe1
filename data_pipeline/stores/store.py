"""The prepared store: every image decoded once, kept as records of one size.

A split is a row of raw files, so that record i is at a known offset and any reader, TensorFlow
included, maps it into memory and shares it with every other process through the page cache:

    <folder>/train-00000.images   uint8 [count, H, W, C]
    <folder>/train-00000.masks    uint8 [count, H, W], class indices, 255 where not counted
    <folder>/pixels.npz           int64 [n, classes] of each split, at the store's resolution
    <folder>/survey.npz           facts at the resolution of the source files
    <folder>/manifest.json        names, shapes, fingerprint; written last
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from data_pipeline.problems import DataError, Problem
from data_pipeline.stores.survey import Survey
from foundation.files import write_json

FORMAT = 1
SHARD_BYTES = 64 * 2**20
MANIFEST = "manifest.json"

# What reading an incomplete store, or shard, raises, numpy's and zip's complaints included.
INCOMPLETE = (OSError, LookupError, TypeError, ValueError, AttributeError, EOFError, BadZipFile)

ImageShape = tuple[int, int, int]
Color = tuple[int, int, int]


@dataclass(frozen=True)
class Shard:
    """Consecutive records of a split.

    Attributes:
        images: Raw file of uint8 [count, H, W, C].
        masks: Raw file of uint8 [count, H, W].
        count: Records in it.
    """

    images: Path
    masks: Path
    count: int


@dataclass(frozen=True, eq=False)
class Split:
    """The records of one split.

    Attributes:
        name: train, valid or test.
        shards: Where the records are, in order.
        stems: File stem of each of the n records.
        groups: Object photographed in each record.
        pixels: int64 [n, num_classes], counted pixels of each class at the store's resolution.
        image_classes: int64 [n], the class an image is sampled as: of its foreground classes the
            one that the fewest training images contain, 0 where it has none.
    """

    name: str
    shards: tuple[Shard, ...]
    stems: tuple[str, ...]
    groups: tuple[str, ...]
    pixels: NDArray[np.int64]
    image_classes: NDArray[np.int64]

    @property
    def count(self) -> int:
        """Number of records."""
        return len(self.stems)


@dataclass(frozen=True, eq=False)
class Store:
    """A prepared data set; open one with `Store.open`.

    Attributes:
        path: Its folder.
        source: Where its images came from, as dataset.yaml or the folder's name tells.
        classes: Class names in index order, background first.
        colors: Their RGB colours.
        image_shape: (H, W, C) of every record.
        fingerprint: sha256 of the source files and of the settings that matter, hexadecimal.
        splits: train, valid and, where there is one, test.
        survey: Facts at the resolution of the source files.
        skipped: What was left out, with `on_bad: skip`.
    """

    path: Path
    source: str
    classes: tuple[str, ...]
    colors: tuple[Color, ...]
    image_shape: ImageShape
    fingerprint: str
    splits: dict[str, Split]
    survey: Survey
    skipped: tuple[Problem, ...]

    @property
    def num_classes(self) -> int:
        """Number of classes, the background included."""
        return len(self.classes)

    @classmethod
    def open(cls, path: Path | str) -> Store:
        """Open a finished store.

        Raises:
            DataError: when the folder holds no store, an unfinished or a damaged one.
        """
        folder = Path(path)
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _broken(folder / MANIFEST, f"expected a prepared store: {error}") from None
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise _broken(folder / MANIFEST, f"expected format {FORMAT}, received another")
        try:
            return _from_manifest(folder, manifest)
        except INCOMPLETE as error:
            if isinstance(error, DataError):
                raise
            raise _broken(folder, f"expected a complete store: {error!r}") from None

    def read(self, split: str, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Read one record.

        Returns:
            The image, uint8 [H, W, C], and its mask, uint8 [H, W].

        Raises:
            IndexError: for an index outside the split; KeyError for an unknown split.
        """
        return read_record(self.splits[split].shards, self.image_shape, index)

    def class_pixels(self, split: str) -> NDArray[np.int64]:
        """Return counted pixels of each class in a split, int64 [num_classes]."""
        total: NDArray[np.int64] = self.splits[split].pixels.sum(axis=0, dtype=np.int64)
        return total


def read_record(
    shards: Sequence[Shard], image_shape: ImageShape, index: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read record `index` of a row of shards.

    Returns:
        The image, uint8 [H, W, C], and its mask, uint8 [H, W].

    Raises:
        IndexError: for an index outside the shards.
    """
    total = sum(shard.count for shard in shards)
    if not 0 <= index < total:
        raise IndexError(f"expected an index of 0..{total - 1}, received {index}")
    ends = np.cumsum([shard.count for shard in shards])
    number = int(np.searchsorted(ends, index, side="right"))
    shard = shards[number]
    row = index - int(ends[number]) + shard.count
    images = np.memmap(shard.images, np.uint8, "r", shape=(shard.count, *image_shape))
    masks = np.memmap(shard.masks, np.uint8, "r", shape=(shard.count, *image_shape[:2]))
    return np.array(images[row]), np.array(masks[row])


def rarest_classes(
    pixels: NDArray[np.int64], training_images_with: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the class each image is sampled as.

    Args:
        pixels: int64 [n, C], pixels of each class in each image.
        training_images_with: int64 [C], training images that contain each class.

    Returns:
        int64 [n]: of the foreground classes in the image the one with the fewest training
        images (the lower index on a tie), 0 where it has none.
    """
    there = pixels[:, 1:] > 0
    rarity = np.where(there, training_images_with[1:], np.iinfo(np.int64).max)
    rarest = np.argmin(rarity, axis=1).astype(np.int64) + 1
    sampled: NDArray[np.int64] = rarest * there.any(axis=1)
    return sampled


def records_per_shard(image_shape: ImageShape, target: int = SHARD_BYTES) -> int:
    """Return records in a full shard, so that its images take about `target` bytes."""
    return max(1, target // int(np.prod(image_shape)))


class ShardWriter:
    """Writes the records of one split, in any order and from any thread.

    Records are written to the slot of their position in the source. When some turn out to be
    bad, `finish` closes the gaps. All of its files are open until then: who writes many shards
    writes them one after the other, by a writer each.

    Args:
        folder: Where the files are made.
        split: Their name up to the number.
        image_shape: (H, W, C).
        total: Number of slots.
        per_shard: Slots of a full shard; 0 for as many as take about 64 MB.
        first: Number of the first shard.

    Attributes:
        total: Number of slots.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        image_shape: ImageShape,
        total: int,
        per_shard: int = 0,
        first: int = 0,
    ):
        self.total = total
        self._shape = image_shape
        self._per_shard = per_shard or records_per_shard(image_shape)
        stems = [f"{split}-{first + n:05d}" for n in range(-(-total // self._per_shard))]
        self._paths = [(folder / f"{s}.images", folder / f"{s}.masks") for s in stems]
        self._files = [(_create(i), _create(m)) for i, m in self._paths]

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def write(self, slot: int, image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
        """Write one record.

        Args:
            slot: Its position, 0 to total - 1.
            image: uint8 [H, W, C].
            mask: uint8 [H, W].

        Raises:
            ValueError: for a record of another shape or type.
        """
        if image.shape != self._shape or mask.shape != self._shape[:2]:
            raise ValueError(
                f"expected a record of {self._shape}, received {image.shape} and {mask.shape}"
            )
        if image.dtype != np.uint8 or mask.dtype != np.uint8:
            raise ValueError(f"expected uint8, received {image.dtype} and {mask.dtype}")
        number, row = divmod(slot, self._per_shard)
        for file, record in zip(self._files[number], (image, mask), strict=True):
            _write_all(file, record.tobytes(), row * record.nbytes)

    def finish(self, kept: Sequence[int]) -> tuple[Shard, ...]:
        """Close the gaps, cuts the files to size, flushes them to the disk and closes them.

        Args:
            kept: The slots that were written, ascending.

        Returns:
            The shards that hold the kept records, in order.
        """
        sizes = (int(np.prod(self._shape)), int(np.prod(self._shape[:2])))
        for target, slot in enumerate(kept):
            if target != slot:
                self._move(slot, target, sizes)
        shards = []
        for number, paths in enumerate(self._paths):
            count = min(self._per_shard, len(kept) - number * self._per_shard)
            for file, path, size in zip(self._files[number], paths, sizes, strict=True):
                if count > 0:
                    os.ftruncate(file, count * size)
                    os.fsync(file)
                else:
                    path.unlink()
            if count > 0:
                shards.append(Shard(*paths, count))
        self.close()
        return tuple(shards)

    def close(self) -> None:
        """Close the files; the records written so far are not a valid split."""
        for file in (file for pair in self._files for file in pair):
            os.close(file)
        self._files = []

    def _move(self, source: int, target: int, sizes: tuple[int, int]) -> None:
        from_number, from_row = divmod(source, self._per_shard)
        to_number, to_row = divmod(target, self._per_shard)
        for kind, size in enumerate(sizes):
            record = os.pread(self._files[from_number][kind], size, from_row * size)
            _write_all(self._files[to_number][kind], record, to_row * size)


def write_manifest(
    folder: Path,
    *,
    source: str,
    classes: Mapping[str, Color],
    image_shape: ImageShape,
    fingerprint: str,
    settings: Mapping[str, Any],
    splits: Iterable[Split],
    survey: Survey,
    skipped: Sequence[Problem] = (),
) -> None:
    """Make a folder of shards a store: the arrays first, manifest.json last and atomically."""
    splits = tuple(splits)
    pixels: dict[str, Any] = {split.name: split.pixels for split in splits}
    np.savez(folder / "pixels.npz", **pixels)
    survey.save(folder / "survey.npz")
    manifest = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "source": source,
        "classes": {name: list(color) for name, color in classes.items()},
        "image_shape": list(image_shape),
        "settings": dict(settings),
        "splits": {split.name: _split_entry(split) for split in splits},
        "skipped": [asdict(problem) for problem in skipped],
    }
    write_json(folder / MANIFEST, manifest)


def _split_entry(split: Split) -> dict[str, Any]:
    return {
        "shards": [[s.images.name, s.masks.name, s.count] for s in split.shards],
        "stems": list(split.stems),
        "groups": list(split.groups),
        "image_classes": split.image_classes.tolist(),
    }


def _from_manifest(folder: Path, manifest: Mapping[str, Any]) -> Store:
    height, width, channels = (int(side) for side in manifest["image_shape"])
    shape = (height, width, channels)
    with np.load(folder / "pixels.npz", allow_pickle=False) as file:
        pixels = {name: file[name] for name in manifest["splits"]}
    splits = {
        name: _read_split(folder, name, entry, pixels[name])
        for name, entry in manifest["splits"].items()
    }
    _check_sizes(splits.values(), shape)
    return Store(
        path=folder,
        source=str(manifest["source"]),
        classes=tuple(manifest["classes"]),
        colors=tuple((int(r), int(g), int(b)) for r, g, b in manifest["classes"].values()),
        image_shape=shape,
        fingerprint=str(manifest["fingerprint"]),
        splits=splits,
        survey=Survey.load(folder / "survey.npz"),
        skipped=tuple(Problem(**entry) for entry in manifest["skipped"]),
    )


def _read_split(
    folder: Path, name: str, entry: Mapping[str, Any], pixels: NDArray[np.int64]
) -> Split:
    shards = tuple(Shard(folder / i, folder / m, int(n)) for i, m, n in entry["shards"])
    split = Split(
        name=name,
        shards=shards,
        stems=tuple(entry["stems"]),
        groups=tuple(entry["groups"]),
        pixels=pixels,
        image_classes=np.asarray(entry["image_classes"], dtype=np.int64),
    )
    lengths = {sum(s.count for s in shards), len(split.stems), len(split.groups), len(pixels)}
    if len(lengths | {len(split.image_classes)}) != 1:
        raise ValueError(f"expected one count of records in {name}, received {sorted(lengths)}")
    return split


def _check_sizes(splits: Iterable[Split], shape: ImageShape) -> None:
    """A file that is missing or cut short is recognised by its size alone."""
    problems = []
    for shard in (shard for split in splits for shard in split.shards):
        pairs = ((shard.images, shape), (shard.masks, shape[:2]))
        for path, record in pairs:
            expected = shard.count * int(np.prod(record))
            found = path.stat().st_size if path.is_file() else None
            if found != expected:
                problems.append(Problem(str(path), f"expected {expected} bytes, found {found}"))
    if problems:
        raise DataError(problems, "the prepared store is damaged")


def _create(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)


def _write_all(file: int, record: bytes, offset: int) -> None:
    left = memoryview(record)
    while left:  # a single write may be short, at most 2 GiB on Linux
        written = os.pwrite(file, left, offset)
        left, offset = left[written:], offset + written


def _broken(path: Path, message: str) -> DataError:
    return DataError([Problem(str(path), message)], "the prepared store cannot be opened")
