"""Many images prepared: `python benchmarks/prepare_scale.py [--images 500 1000 2000] [--out FILE]`.

JPEG photographs of 512 px (blurred noise, which compresses as photographs do) with PNG masks,
undivided, prepared at 512 px into an empty folder each time, every time in a fresh process:

- memory: the process' peak (VmHWM of /proc/self/status), by number of images. What grows are facts,
  so the slope between the smallest and the largest holds for any number; --facts 100000 checks it
  on so many images of 16 px, in place of the rest;
- threads against Ray tasks on this machine, two of each, in turns. Ray is started before the clock;
- a preparation killed (SIGKILL) when half of the images are done, and started again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data_pipeline.config import DataConfig
from data_pipeline.stores.prepare import prepare
from data_pipeline.stores.shards import ShardDone, ShardTask, make_shard

SIDE = 512
WORKERS = 2
FULL = 100_000


def main() -> None:
    """Measures and prints the tables; or, with --child, one preparation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[500, 1000, 2000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where files are made; default: a temporary")
    parser.add_argument("--out", type=Path, help="write the tables here too")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)  # way, source, stores, side
    parser.add_argument("--facts", type=int, metavar="IMAGES", help="prepare so many small images")
    arguments = parser.parse_args()
    if arguments.child:
        _child(*arguments.child)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        if arguments.facts:
            text = _facts(arguments.facts, Path(folder))
        else:
            sources = _sources(Path(folder), sorted(arguments.images))
            text = _tables(sources, arguments.rounds, Path(folder))
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


def _sources(folder: Path, counts: Sequence[int], side: int = SIDE) -> dict[int, Path]:
    """Data sets of so many images; the smaller ones are links to the largest one's files."""
    sources = {count: folder / f"images-{count}" for count in counts}
    for source in sources.values():
        for kind in ("images", "masks"):
            (source / kind).mkdir(parents=True)
        (source / "dataset.yaml").write_text(
            "format: 1\nname: noise\nsource: drawn\n"
            "classes: {background: [0, 0, 0], a: [255, 0, 0], b: [0, 0, 255]}\n",
            encoding="utf-8",
        )
    largest = sources[counts[-1]]
    for number in range(counts[-1]):
        image, mask = _draw(number, side)
        cv2.imwrite(str(largest / "images" / f"p{number:06d}.jpg"), image)
        cv2.imwrite(str(largest / "masks" / f"p{number:06d}.png"), mask)
        for count in counts[:-1]:
            for name in (f"images/p{number:06d}.jpg", f"masks/p{number:06d}.png"):
                if number < count:
                    os.link(largest / name, sources[count] / name)
    return sources


def _draw(number: int, side: int = SIDE) -> tuple[Any, Any]:
    random = np.random.default_rng(number)
    noise = cv2.GaussianBlur(random.integers(0, 256, (side, side), np.uint8), (0, 0), 3)
    mask = np.zeros((side, side, 3), np.uint8)
    for color in ((0, 0, 255), (255, 0, 0), (0, 0, 255)):
        x, y, radius = (
            int(v) for v in random.integers([0, 0, side // 100], [side, side, side // 8])
        )
        cv2.circle(mask, (x, y), radius, color, -1)
    return cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX), mask


# One preparation, in a process of its own


def _child(way: str, source: str, stores: str, side: str) -> None:
    config = DataConfig(source=source, image_size=(int(side), int(side)), store_path=Path(stores))
    told: dict[str, Any] = {}
    seen = [0]

    def progress(done: int, total: int) -> None:
        seen.append(done)
        if way == "killed" and done >= total / 2:
            os.kill(os.getpid(), signal.SIGKILL)

    across = None
    if way == "ray":
        import ray

        ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
        ray.get([ray.remote(_load).remote() for _ in range(WORKERS)])
        across = _here
    start = time.perf_counter()
    store = prepare(config, workers=WORKERS, progress=progress, across=across)
    told["seconds"] = time.perf_counter() - start
    told["images"] = sum(split.count for split in store.splits.values())
    # A finished shard is told of at once, what is made here image by image.
    told["found"] = sum(b - a for a, b in pairwise(seen) if b - a > 1)
    told["peak"] = peak_mib()
    told["worker"] = max(
        (float(path.read_text()) for path in Path(stores).glob("peak-*")), default=0.0
    )
    print(json.dumps(told))


def _load() -> None:
    """What a worker imports once; the node has been up for a while in a real run."""
    import data_pipeline.stores.shards  # noqa: F401

    time.sleep(1)


def _here(make: Any, tasks: Sequence[ShardTask]) -> Generator[ShardDone, None, None]:
    """As on a cluster, on a node that is this machine: left to itself it would use threads."""
    import ray

    from search.config.settings import ResourceSettings
    from search.data.preparing import AcrossCluster, _node

    across = AcrossCluster(ResourceSettings(), print)
    crew = [_node(node) for node in ray.nodes()]
    return across._run(make_and_measure, tasks, crew, contextlib.ExitStack())


def make_and_measure(task: ShardTask) -> ShardDone:
    """Makes a shard and notes the worker's peak memory beside the stores."""
    done = make_shard(task)
    (task.folder.parent / f"peak-{os.getpid()}").write_text(str(peak_mib()))
    return done


def peak_mib() -> float:
    """Peak resident memory of this process in MiB, mapped files included."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


# The tables


def _run(way: str, source: Path, stores: str, side: int = SIDE) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--child", way, str(source), stores, str(side)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    if way == "killed":
        return {}
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measure(way: str, source: Path, folder: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=folder) as stores:
        return _run(way, source, stores)


def _facts(count: int, folder: Path, side: int = 16) -> str:
    """The memory of so many images, small ones, so that it does not take hours."""
    source = _sources(folder, [200], side)[200]
    for number in range(200, count):
        for kind, suffix in (("images", "jpg"), ("masks", "png")):
            old = source / kind / f"p{number % 200:06d}.{suffix}"
            os.link(old, source / kind / f"p{number:06d}.{suffix}")
    found = _run("threads", source, str(folder / "stores"), side)
    return (
        f"{found['images']:,} images of {side} px: {found['peak']:.0f} MiB, "
        f"{found['images'] / found['seconds']:.0f} images/s."
    )


def _resume(source: Path, folder: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=folder) as stores:
        _run("killed", source, stores)
        return _run("resumed", source, stores)


def _tables(sources: dict[int, Path], rounds: int, folder: Path) -> str:
    memory = {count: _measure("threads", source, folder) for count, source in sources.items()}
    middle = sources[sorted(sources)[len(sources) // 2]]
    turns: dict[str, list[dict[str, Any]]] = {"threads": [], "ray": []}
    for _ in range(rounds):
        for way, found in turns.items():
            found.append(_measure(way, middle, folder))
    resumed = _resume(middle, folder)
    return "\n".join(
        [
            f"### Preparation of many images, {date.today().isoformat()}",
            "",
            f"{SIDE} px, grey, undivided, {os.cpu_count()} cores ({platform.machine()}), OpenCV "
            f"{cv2.__version__}, NumPy {np.__version__}, Python {platform.python_version()}.",
            "",
            *_memory_lines(memory),
            "",
            *_turn_lines(turns),
            "",
            f"Killed at half of {resumed['images']} images and started again: "
            f"{resumed['found']} were found finished, {resumed['images'] - resumed['found']} made "
            f"in {resumed['seconds']:.0f} s.",
        ]
    )


def _memory_lines(memory: dict[int, dict[str, Any]]) -> list[str]:
    first, last = min(memory), max(memory)
    lines = ["| images | peak memory | images/s |", "|---:|---:|---:|"]
    lines += [
        f"| {count:,} | {found['peak']:.0f} MiB | {count / found['seconds']:.0f} |"
        for count, found in memory.items()
    ]
    if last == first:
        return lines
    slope = (memory[last]["peak"] - memory[first]["peak"]) / (last - first)
    full = memory[first]["peak"] + slope * (FULL - first)
    return [
        *lines,
        "",
        f"{1024 * slope:.1f} KiB an image, so {full:,.0f} MiB at {FULL:,} images.",
    ]


def _turn_lines(turns: dict[str, list[dict[str, Any]]]) -> list[str]:
    rates = {
        way: statistics.median(one["images"] / one["seconds"] for one in found)
        for way, found in turns.items()
    }
    driver, worker = (max(one[name] for one in turns["ray"]) for name in ("peak", "worker"))
    count, threads = turns["ray"][0]["images"], turns["threads"]
    peak = max(one["peak"] for one in threads)
    return [
        f"| {count:,} images, {len(threads)} rounds in turns | images/s | peak memory |",
        "|---|---:|---:|",
        f"| {WORKERS} threads | {rates['threads']:.0f} | {peak:.0f} MiB |",
        f"| {WORKERS} Ray tasks | {rates['ray']:.0f} | {driver:.0f} MiB in the driver, "
        f"{worker:.0f} MiB a worker |",
        "",
        f"Ray to threads: {rates['ray'] / rates['threads']:.2f}x.",
    ]


if __name__ == "__main__":
    main()
