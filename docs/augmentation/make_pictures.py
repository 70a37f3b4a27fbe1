"""Draws the pictures of docs/augmentation.md: `make pictures`.

Each operation alone, at the far end of its useful range, on a tile of the embedded demo data.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

from data_pipeline.augmentation.augment import build_augment
from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.augmentation.operations import COLOR_ONLY, FLIPS, OPERATIONS, PRESETS
from data_pipeline.augmentation.preview import PreviewRow, preview, sheet
from data_pipeline.config import DataConfig
from data_pipeline.stores.prepare import prepare
from data_pipeline.stores.store import Store

HERE = Path(__file__).parent
SAMPLES = 4
TINT = np.array([1.0, 0.75, 0.55])


def main() -> None:
    """Write one JPEG an operation, one a preset, and those of windows and of pasting."""
    with tempfile.TemporaryDirectory() as folder:
        store = prepare(DataConfig(source="synthetic", store_path=Path(folder)))
        image, mask = _liveliest(store)
        for operation in OPERATIONS:
            grey = operation not in COLOR_ONLY
            tile = image if grey else np.uint8(image * TINT)
            config = AugmentConfig(
                preset="none", probability={operation: 1.0}, **{operation: OPERATIONS[operation]}
            )
            if operation in FLIPS:
                config = AugmentConfig(preset="none", **{operation: True})
            _write(operation, sheet([_row(config, tile, mask, store)], store.colors))
        for preset in PRESETS:
            rows = preview(store, AugmentConfig(preset=preset), images=3, samples=SAMPLES)
            _write(f"preset_{preset}", sheet(rows, store.colors))
        for name, shown in (("windows", {"patch_size": 64}), ("paste", {"paste": 0.3})):
            rows = preview(store, AugmentConfig(preset="none", **shown), images=9, samples=SAMPLES)
            clean = [row for row in rows if not row.pictures[0][1].any()]
            _write(name, sheet(clean[:2] if name == "paste" else rows[:2], store.colors))


def _liveliest(store: Store) -> tuple[np.ndarray, np.ndarray]:
    """The training image with a break that has the most contrast."""
    labels = store.splits["train"].image_classes
    shown = np.flatnonzero(labels == store.classes.index("Break"))
    records = [tuple(map(np.asarray, store.read("train", int(index)))) for index in shown]
    return max(records, key=lambda record: record[0].std())


def _row(config: AugmentConfig, image: np.ndarray, mask: np.ndarray, store: Store) -> PreviewRow:
    augment = build_augment(config, image.shape, store.classes)
    pictures = [(image, mask)]
    for number in range(SAMPLES):
        moved = augment(tf.constant(image), tf.constant(mask), tf.constant([4, number], tf.int64))
        pictures.append(tuple(part.numpy() for part in moved))
    return PreviewRow("tile", pictures)


def _write(name: str, picture: np.ndarray) -> None:
    small = cv2.resize(picture, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    path = HERE / f"{name}.jpg"
    bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(path), bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    main()
