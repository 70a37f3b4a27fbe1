"""Host CPU an image: one shared pipeline against one a trial: `python benchmarks/sharing.py`.

For K = 1, 2, 4, 8 readers, each a process with one pipeline thread that takes batches of 16 and
does nothing with them: first with a pipeline each (`sharing: local`), then all from one tf.data
service worker (`sharing: service`), in turns in one run. CPU seconds are those of all processes,
readers, worker and dispatcher, from /proc, over a window after the start; images are those that
readers received. Default policy, grey. Linux. Written as a dated Markdown table.

With `--search`: the same 8 trials as real searches instead, four at once, local and shared in
turns: seconds from the first epoch's begin to the last one's end, and the machine's busy processor
seconds over each whole run; leave the machine alone for it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date, datetime
from pathlib import Path

import numpy as np
from pipeline import make_store

READERS = (1, 2, 4, 8)
BATCH = 16
RECORDS = 300
HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[1]
PRESETS = ("default", "none")


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="write the table here too")
    parser.add_argument("--seconds", type=float, default=8.0, help="wall seconds a cell")
    parser.add_argument("--sides", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--readers", type=int, nargs="+", default=READERS)
    parser.add_argument("--presets", nargs="+", default=PRESETS)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--search", action="store_true", help="measure whole searches instead")
    parser.add_argument("--epochs", type=int, default=6, help="epochs of a search's trials")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if arguments.search:
        _searches(arguments)
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for side in arguments.sides:
            store = Path(folder) / str(side)
            make_store(store, side)
            for preset in arguments.presets:
                for readers in arguments.readers:
                    rows.append(_compare(store, side, preset, readers, arguments))
                    print(rows[-1], flush=True)
    table = _table(rows)
    print(table)
    if arguments.out:
        arguments.out.write_text(table + "\n", encoding="utf-8")


def _compare(store: Path, side: int, preset: str, readers: int, arguments) -> tuple:
    costs: dict[str, list[tuple[float, float]]] = {"local": [], "service": []}
    for _ in range(arguments.rounds):
        for sharing, found in costs.items():
            with tempfile.TemporaryDirectory() as folder:
                found.append(_measure(store, preset, readers, sharing, arguments.seconds, folder))
    mean = {name: np.mean(found, axis=0) for name, found in costs.items()}
    return (side, preset, readers, *mean["local"], *mean["service"])


def _measure(store: Path, preset: str, readers: int, sharing: str, seconds: float, folder: str):
    """CPU milliseconds an image and images a second."""
    spawn = multiprocessing.get_context("spawn")
    counts = spawn.Array("q", readers, lock=False)
    stream = spawn.Queue()
    processes = []
    try:
        address = None
        if sharing == "service":
            processes.append(spawn.Process(target=_serve, args=(store, preset, folder, stream)))
            processes[-1].start()
            address = stream.get(timeout=120)
        for reader in range(readers):
            arguments = (store, preset, address, counts, reader)
            processes.append(spawn.Process(target=_read, args=arguments))
            processes[-1].start()
        while not all(count > 4 * BATCH for count in counts):
            time.sleep(0.1)
        time.sleep(1)
        start, cpu, images = time.perf_counter(), _cpu(processes), sum(counts)
        time.sleep(seconds)
        images = sum(counts) - images
        cpu, wall = _cpu(processes) - cpu, time.perf_counter() - start
        return 1000 * cpu / images, images / wall
    finally:
        for process in processes:
            process.kill()
            process.join()


def _cpu(processes) -> float:
    """Processor seconds of the processes so far."""
    ticks = 0
    for process in processes:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _policy(preset: str):
    from data_pipeline.augmentation.config import AugmentConfig

    return AugmentConfig(preset=preset)


def _serve(path: Path, preset: str, folder: str, told) -> None:
    """Dispatcher and worker in a process: the worker's one thread does the work."""
    from data_pipeline.stores.store import Store
    from data_pipeline.streams.sharing import Dispatcher, PipelineWorker

    dispatcher = Dispatcher(HOST, 0, Path(folder))
    worker = PipelineWorker(dispatcher.address, HOST, 2**28)
    told.put(dispatcher.register(Store.open(path), _policy(preset), seed=0, threads=1))
    while worker:
        time.sleep(60)


def _read(path: Path, preset: str, stream, counts, reader: int) -> None:
    import tensorflow as tf

    from data_pipeline.stores.store import Store
    from data_pipeline.streams.pipeline import train_dataset
    from data_pipeline.streams.sharing import shared_dataset

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    if stream is None:
        batches = train_dataset(Store.open(path), _policy(preset), BATCH, seed=reader, threads=1)
    else:
        batches = shared_dataset(stream, str(reader), BATCH, most_requests=4)
    for images, *_ in batches:
        counts[reader] += int(images.shape[0])


def _searches(arguments) -> None:
    lines = [
        f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores",
        "",
        "| px | sharing | seconds | CPU seconds | of training: waiting | from the cache |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for side in arguments.sides:
        for sharing in ("local", "service") * arguments.rounds:
            with tempfile.TemporaryDirectory() as folder:
                row = _search(Path(folder), side, sharing, arguments.epochs)
            lines.append(f"| {side} | {sharing} | " + " | ".join(row) + " |")
            print(lines[-1], flush=True)
    print("\n".join(lines))
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _search(folder: Path, side: int, sharing: str, epochs: int) -> list[str]:
    """Run eight trials, four at once; the worker's CPU comes on top."""
    import yaml

    tree = {
        "study": {"name": "study", "storage_path": str(folder)},
        "data": {"source": "synthetic", "image_size": side,
                 "store_path": str(Path(tempfile.gettempdir()) / "sharing-benchmark-stores")},
        "model": {"num_layers": 3, "base_filters": 4, "base_kernel": 3, "dropout_rate": 0.0},
        "train": {"epochs": epochs, "steps_per_epoch": 40, "batch_size": 8,
                  "learning_rate": {"choice": [n * 1e-3 for n in range(1, 9)]}},
        "search": {"num_trials": 8, "pruner": "none", "sampler": "grid", "score_at_end": False},
        "resources": {"num_cpus": 5, "max_concurrent": 4},
        "pipeline": {"sharing": sharing},
    }  # fmt: skip
    config = folder / "study.yaml"
    config.write_text(yaml.safe_dump(tree), encoding="utf-8")
    before = _busy()
    command = [sys.executable, "-m", "search", "run", str(config)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    cpu = _busy() - before
    lines = [
        json.loads(line)
        for path in (folder / "study").glob("trials/*/metrics.jsonl")
        for line in path.read_text().splitlines()
    ]
    ends = [datetime.fromisoformat(line["time"]).timestamp() for line in lines]
    begins = [end - line["seconds"]["total"] for end, line in zip(ends, lines, strict=True)]
    kept = json.loads((folder / "study" / "pipeline.json").read_text())
    hits = "" if kept["hit_rate"] is None else f"{kept['hit_rate']:.0%}"
    waiting = kept["input_seconds"] / kept["train_seconds"]
    return [f"{max(ends) - min(begins):.0f}", f"{cpu:.0f}", f"{waiting:.0%}", hits]


def _busy() -> float:
    """Processor seconds of the whole machine, idle and waiting for disks left out."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    return (sum(ticks[:8]) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def _table(rows) -> str:
    lines = [
        f"{date.today()}, {platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "",
        "| px | preset | readers | CPU ms/image local | shared | ratio | images/s local | shared |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for side, preset, readers, local, local_rate, shared, shared_rate in rows:
        lines.append(
            f"| {side} | {preset} | {readers} | {local:.3f} | {shared:.3f} | "
            f"{shared / local:.2f}x | {local_rate:,.0f} | {shared_rate:,.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
