"""Images a second of the preparation: `python benchmarks/prepare.py [--source DIR] [--out FILE]`.

`prepare` against single-threaded loops over the same files (cv2.imread, cv2.resize, appended to a
file), the plain one comparing masks with the class colours by NumPy, the quick one by OpenCV, and
against itself with one thread. They take turns, each into an empty folder, files in the page
cache. `prepare` does more than the loops: it checks every file's structure, digests it, counts
pixels and objects, makes the thumbnails of the audit and flushes the shards to the disk.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path

import cv2
import numpy as np

from data_pipeline.config import DataConfig
from data_pipeline.datasets.sources import find_dataset
from data_pipeline.stores.prepare import prepare


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, help="data set folder; default: a synthetic one")
    parser.add_argument("--size", type=int, nargs="+", default=[128, 512], help="sides in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write the table here too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = arguments.source or _synthetic(Path(folder) / "synthetic")
        blocks = [_measure(source, side, arguments.rounds, Path(folder)) for side in arguments.size]
        count = len(find_dataset(DataConfig(source=str(source))).items)
    table = _table(blocks, arguments.source.name if arguments.source else "synthetic", count)
    print(table)
    if arguments.out:
        arguments.out.write_text(table + "\n", encoding="utf-8")


def _synthetic(folder: Path) -> Path:
    from data_pipeline.datasets.synthetic import write_synthetic

    write_synthetic(folder, seed=0, tiles=60)
    return folder


def _measure(source: Path, side: int, rounds: int, folder: Path) -> dict[str, object]:
    config = DataConfig(source=str(source), image_size=side)
    ways = {
        "plain": lambda out: _loop(config, out, quick=False),
        "quick": lambda out: _loop(config, out, quick=True),
        "one": lambda out: prepare(config.model_copy(update={"store_path": out}), workers=1),
        "all": lambda out: prepare(config.model_copy(update={"store_path": out})),
    }
    count = len(find_dataset(config).items)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory(dir=folder) as out:
                start = time.perf_counter()
                way(Path(out))
                if turn:  # the first fills the page cache
                    rates[name].append(count / (time.perf_counter() - start))
    return {"side": side} | {name: statistics.median(values) for name, values in rates.items()}


def _loop(config: DataConfig, out: Path, *, quick: bool) -> None:
    """What a script does that prepares a data set, no more."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    dataset = find_dataset(config)
    colors = [np.array(color[::-1], np.uint8) for color in dataset.classes.values()]
    size = config.image_size[::-1]
    with (out / "images").open("wb") as images, (out / "masks").open("wb") as masks:
        for item in dataset.items:
            image = cv2.imread(str(item.image), cv2.IMREAD_GRAYSCALE)
            colored = cv2.imread(str(item.mask), cv2.IMREAD_COLOR)
            mask = np.zeros(colored.shape[:2], np.uint8)
            for index, color in enumerate(colors):
                if quick:
                    mask |= cv2.inRange(colored, color, color) & np.uint8(index)
                else:
                    mask[(colored == color).all(axis=2)] = index
            images.write(cv2.resize(image, size, interpolation=cv2.INTER_AREA).tobytes())
            masks.write(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST).tobytes())
    cv2.setNumThreads(before)


def _table(blocks: list[dict[str, object]], name: str, count: int) -> str:
    lines = [
        f"### Preparation, {date.today().isoformat()}",
        "",
        f"{count} images of {name}, grey, {os.cpu_count()} cores ({platform.machine()}), OpenCV "
        f"{cv2.__version__}, NumPy {np.__version__}, Python {platform.python_version()}; median, "
        "images a second.",
        "",
        "| side | plain loop | quick loop | prepare, 1 thread | prepare, all cores "
        "| to the plain loop | to the quick loop |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {b['side']} px | {b['plain']:.0f} | {b['quick']:.0f} | {b['one']:.0f} "
        f"| {b['all']:.0f} | {b['all'] / b['plain']:.2f}x | {b['all'] / b['quick']:.2f}x |"
        for b in blocks
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
