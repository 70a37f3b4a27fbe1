"""The search for near-duplicates: `python benchmarks/near_duplicates.py [--out FILE]`.

Pictures of their own (sums of random blobs over fine noise) and, for a tenth of them, a copy:
flipped or turned, exposed otherwise, with noise, saved as JPEG. `Likeness.merged` joins what is
nearly the same, by the hash and then by correlation; against it, in the same process, every pair
correlated in eight views (brute force), and candidates by the 64 signs of the classic pHash, which
may differ in 12 places. `--kind fixture` has pictures that are all alike, as of parts in a fixture;
`--kind noise` adds so much noise to each of them that no hash can tell them apart: the worst case.
Recall and precision are those of the planted pairs.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data_pipeline.quality.near_duplicates import Likeness
from data_pipeline.quality.perceptual_hash import flips_and_turns

PLANTED = 0.1
RADIUS = 12
BLOCK = 1024
KINDS = {
    "different": "of different things",
    "fixture": "that are all alike",
    "noise": "that are all alike but for noise",
}
Pairs = set[tuple[int, int]]


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 3000, 10_000])
    parser.add_argument("--kind", choices=list(KINDS), default="different")
    parser.add_argument("--ways", choices=list(WAYS), nargs="+", default=list(WAYS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the table here too")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    _measure("hash", *_planted(100, "different", np.random.default_rng(0)))  # warms up
    for count in arguments.images:
        rng = np.random.default_rng(arguments.seed)
        thumbnails, planted = _planted(count, arguments.kind, rng)
        rows += [_measure(way, thumbnails, planted) for way in arguments.ways]
    table = _table(rows, arguments.kind)
    print(table)
    if arguments.out:
        arguments.out.write_text(table + "\n", encoding="utf-8")


# The pictures


def _planted(count: int, kind: str, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Pairs]:
    """Thumbnails uint8 [count, 32, 32] in random order, and the pairs of original and copy."""
    copies = round(count * PLANTED)
    base = None if kind == "different" else _picture(rng)
    pictures = [_picture(rng, base, kind == "noise") for _ in range(count - copies)]
    pictures += [_copy(pictures[number], rng) for number in range(copies)]
    side = (32, 32)
    small = [cv2.resize(picture, side, interpolation=cv2.INTER_AREA) for picture in pictures]
    order = rng.permutation(count)
    place = np.argsort(order)
    pairs = zip(place[:copies].tolist(), place[count - copies :].tolist(), strict=True)
    return np.stack(small)[order], {(min(pair), max(pair)) for pair in pairs}


def _picture(
    rng: np.random.Generator, base: NDArray[np.uint8] | None = None, noise: bool = False
) -> NDArray[np.uint8]:
    """A grey picture [128, 128]: blobs from coarse to fine; with a base, that and a bit of them."""
    if base is not None and noise:
        coarse = rng.normal(0, 12, (32, 32)).repeat(4, 0).repeat(4, 1)
        return (base + coarse).clip(0, 255).astype(np.uint8)
    total = np.zeros((128, 128), np.float32)
    for cells in (4, 8, 16, 32, 64):
        coarse = rng.normal(0, 4 / cells, (cells, cells)).astype(np.float32)
        total += cv2.resize(coarse, (128, 128), interpolation=cv2.INTER_CUBIC)
    grey = cv2.normalize(total, None, 0, 255, cv2.NORM_MINMAX)
    if base is not None:
        grey = base * 0.9 + grey * 0.1
    return np.asarray(grey, np.float32).astype(np.uint8)


def _copy(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    turned = np.rot90(picture, rng.integers(4))
    turned = turned[:, ::-1] if rng.integers(2) else turned
    exposed = turned * rng.uniform(0.4, 0.9) + rng.uniform(0, 20)
    noisy = (exposed + rng.normal(0, 4, picture.shape)).clip(0, 255).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 95))]
    saved = cv2.imencode(".jpg", noisy, quality)[1]
    return np.asarray(cv2.imdecode(saved, cv2.IMREAD_GRAYSCALE), np.uint8)


# The ways


def _ours(likeness: Likeness) -> Iterator[tuple[int, int]]:
    together = defaultdict(list)
    count = len(likeness._vectors)
    for number, group in enumerate(likeness.merged(tuple(map(str, range(count))))):
        together[group].append(number)
    for numbers in together.values():
        yield from combinations(numbers, 2)


def _brute(likeness: Likeness) -> Iterator[tuple[int, int]]:
    """Every pair correlated in eight views, 1,024 by 1,024."""
    count = len(likeness._vectors)
    square = likeness._vectors.reshape(count, 32, 32)
    for start in range(0, count, BLOCK):
        views = [v.reshape(v.shape[0], -1) for v in _views(square[start : start + BLOCK])]
        for begin in range(start, count, BLOCK):
            part = likeness._vectors[begin : begin + BLOCK].T
            best = views[0] @ part
            for view in views[1:]:
                np.maximum(best, view @ part, out=best)
            a, b = np.nonzero(best > likeness.threshold)
            yield from zip((a + start).tolist(), (b + begin).tolist(), strict=True)


def _signs(likeness: Likeness) -> Iterator[tuple[int, int]]:
    """Candidates by the Hamming distance of 64 signs, in eight views; then correlation."""
    count = len(likeness._vectors)
    square = likeness._vectors.reshape(count, 32, 32)
    views = np.stack([_packed(view) for view in flips_and_turns(likeness._hashes)])
    for start in range(0, count, BLOCK):
        for begin in range(start, count, BLOCK):
            part = views[0, begin : begin + BLOCK]
            near = np.zeros((min(BLOCK, count - start), len(part)), np.bool_)
            for view in views[:, start : start + BLOCK]:
                near |= np.bitwise_count(view[:, np.newaxis] ^ part) <= RADIUS
            a, b = np.nonzero(near)
            a, b = (a + start)[a + start < b + begin], (b + begin)[a + start < b + begin]
            for few in range(0, len(a), BLOCK):
                one, other = a[few : few + BLOCK], b[few : few + BLOCK]
                best = np.max([
                    np.einsum("nij,nij->n", view, square[other]) for view in _views(square[one])
                ], axis=0)  # fmt: skip
                hit = best > likeness.threshold
                yield from zip(one[hit].tolist(), other[hit].tolist(), strict=True)


WAYS: dict[str, Callable[[Likeness], Iterator[tuple[int, int]]]] = {
    "hash": _ours,
    "brute": _brute,
    "signs": _signs,
}
NAMES = {
    "hash": "hash, then correlation",
    "brute": "brute force",
    "signs": "signs of pHash, then correlation",
}


def _packed(hashes: NDArray[np.float32]) -> NDArray[np.uint64]:
    return np.packbits(hashes[:, :64] > 0, axis=1).view(np.uint64).ravel()


def _views(square: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    turned = [np.rot90(square, quarter, axes=(1, 2)) for quarter in range(4)]
    return [np.ascontiguousarray(v) for v in (*turned, *(view[:, :, ::-1] for view in turned))]


# The table


def _measure(way: str, thumbnails: NDArray[np.uint8], planted: Pairs) -> dict[str, Any]:
    """Time; then the memory, in a second run, since tracing takes time."""
    groups = tuple(map(str, range(len(thumbnails))))
    start, cpu = time.perf_counter(), time.process_time()
    found = {(min(pair), max(pair)) for pair in WAYS[way](Likeness(thumbnails, groups))}
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    found = {pair for pair in found if pair[0] != pair[1]}
    right = len(found & planted)
    return {
        "images": len(thumbnails),
        "way": NAMES[way],
        "wall": wall,
        "cpu": cpu,
        "memory": _peak(WAYS[way], thumbnails, groups),
        "recall": right / len(planted),
        "precision": right / max(1, len(found)),
    }


def _peak(
    way: Callable[[Likeness], Iterator[tuple[int, int]]],
    thumbnails: NDArray[np.uint8],
    groups: tuple[str, ...],
) -> float:
    """Most memory held beside the thumbnails, MB: traced, so in a run of its own."""
    tracemalloc.start()
    for _ in way(Likeness(thumbnails, groups)):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def _table(rows: list[dict[str, Any]], kind: str) -> str:
    lines = [
        f"### Near-duplicates among pictures {KINDS[kind]}, {date.today().isoformat()}",
        "",
        f"{os.cpu_count()} cores ({platform.machine()}), NumPy {np.__version__}, Python "
        f"{platform.python_version()}; {PLANTED:.0%} planted copies.",
        "",
        "| images | way | s | of it CPU, s | images/s | most memory, MB | recall | precision |",
        "|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r['images']:,} | {r['way']} | {r['wall']:.2f} | {r['cpu']:.2f} "
        f"| {r['images'] / r['wall']:,.0f} | {r['memory']:.0f} | {r['recall']:.3f} "
        f"| {r['precision']:.3f} |"
        for r in rows
    ]
    return "\n".join([*lines, "", *_growth(rows)])


def _growth(rows: list[dict[str, Any]]) -> Iterator[str]:
    """How the CPU time of each way grows, as a power of the number of images."""
    for name in dict.fromkeys(row["way"] for row in rows):
        of = [row for row in rows if row["way"] == name]
        first, last = of[0], of[-1]
        if last["images"] > first["images"]:
            power = np.log(last["cpu"] / first["cpu"]) / np.log(last["images"] / first["images"])
            sizes = f"{first['images']:,} to {last['images']:,} images"
            yield f"{name}: from {sizes} CPU time grows as n^{power:.1f}."


if __name__ == "__main__":
    main()
