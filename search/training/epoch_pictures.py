"""Predictions of a few images after every epoch, so that one sees the masks grow.

predictions/<stem>/image.jpg, truth.png     the image as the model gets it, and its truth
predictions/<stem>/epoch-0001.png           the prediction, in the colours of the classes
predictions/pictures.json                   which images they are, in their order
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import png
from numpy.typing import NDArray

from data_pipeline.datasets.labels import IGNORE
from data_pipeline.stores.store import Store
from foundation.files import whole_file, write_json

FOLDER = "predictions"
LISTING = "pictures.json"

_GREY = (128, 128, 128)  # of what is not counted

Pixels = NDArray[np.uint8]
Predict = Callable[[Pixels], NDArray[np.float32]]


def choose(pixels: NDArray[np.int64], count: int) -> list[int]:
    """Choose images that show every class, the rarest first; the same whenever asked.

    Args:
        pixels: int64 [n, C], pixels of each class in each image, background first.
        count: How many; fewer are the first of more.

    Returns:
        Indices. The classes take turns, the one in the fewest images first, each with its image of
        median size and then those next to it; images without any class come last.
    """
    waiting = []
    images_with = np.count_nonzero(pixels, axis=0)
    for label in sorted(range(1, pixels.shape[1]), key=lambda label: (images_with[label], label)):
        shown = np.flatnonzero(pixels[:, label])
        by_size = shown[np.argsort(pixels[shown, label], kind="stable")]
        middle = (len(by_size) - 1) // 2
        waiting.append([int(by_size[i]) for i in sorted(range(len(by_size)), key=_from(middle))])
    chosen: dict[int, None] = {}
    while len(chosen) < count and any(waiting):
        for images in waiting:
            while images and images[0] in chosen:
                images.pop(0)
            if images:
                chosen[images.pop(0)] = None
    return [*chosen, *(i for i in range(len(pixels)) if i not in chosen)][:count]


def _from(middle: int) -> Callable[[int], tuple[int, int]]:
    return lambda place: (abs(place - middle), place)


class EpochPictures:
    """Writes a training's pictures.

    Args:
        out_dir: The training's folder.
        store: The data it is trained on.
        split: Where the images are from.
        count: How many images.
        every: Epochs from one prediction to the next; the first epoch is one in any case.
        writes: Whether this process writes; of several that train together only one does.
    """

    def __init__(
        self, out_dir: Path, store: Store, split: str, count: int, every: int, writes: bool = True
    ) -> None:
        self._folder = out_dir / FOLDER
        self._store = store
        self._split = split
        self._every = every
        self._writes = writes
        self._indices = choose(store.splits[split].pixels, count)
        self._names = folder_names([store.splits[split].stems[i] for i in self._indices])

    def begin(self, epochs: int, predict: Predict) -> None:
        """Bring what is there back to a checkpoint, and make up for its own pictures.

        Args:
            epochs: Epochs trained; later pictures are removed.
            predict: uint8 [B, H, W, C] to probabilities [B, H, W, classes].
        """
        if self._writes:
            for path in self._folder.glob("*/epoch-*.png"):
                if int(path.stem.rpartition("-")[2]) > epochs:
                    path.unlink()
            self._write_images()
        if epochs:
            self.epoch_ended(epochs, predict)

    def epoch_ended(self, epoch: int, predict: Predict) -> None:
        """Predict and write, where the epoch's turn it is."""
        if epoch != 1 and epoch % self._every:
            return
        for index, name in zip(self._indices, self._names, strict=True):
            image, _ = self._store.read(self._split, index)
            labels = predict(image[np.newaxis])[0].argmax(axis=-1).astype(np.uint8)
            if self._writes:
                self._write(f"{name}/{epoch_file(epoch)}", palette_png(labels, self._store.colors))

    def _write_images(self) -> None:
        entries: list[dict[str, Any]] = []
        split = self._store.splits[self._split]
        for index, name in zip(self._indices, self._names, strict=True):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
            image, mask = self._store.read(self._split, index)
            self._write(f"{name}/image.jpg", _jpeg(image))
            self._write(f"{name}/truth.png", palette_png(mask, self._store.colors))
            counted = zip(self._store.classes, split.pixels[index], strict=True)
            shown = [class_ for class_, pixels in list(counted)[1:] if pixels]
            entries.append({"folder": name, "name": split.stems[index], "classes": shown})
        if entries:
            listing = {"format": 1, "split": self._split, "images": entries}
            write_json(self._folder / LISTING, listing, durable=False)

    def _write(self, name: str, data: bytes) -> None:
        """Write a file, so that a reader finds the old one or the new one, never a part."""
        with whole_file(self._folder / name, durable=False) as temporary:
            temporary.write_bytes(data)


def epoch_file(epoch: int) -> str:
    """Return the name of an epoch's prediction."""
    return f"epoch-{epoch:04d}.png"


def folder_names(stems: Sequence[str]) -> list[str]:
    """Name of folders for images: their stems as far as they may be names, no two equal."""
    names: list[str] = []
    for stem in stems:
        plain = re.sub(r"[^\w.()+-]", "_", stem)
        name = plain if not plain.startswith(".") else f"_{plain}"
        while name in names:
            name += "_"
        names.append(name)
    return names


def palette_png(labels: Pixels, colors: Sequence[tuple[int, int, int]]) -> bytes:
    """Return a mask as a PNG of class indices with the classes' colours as its palette.

    Args:
        labels: uint8 [H, W], class indices; 255, not counted, becomes mid grey.
        colors: RGB colour of each class.
    """
    height, width = labels.shape
    uncounted = labels == IGNORE
    palette = [*colors, _GREY] if uncounted.any() else list(colors)
    rows = np.where(uncounted, np.uint8(len(colors)), labels)
    file = io.BytesIO()
    png.Writer(width, height, palette=palette, bitdepth=8, compression=6).write(file, rows)
    return file.getvalue()


def _jpeg(image: Pixels) -> bytes:
    """Return a photograph [H, W, 1 or 3] in RGB."""
    turned = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.shape[2] == 3 else image
    return bytes(cv2.imencode(".jpg", turned, (cv2.IMWRITE_JPEG_QUALITY, 90))[1])
