"""Images a second and core of the local pipeline: `python benchmarks/pipeline.py [--out FILE]`.

Each policy at 128 and 256 px, grey, batches of 16, on one core: the process is bound to one
(where the system allows it) and the stream has one thread; seconds are those of the processor.
Written as a dated Markdown table.
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
SIDES = (128, 256)
BATCH = 16
RECORDS = 300

OFF = {
    "horizontal_flip": False,
    "vertical_flip": False,
    "rotation": 0.0,
    "scale": 0.0,
    "shift": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
}
POLICIES: dict[str, dict[str, object]] = {
    "read only, natural": {**OFF, "sampling": "natural"},
    "read only, balanced": OFF,
    "flips": {**OFF, "horizontal_flip": True, "vertical_flip": True},
    "light": {**OFF, "brightness": 0.1, "contrast": 0.2},
    "default (flips, affine, light)": {},
    "default and noise": {"noise": 0.05},
}


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="write the table here too")
    parser.add_argument("--seconds", type=float, default=2.0, help="processor time a cell")
    arguments = parser.parse_args()
    core = _bind_to_one_core()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    rows = {name: [] for name in POLICIES}
    with tempfile.TemporaryDirectory() as folder:
        for side in SIDES:
            store = _make_store(Path(folder) / str(side), side)
            for name, settings in POLICIES.items():
                rows[name].append(_images_per_second(store, settings, arguments.seconds))
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


def _make_store(folder: Path, side: int):
    from data_pipeline.store import ShardWriter, Split, Store, rarest_classes, write_manifest
    from data_pipeline.survey import THUMBNAIL, Survey

    folder.mkdir()
    rng = np.random.default_rng(0)
    names = tuple(f"image_{i}" for i in range(RECORDS))
    pixels = np.zeros((RECORDS, 3), np.int64)
    with ShardWriter(folder, "train", (side, side, 1), RECORDS) as writer:
        for i in range(RECORDS):
            mask = np.zeros((side, side), np.uint8)
            mask[: side // 4] = i % 3
            writer.write(i, rng.integers(0, 256, (side, side, 1), np.uint8), mask)
            pixels[i] = np.bincount(mask.ravel(), minlength=3)
        shards = writer.finish(range(RECORDS))
    order = rarest_classes(pixels, np.count_nonzero(pixels, axis=0))
    survey = Survey(
        tuple(CLASSES), names, ("train",) * RECORDS, names,
        np.full((RECORDS, 2), side, np.int32), pixels, np.zeros_like(pixels),
        np.zeros((RECORDS, THUMBNAIL, THUMBNAIL), np.uint8),
    )  # fmt: skip
    write_manifest(
        folder, source="noise", classes=CLASSES, image_shape=(side, side, 1), fingerprint="0",
        settings={}, splits=[Split("train", shards, names, names, pixels, order)], survey=survey,
    )  # fmt: skip
    return Store.open(folder)


def _images_per_second(store, settings: dict[str, object], seconds: float) -> float:
    from data_pipeline.config import AugmentConfig
    from data_pipeline.pipeline import train_dataset

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
