"""Images a second and core of the local pipeline: `python benchmarks/pipeline.py [--out FILE]`.

Each policy at 128, 256 and 512 px, grey, batches of 16, on one core: the process is bound to one
(where the system allows it) and the stream has one thread; seconds are those of the processor.
Where Albumentations is installed (`pip install albumentations==2.0.8 albucore==0.0.24`), the same
affine and default policies by it, on the same core in the same run. Written as a dated Markdown
table.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np

CLASSES = {"background": (0, 0, 0), "a": (255, 0, 0), "b": (0, 255, 0)}
SIDES = (128, 256, 512)
BATCH = 16
RECORDS = 300

OFF = {"preset": "none"}
FLIPS = {"horizontal_flip": True, "vertical_flip": True}
AFFINE = {"rotation": 10.0, "scale": 0.1, "shift": 0.05}
LIGHT = {"brightness": 0.1, "contrast": 0.2}
POLICIES: dict[str, dict[str, object]] = {
    "read only, natural": {**OFF, "sampling": "natural"},
    "read only, balanced": OFF,
    "flips": {**OFF, **FLIPS},
    "light": {**OFF, **LIGHT},
    "affine": {**OFF, **AFFINE},
    "default (flips, affine, elastic, light)": {},
    "strong": {"preset": "strong"},
}
# The same two policies as Albumentations has them; elastic as often and about as far.
COMPARED = ("affine", "default (flips, affine, elastic, light)")


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="write the table here too")
    parser.add_argument("--seconds", type=float, default=2.0, help="processor time a cell")
    arguments = parser.parse_args()
    core = _bind_to_one_core()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask the network for its version
    rows = {name: [] for name in POLICIES}
    with tempfile.TemporaryDirectory() as folder:
        for side in SIDES:
            store = make_store(Path(folder) / str(side), side)
            for name, settings in POLICIES.items():
                rows[name].append(_images_per_second(store, settings, arguments.seconds))
            for name in COMPARED:
                rate = _albumentations_per_second(store, name, arguments.seconds)
                if rate is not None:
                    rows.setdefault(f"Albumentations: {name}", []).append(rate)
    table = _table(rows, core)
    print(table)
    if arguments.out:
        arguments.out.write_text(table + "\n", encoding="utf-8")


def _bind_to_one_core() -> str:
    """Before TensorFlow is imported: it counts the cores then."""
    if not hasattr(os, "sched_setaffinity"):
        return "not bound to a core"
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    return "bound to one core"


def make_store(folder: Path, side: int, records: int = RECORDS):
    """Writes a store of noise and opens it."""
    from data_pipeline.stores.facts import THUMBNAIL
    from data_pipeline.stores.store import ShardWriter, Split, Store, rarest_classes, write_manifest
    from data_pipeline.stores.survey import Survey

    folder.mkdir()
    rng = np.random.default_rng(0)
    names = tuple(f"image_{i}" for i in range(records))
    pixels = np.zeros((records, 3), np.int64)
    with ShardWriter(folder, "train", (side, side, 1), records) as writer:
        for i in range(records):
            mask = np.zeros((side, side), np.uint8)
            mask[: side // 4] = i % 3
            writer.write(i, rng.integers(0, 256, (side, side, 1), np.uint8), mask)
            pixels[i] = np.bincount(mask.ravel(), minlength=3)
        shards = writer.finish(range(records))
    order = rarest_classes(pixels, np.count_nonzero(pixels, axis=0))
    survey = Survey(
        tuple(CLASSES), names, ("train",) * records, names,
        np.full((records, 2), side, np.int32), pixels, np.zeros_like(pixels),
        np.zeros((records, THUMBNAIL, THUMBNAIL), np.uint8),
    )  # fmt: skip
    write_manifest(
        folder, source="noise", classes=CLASSES, image_shape=(side, side, 1), fingerprint="0",
        settings={}, splits=[Split("train", shards, names, names, pixels, order)], survey=survey,
    )  # fmt: skip
    return Store.open(folder)


def _images_per_second(store, settings: dict[str, object], seconds: float) -> float:
    from data_pipeline.augmentation.config import AugmentConfig
    from data_pipeline.streams.pipeline import train_dataset

    batches = iter(train_dataset(store, AugmentConfig(**settings), BATCH, seed=0, threads=1))
    for _ in range(5):
        next(batches)
    # Processor time of all threads: a busy machine does not change it much, and it is the cost
    # that matters where trials share the cores.
    count, begin = 0, time.process_time()
    while (took := time.process_time() - begin) < seconds:
        next(batches)
        count += BATCH
    return count / took


def _albumentations_per_second(store, policy: str, seconds: float) -> float | None:
    """Images a second of processor time by Albumentations on the same core; None without it."""
    try:
        import albumentations
    except ImportError:
        return None
    import cv2

    cv2.setNumThreads(1)
    records = [store.read("train", index) for index in range(RECORDS)]
    transform = _albumentations(albumentations, cv2, policy, store.image_shape[0])
    count, begin = 0, time.process_time()
    while (took := time.process_time() - begin) < seconds:
        batch = []
        for _ in range(BATCH):
            image, mask = records[count % RECORDS]
            batch.append(transform(image=image, mask=mask))
            count += 1
        np.stack([item["image"] for item in batch]), np.stack([item["mask"] for item in batch])
    return count / took


def _albumentations(library, cv2, policy: str, side: int):
    mirrored = {"border_mode": cv2.BORDER_REFLECT}
    affine = library.Affine(
        rotate=(-10, 10), scale=(0.9, 1.1), translate_percent=(-0.05, 0.05), p=1.0, **mirrored
    )
    if policy == "affine":
        return library.Compose([affine])
    # Its displacements: alpha pixels of white noise, smoothed over sigma pixels.
    elastic = library.ElasticTransform(alpha=0.4 * side, sigma=side / 20, p=0.5, **mirrored)
    light = library.RandomBrightnessContrast(0.1, 0.2, p=1.0)
    flips = [library.HorizontalFlip(p=0.5), library.VerticalFlip(p=0.5)]
    return library.Compose([*flips, affine, elastic, light])


def _table(rows: dict[str, list[float]], core: str) -> str:
    import tensorflow as tf

    sides = " | ".join(f"{side} px" for side in SIDES)
    lines = [
        f"## Local pipeline, {date.today().isoformat()}",
        "",
        f"Images a second of processor time, {core}, batches of {BATCH}, grey. "
        f"TensorFlow {tf.__version__}, Python {platform.python_version()}, {platform.machine()}.",
        "",
        f"| policy | {sides} |",
        "|---|" + "---:|" * len(SIDES),
    ]
    lines += [
        f"| {name} | " + " | ".join(f"{rate:,.0f}" for rate in rates) + " |"
        for name, rates in rows.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
