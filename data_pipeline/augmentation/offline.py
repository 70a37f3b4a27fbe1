"""Writes a data set with augmented copies of its training images, for trainers that cannot augment.

The training split alone, after the split: copies of what validates or tests would make the scores
untrue, and so would a split made after augmenting. Every copy keeps its original's group.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from data_pipeline.augmentation.augment import build_augment, unfit
from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.augmentation.offline_plan import Recipe, Variant, draw_seed, variants
from data_pipeline.augmentation.operations import COLOR_ONLY, DRAWS, OPERATIONS
from data_pipeline.config import SPLITS, DataConfig
from data_pipeline.datasets.dataset_yaml import DatasetInfo, read_dataset_yaml, write_dataset_yaml
from data_pipeline.datasets.labels import LabelMap, colorize
from data_pipeline.datasets.reading import read_image
from data_pipeline.datasets.resize import resize_image, resize_mask
from data_pipeline.datasets.sources import Dataset, Item, find_dataset
from data_pipeline.datasets.synthetic import write_image
from data_pipeline.problems import BadFileError, DataError, Problem
from data_pipeline.quality.audit import audit
from data_pipeline.stores.facts import decoding_threads, in_order
from data_pipeline.stores.survey import AHEAD, Survey, survey_with_files
from foundation.files import whole_folder

RECORD = "augmentation.json"

_TRAIN = SPLITS[0]
_ATTEMPTS = 10  # draws for a copy that is not its original
_SUFFIXES = {".jpeg": ".jpg", ".tiff": ".tif"}  # the reference lists the short ones alone

Pixels = NDArray[np.uint8]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Copy:
    """One augmented copy, as recorded in augmentation.json.

    Attributes:
        original: File stem of the image that it was made from.
        group: The object photographed.
        operations: What happened to it; photometric ones to the image alone.
        seed: Of its draws; with the settings it tells the copy exactly.
    """

    original: str
    group: str
    operations: tuple[str, ...]
    seed: tuple[int, int]


@dataclass(frozen=True)
class Written:
    """What came of an offline augmentation.

    Attributes:
        out: The new folder.
        images: Images of each split, copies included.
        copies: File stem of each copy, and how it was made.
        unchanged: Copies left out since nothing drawn for them changes their original.
        leaks: What is wrong with the splits that were there before.
    """

    out: Path
    images: dict[str, int]
    copies: dict[str, Copy]
    unchanged: tuple[str, ...] = ()
    leaks: tuple[str, ...] = ()


def offline_augment(
    config: DataConfig,
    out: Path,
    recipe: Recipe,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Written:
    """Write a copy of a data set, with augmented copies of its training images beside them.

    Images that keep their size are copied byte by byte; all masks are written again, in exact class
    colours or one-hot. Image and mask of a copy are moved by one field, the mask by the nearest
    pixel. The files depend on seed and names alone, not on their order or the number of threads.

    Args:
        config: The data set; it must have split folders. Of the settings of a store (image_size,
            channels, resize) none is looked at.
        out: Folder to write, in the reference's layout; must not exist. It appears when all of it
            is written, and not at all where that fails.
        recipe: What is written.
        workers: Threads; None for one a core.
        progress: Called with steps done and steps in all; an image is read, then written.

    Raises:
        DataError: for data without splits, a folder that exists, or listing every bad file, every
            name that a copy would take from another image, and what the operations do not fit.
        OSError: where a file cannot be written.
    """
    dataset = _divided(config, out)
    steps = len(dataset.items)
    found, items = survey_with_files(
        config, workers=workers, progress=_shifted(progress, 0, 2 * steps)
    )
    problems = [*_name_clashes(items, recipe), *_misfits(found, items, dataset, recipe)]
    if problems:
        raise DataError(problems)
    with whole_folder(out, durable=False) as folder:
        writer = _CopyWriter(folder, dataset, recipe, config.color_tolerance)
        copies, unchanged = writer.write(
            items, workers or os.cpu_count() or 1, _shifted(progress, steps, steps + len(items))
        )
        _describe(folder, dataset, items, recipe, copies)
    images = {name: found.splits.count(name) for name in SPLITS if name in found.splits}
    images[_TRAIN] += len(copies)
    leaks = tuple(f.message for f in audit(found).findings if f.severity == "leak")
    return Written(out, images, copies, unchanged, leaks)


def _shifted(progress: Progress | None, begin: int, total: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, _: progress(begin + done, total)


def _divided(config: DataConfig, out: Path) -> Dataset:
    if out.exists():
        raise DataError([Problem(str(out), "expected a folder that is not there yet")])
    dataset = find_dataset(config)
    if not dataset.divided:
        message = (
            "expected the split folders train, valid (and test), found one images/ + masks/: a "
            "split made after augmenting puts copies of one picture on both sides. Divide it "
            f"first: flexunet-search data resplit {dataset.root} OUT"
        )
        raise DataError([Problem(str(dataset.root), message)])
    if dataset.root.resolve() in out.resolve().parents:
        message = f"expected a folder outside the data set {dataset.root}"
        raise DataError([Problem(str(out), message)])
    return dataset


def _flat(stem: str) -> str:
    """Return the reference lists images/ without its sub-folders."""
    return stem.replace("/", "_")


def _name_clashes(items: Sequence[Item], recipe: Recipe) -> Iterator[Problem]:
    """Two stems that become one file name; groups are recognised by name, so over all splits."""
    wanted: dict[str, dict[str, Item]] = defaultdict(dict)
    for item in items:
        wanted[_flat(item.stem)][item.stem] = item
        if item.split == _TRAIN:
            for variant in variants(recipe):
                name = variant.name(_flat(item.stem))
                wanted[name][f"the copy {name} of {item.stem}"] = item
    for name, claims in wanted.items():
        if len(claims) > 1:
            message = f"expected one image for the name {name!r}, received {', '.join(claims)}"
            yield Problem(str(next(iter(claims.values())).image), message)


def _misfits(
    found: Survey, items: Sequence[Item], dataset: Dataset, recipe: Recipe
) -> Iterator[Problem]:
    """Training images that the operations do not fit, and what fits none."""
    classes = tuple(dataset.classes)
    general = unfit(recipe.augment, (64, 64, 3), classes)
    yield from (Problem(str(dataset.root), message) for message in general)
    for row in found.rows(_TRAIN):
        height, width = recipe.size or found.sizes[row].tolist()
        for message in unfit(recipe.augment, (height, width, 3), classes):
            if message not in general:
                yield Problem(str(items[row].image), f"{message}; a square size allows them")


class _CopyWriter:
    """Writes the items of a data set and the copies of its training items into a folder."""

    def __init__(self, folder: Path, dataset: Dataset, recipe: Recipe, tolerance: int) -> None:
        self._folder = folder
        self._recipe = recipe
        self._variants = variants(recipe)
        self._labels = LabelMap(dataset.classes, tolerance)
        self._classes = tuple(dataset.classes)
        self._colors = tuple(dataset.classes.values())

    def write(
        self, items: Sequence[Item], workers: int, progress: Progress | None
    ) -> tuple[dict[str, Copy], tuple[str, ...]]:
        """Write all items, and tells the copies made and those left out, in order."""
        for split in {item.split for item in items}:
            for kind in ("images", "masks"):
                (self._folder / str(split) / kind).mkdir(parents=True)
        copies: dict[str, Copy] = {}
        unchanged: list[str] = []
        with decoding_threads(workers) as pool:
            results = in_order(pool, self._item, items, AHEAD * workers)
            for done, made in enumerate(results, 1):
                copies |= {name: copy for name, copy in made if copy is not None}
                unchanged += [name for name, copy in made if copy is None]
                if progress is not None:
                    progress(done, len(items))
        return copies, tuple(unchanged)

    def _item(self, item: Item) -> list[tuple[str, Copy | None]]:
        image, mask = self._read(item)
        folder, stem = self._folder / str(item.split), _flat(item.stem)
        if self._recipe.size is None:
            suffix = item.image.suffix.lower()
            target = folder / "images" / f"{stem}{_SUFFIXES.get(suffix, suffix)}"
            shutil.copyfile(item.image, target)
        else:
            _write_picture(folder / "images" / f"{stem}.png", image)
        self._write_mask(folder, stem, mask)
        if item.split != _TRAIN:
            return []
        make = partial(self._copy, item, image, mask, folder)
        return [(variant.name(stem), make(variant)) for variant in self._variants]

    def _read(self, item: Item) -> tuple[Pixels, Pixels]:
        try:
            image, mask = read_image(item.image, 3), self._labels.read(item.mask).labels
        except BadFileError as error:  # it was good when it was looked at
            raise DataError([Problem(str(item.image), str(error))]) from None
        grey = not self._recipe.augment.uses(*COLOR_ONLY) and (image == image[:, :, :1]).all()
        image = np.ascontiguousarray(image[:, :, :1]) if grey else image
        if self._recipe.size is None:
            return image, mask
        size = self._recipe.size
        return resize_image(image, size, "stretch"), resize_mask(mask, size, "stretch")

    def _copy(
        self, item: Item, image: Pixels, mask: Pixels, folder: Path, variant: Variant
    ) -> Copy | None:
        """Write a copy; None where what is drawn changes nothing, as a crop of a free image."""
        for attempt in range(_ATTEMPTS):
            seed = draw_seed(self._recipe, item.stem, variant.prefix, attempt)
            moved, labels = _augmented(variant.augment, image, mask, self._classes, seed)
            if np.array_equal(moved, image) and np.array_equal(labels, mask):
                continue
            name = variant.name(_flat(item.stem))
            _write_picture(folder / "images" / f"{name}.png", moved)
            self._write_mask(folder, name, labels)
            return Copy(_flat(item.stem), item.group, happened(variant.augment, seed), seed)
        return None

    def _write_mask(self, folder: Path, stem: str, labels: Pixels) -> None:
        if self._recipe.mask_format == "png":
            _write_picture(folder / "masks" / f"{stem}.png", colorize(labels, self._colors))
            return
        data = io.BytesIO()
        np.savez_compressed(data, mask=np.eye(len(self._colors), dtype=np.uint8)[labels])
        (folder / "masks" / f"{stem}.npz").write_bytes(data.getvalue())


def _augmented(
    config: AugmentConfig,
    image: Pixels,
    mask: Pixels,
    classes: tuple[str, ...],
    seed: tuple[int, int],
) -> tuple[Pixels, Pixels]:
    """Eagerly: images of hundreds of sizes would each be traced, 30 times as slow.

    On the processor, so that a machine with a GPU writes the same files.
    """
    # Copies are whole images, of which a training may then read windows.
    config = config.model_copy(update={"patch_size": None, "patch_stages": 1})
    augment = build_augment(config, (image.shape[0], image.shape[1], image.shape[2]), classes)
    with tf.device("/CPU:0"):
        moved, labels = augment(tf.constant(image), tf.constant(mask), tf.constant(seed, tf.int64))
        return moved.numpy(), labels.numpy()


def happened(config: AugmentConfig, seed: tuple[int, int]) -> tuple[str, ...]:
    """Return the operations that the draws of a seed let happen, as :func:`build_augment` draws
    them.
    """
    with tf.device("/CPU:0"):
        drawn = tf.random.stateless_uniform([len(DRAWS)], tf.constant(seed, tf.int64)).numpy()
    draws = dict(zip(DRAWS, drawn, strict=True))
    return tuple(n for n in OPERATIONS if draws[f"{n}?"] < np.float32(config.share(n)))


def _write_picture(path: Path, picture: Pixels) -> None:
    """Write RGB [h, w, 3] or grey [h, w, 1]."""
    write_image(path, picture[:, :, ::-1] if picture.shape[2] == 3 else picture)


def _describe(
    folder: Path,
    dataset: Dataset,
    items: Sequence[Item],
    recipe: Recipe,
    copies: dict[str, Copy],
) -> None:
    groups = {_flat(item.stem): item.group for item in items}
    groups |= {name: copy.group for name, copy in copies.items()}
    name = dataset.root.resolve().name
    # What else the data set tells about itself, as its licence, is carried over.
    info = read_dataset_yaml(dataset.root) or DatasetInfo(name, dataset.source, {})
    write_dataset_yaml(folder, replace(info, classes=dataset.classes, groups=groups))
    text = json.dumps(_record(dataset, recipe, copies), indent=1, ensure_ascii=False)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def _record(dataset: Dataset, recipe: Recipe, copies: dict[str, Copy]) -> dict[str, Any]:
    config = recipe.augment
    used = [name for name in OPERATIONS if config.share(name)]
    return {
        "format": 1,
        "data": dataset.root.resolve().name,
        "source": dataset.source,
        "seed": recipe.seed,
        "copies": recipe.copies if recipe.copies is not None else "one an operation",
        "size": recipe.size,
        "mask_format": recipe.mask_format,
        "border": config.border,
        "amounts": {name: getattr(config, name) for name in used},
        "probability": {
            name: config.share(name) if recipe.copies is not None else 1.0 for name in used
        },
        "files": {name: asdict(copy) for name, copy in copies.items()},
    }
