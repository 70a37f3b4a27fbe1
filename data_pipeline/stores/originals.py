"""The source files behind the records of a prepared store, read one at a time at their own size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_pipeline.config import SPLITS, DataConfig
from data_pipeline.datasets.labels import LabelMap
from data_pipeline.datasets.reading import read_image
from data_pipeline.datasets.resize import resize_mask
from data_pipeline.datasets.sources import Item, find_dataset
from data_pipeline.problems import BadFileError, DataError, Problem
from data_pipeline.stores.store import Store

_HEADING = "the source images of the prepared data cannot be used"

_Key = tuple[str | None, str]  # split, stem


class Originals:
    """The source files of one split of a store, in the order of its records.

    Args:
        store: The prepared data. A record's stem is its source's, or, in a store made of another's
            records such as a fold's, `<split of the source>/<stem of the source>`.
        config: Where the source is and how it was read.
        split: train, valid or test.

    Attributes:
        items: Image and mask file of each record.

    Raises:
        DataError: where the store has no such split, the source is out of reach, or its files or
            classes are not those of the store; lists every record without a source.
    """

    def __init__(self, store: Store, config: DataConfig, split: str) -> None:
        if split not in store.splits:
            message = f"expected a split of {sorted(store.splits)}, received {split!r}"
            raise DataError([Problem(str(store.path), message)])
        dataset = find_dataset(config)
        if tuple(dataset.classes) != store.classes:
            message = f"expected the classes {list(store.classes)}, found {list(dataset.classes)}"
            raise DataError([Problem(str(dataset.root), message)], _HEADING)
        self._store, self._config, self._split = store, config, split
        self._labels = LabelMap(dataset.classes, config.color_tolerance)
        self.items = _items_of(store, split, dataset.items, dataset.root)

    def __len__(self) -> int:
        return len(self.items)

    def read_mask(self, index: int) -> NDArray[np.uint8]:
        """Read a record's mask at its own size, safely from several threads at once.

        Returns:
            uint8 [h, w], class indices.

        Raises:
            DataError: where the file cannot be read, or, resized as it was for the record, differs
                from the record in any pixel. What is too small to show in the record goes unseen.
        """
        path = self.items[index].mask
        try:
            mask = self._labels.read(path).labels
        except BadFileError as error:
            raise DataError([Problem(str(path), str(error))], _HEADING) from None
        record = self._store.read(self._split, index)[1]
        resized = resize_mask(mask, self._store.image_shape[:2], self._config.resize)
        if not np.array_equal(resized, record):  # the nearest pixel is exact, whoever made it
            message = "expected the mask that the data were prepared from, found another"
            raise DataError([Problem(str(path), message)], _HEADING)
        return mask

    def read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Read a record's source at its own size.

        Returns:
            The image, uint8 [h, w, channels], and its mask, uint8 [h, w].

        Raises:
            DataError: as `read_mask`, and for an image that cannot be read or has another size
                than its mask.
        """
        mask = self.read_mask(index)
        path = self.items[index].image
        try:
            image = read_image(path, self._store.image_shape[2])
        except BadFileError as error:
            raise DataError([Problem(str(path), str(error))], _HEADING) from None
        if image.shape[:2] != mask.shape:
            message = f"expected the size of its mask, {mask.shape}, received {image.shape[:2]}"
            raise DataError([Problem(str(path), message)], _HEADING)
        return image, mask


def _items_of(store: Store, split: str, items: tuple[Item, ...], root: Path) -> tuple[Item, ...]:
    known: dict[_Key, Item] = {(item.split, item.stem): item for item in items}
    found = [_find(known, split, stem) for stem in store.splits[split].stems]
    problems = [
        Problem(str(root), f"expected the image and mask of {split}/{stem}, found none")
        for stem, item in zip(store.splits[split].stems, found, strict=True)
        if item is None
    ]
    if problems:
        raise DataError(problems, _HEADING)
    return tuple(item for item in found if item is not None)


def _find(known: Mapping[_Key, Item], split: str, stem: str) -> Item | None:
    """Return the source of a record: by its own split and stem, then by those its stem tells.

    Items of data that were not divided have no split.
    """
    first, _, rest = stem.partition("/")
    keys: list[_Key] = [(split, stem), (None, stem)]
    if rest and first in SPLITS:
        keys += [(first, rest), (None, rest)]
    return next((known[key] for key in keys if key in known), None)
