"""What an augmentation does to the data: originals beside augmented samples, masks outlined."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from data_pipeline.augmentation.augment import build_augment
from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.augmentation.operations import OPERATIONS
from data_pipeline.augmentation.paste import paste
from data_pipeline.config import Color
from data_pipeline.datasets.labels import IGNORE
from data_pipeline.quality.picture_page import SHOWN_SIDE, figure, page, picture_tag
from data_pipeline.stores.store import Store

Pixels = NDArray[np.uint8]

IGNORED_COLOR = (128, 128, 128)


@dataclass(frozen=True, eq=False)
class PreviewRow:
    """A training image and what becomes of it.

    Attributes:
        stem: Its file's name without suffix.
        pictures: (image uint8 [H, W, C], mask uint8 [H, W]): the original, then the samples.
    """

    stem: str
    pictures: list[tuple[Pixels, Pixels]]


def preview(
    store: Store, config: AugmentConfig, images: int = 8, samples: int = 6, seed: int = 0
) -> list[PreviewRow]:
    """Augment some training images, as a trial would.

    Args:
        store: The prepared data.
        config: The augmentation; how often which images are drawn is not looked at. Where it
            pastes, every sample of an image without a defect has one pasted on, each class in
            turn.
        images: How many, taken from every class in turn, the rarest first.
        samples: How often each.
        seed: Of the samples.

    Raises:
        ValueError: where the augmentation does not fit the images or classes.
    """
    augment = tf.function(build_augment(config, store.image_shape, store.classes), autograph=False)
    rows = []
    for index in _from_every_class(store, images):
        record = store.read("train", index)
        pictures = [record]
        for number in range(samples):
            place = index * samples + number
            image, mask = record
            if config.paste and not (store.splits["train"].pixels[index, 1:] > 0).any():
                image, mask = _pasted(store, record, number, np.random.default_rng([seed, place]))
            key = tf.constant([seed, place], tf.int64)
            moved, labels = augment(tf.constant(image), tf.constant(mask), key)
            pictures.append((moved.numpy(), labels.numpy()))
        rows.append(PreviewRow(store.splits["train"].stems[index], pictures))
    return rows


def _pasted(
    store: Store, target: tuple[Pixels, Pixels], number: int, rng: np.random.Generator
) -> tuple[Pixels, Pixels]:
    """Paste a defect of some training image onto a record: of the rarest class for number 0."""
    shown = store.splits["train"].pixels > 0
    counts = shown.sum(axis=0)
    labels = [int(label) for label in np.argsort(counts, kind="stable") if label and counts[label]]
    label = labels[number % len(labels)]
    source = store.read("train", int(rng.choice(np.flatnonzero(shown[:, label]))))
    image, mask = paste(target, source, tf.constant(label, tf.int64), rng.random(4, np.float32))
    return image.numpy(), mask.numpy()


def _from_every_class(store: Store, count: int) -> list[int]:
    """Return indices of training images, the foreground classes in turn, free images last."""
    labels = store.splits["train"].image_classes
    order = [*range(1, store.num_classes), 0]
    queues = [list(np.flatnonzero(labels == label)) for label in order]
    chosen: list[int] = []
    while any(queues) and len(chosen) < count:
        for queue in queues:
            if queue and len(chosen) < count:
                chosen.append(int(queue.pop(len(queue) // 2)))
    return chosen


def outlined(
    image: Pixels, mask: Pixels, colors: tuple[Color, ...], side: int = SHOWN_SIDE
) -> Pixels:
    """Draw the outline of every class but the background over an image.

    Args:
        image: uint8 [H, W, C], C being 1 or 3 (RGB).
        mask: uint8 [H, W], class indices or 255.
        colors: Of the classes, RGB.
        side: The longer side of the result, in pixels, about: small images grow by whole factors.

    Returns:
        uint8 [h, w, 3], RGB; what no class counts is hatched in grey.
    """
    factor = side / max(mask.shape)
    factor = max(1, round(factor)) if factor > 0.75 else factor
    big = (max(1, round(mask.shape[1] * factor)), max(1, round(mask.shape[0] * factor)))
    how = cv2.INTER_LINEAR if factor >= 1 else cv2.INTER_AREA
    picture = cv2.resize(image, big, interpolation=how)
    if picture.ndim == 2 or picture.shape[2] == 1:
        picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
    labels = cv2.resize(mask, big, interpolation=cv2.INTER_NEAREST)
    rows, columns = np.mgrid[: big[1], : big[0]]
    hatch = (labels == IGNORE) & ((rows + columns) % 8 < 2)
    picture[hatch] = IGNORED_COLOR
    for label, color in enumerate(colors[1:], 1):
        area = (labels == label).astype(np.uint8)
        contours, _ = cv2.findContours(area, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, contours, -1, color, 2)
    return np.asarray(picture, np.uint8)


def sheet(rows: list[PreviewRow], colors: tuple[Color, ...], side: int = SHOWN_SIDE) -> Pixels:
    """Return all pictures in one, a row each, 4 pixels of white between: uint8 [h, w, 3], RGB."""
    lines = []
    for row in rows:
        pictures = [outlined(image, mask, colors, side) for image, mask in row.pictures]
        # Windows of other sides than the original's have come out a little larger or smaller.
        tallest = max(len(picture) for picture in pictures)
        pictures = [_as_tall(picture, tallest) for picture in pictures]
        framed = [cv2.copyMakeBorder(p, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(255,) * 3)
                  for p in pictures]  # fmt: skip
        lines.append(np.hstack(framed))
    return np.asarray(np.vstack(lines), np.uint8)


def _as_tall(picture: Pixels, height: int) -> Pixels:
    below = height - len(picture)
    padded = cv2.copyMakeBorder(picture, 0, below, 0, 0, cv2.BORDER_CONSTANT, value=(255,) * 3)
    return np.asarray(padded, np.uint8)


def write_preview(store: Store, config: AugmentConfig, rows: list[PreviewRow], path: Path) -> Path:
    """Write a PNG of all pictures, or for any other suffix an HTML file that needs no network."""
    if path.suffix.lower() == ".png":
        path.write_bytes(_png(sheet(rows, store.colors)))
        return path
    legend = "".join(
        f'<li><span style="background: rgb{color}"></span>{html.escape(name)}</li>'
        for name, color in list(zip(store.classes, store.colors, strict=True))[1:]
    )
    settings = "".join(
        f"<tr><th>{name}</th><td>{value}</td><td>{share:.0%}</td></tr>"
        for name, value, share in operations(config)
    )
    shape = " x ".join(map(str, store.image_shape))
    lead = (
        f"<p>Training images of {shape} pixels, framed in blue, and samples of each as a trial "
        f"sees them{_patches(config)}. Border: {config.border}. The outlines are the masks: where "
        f"one does not follow what it marks, the setting is too strong.{_pastes(config)}</p>"
        f"<ul>{legend}</ul>"
    )
    none = "<tr><td colspan=3>none: samples are the originals</td></tr>"
    rest = (
        "<h2>Operations</h2><table><tr><th>operation</th><td>largest amount</td>"
        f"<td>share of samples</td></tr>{settings or none}</table>"
    )
    title = f"Augmentation of {store.source}"
    figures = _figures(rows, store.colors)
    path.write_text(page(title, lead, figures, rest), encoding="utf-8")
    return path


def _patches(config: AugmentConfig) -> str:
    size, stages = config.patch_size, config.patch_stages
    if size is None:
        return ""
    grown = f", as large as the last of {stages} stages has them" if stages > 1 else ""
    return f": windows of {size} x {size} pixels, shown larger{grown}"


def _pastes(config: AugmentConfig) -> str:
    if not config.paste:
        return ""
    return (
        f" {config.paste:.0%} of a trial's samples have a defect of another image pasted on; here "
        "all samples of the images without a defect do."
    )


def operations(config: AugmentConfig) -> Iterator[tuple[str, object, float]]:
    """Yield (name, largest amount, share of samples) of every operation that ever happens."""
    for name in OPERATIONS:
        if config.share(name):
            yield name, getattr(config, name), config.share(name)


def _figures(rows: list[PreviewRow], colors: tuple[Color, ...]) -> Iterator[str]:
    for row in rows:
        tags = []
        for number, (image, mask) in enumerate(row.pictures):
            said = f"sample {number} of {row.stem}" if number else f"original of {row.stem}"
            kind = "sample" if number else "original"
            tags.append(picture_tag(outlined(image, mask, colors), said, kind))
        yield figure(row.stem, tags)


def _png(picture: Pixels) -> bytes:
    return bytes(cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1])
