"""A store larger than the memory: `python benchmarks/streaming.py [--gb 3] [--limit-gb 1.5]`.

Writes a store of 512-pixel records, then reads batches spread over all of it in a process of its
own, first as it is, then inside a cgroup whose memory, page cache included, is less than the store
(Linux, as root: versions 1 and 2): with the pipeline of a single trial, and with a worker of the
shared one and a reader. Images a second, and the most memory that is the processes' own: mapped
files are not, the kernel takes their pages back. Written as a dated Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from datetime import date
from pathlib import Path

from pipeline import make_store

SIDE, BATCH = 512, 8
CGROUPS = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max"),
)


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=3.0, help="size of the store, 10**9 bytes")
    parser.add_argument("--limit-gb", type=float, default=1.5, help="memory of the cgroup")
    parser.add_argument("--seconds", type=float, default=20.0, help="wall seconds a cell")
    parser.add_argument("--folder", type=Path, help="where the store is written; default: /tmp")
    parser.add_argument("--out", type=Path, help="write the table here too")
    parser.add_argument("--read", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        path, sharing, seconds = arguments.read
        print(json.dumps(_read(Path(path), sharing, float(seconds))))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        store = Path(folder) / "store"
        size = _write(store, round(arguments.gb * 1e9 / (SIDE * SIDE * 2)))
        rows = [
            (sharing, limit, _measure(store, sharing, arguments.seconds, limit))
            for sharing in ("local", "service")
            for limit in (None, arguments.limit_gb)
        ]
    table = _table(rows, size)
    print(table)
    if arguments.out:
        arguments.out.write_text(table + "\n", encoding="utf-8")


def _write(folder: Path, records: int) -> int:
    make_store(folder, SIDE, records)
    os.sync()
    return sum(path.stat().st_size for path in folder.iterdir())


def _measure(store: Path, sharing: str, seconds: float, limit: float | None) -> dict:
    command = [sys.executable, __file__, "--read", str(store), sharing, str(seconds)]
    group = _group(limit) if limit is not None else None
    if limit is not None and group is None:
        return {"error": "no cgroup can be made here"}

    def join() -> None:
        if group is not None:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    try:
        ended = subprocess.run(command, capture_output=True, text=True, preexec_fn=join)
    finally:
        if group is not None:
            group.rmdir()
    if ended.returncode:
        return {"error": f"ended with {ended.returncode}"}
    return json.loads(ended.stdout.splitlines()[-1])


def _group(limit: float) -> Path | None:
    """A new cgroup of so many GB; None where there cannot be one."""
    for root, name in CGROUPS:
        group = root / f"flexunet-streaming-{os.getpid()}"
        try:
            group.mkdir()
            if (group / name).exists():
                (group / name).write_text(str(int(limit * 1e9)))
                return group
            group.rmdir()
        except OSError:
            continue
    return None


def _read(path: Path, sharing: str, seconds: float) -> dict:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from data_pipeline.augmentation.config import AugmentConfig
    from data_pipeline.stores.store import Store
    from data_pipeline.streams.pipeline import train_dataset

    store, policy = Store.open(path), AugmentConfig(preset="light", sampling="natural")
    kept = []
    if sharing == "local":
        batches = train_dataset(store, policy, BATCH, seed=0, threads=1)
    else:
        from data_pipeline.streams.sharing import Dispatcher, PipelineWorker, shared_dataset

        folder = tempfile.mkdtemp()
        kept.append(Dispatcher("127.0.0.1", 0, Path(folder)))
        kept.append(PipelineWorker(kept[0].address, "127.0.0.1", int(256e6)))
        stream = kept[0].register(store, policy, seed=0, threads=1)
        batches = shared_dataset(stream, "a", BATCH, most_requests=4)
    peak = _watch_own_memory()
    iterator, count = iter(batches), 0
    next(iterator)
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        next(iterator)
        count += BATCH
    rate = count / (time.perf_counter() - begin)
    print(json.dumps({"images": count, "rate": rate, "own": peak[0]}), flush=True)
    os._exit(0)


def _watch_own_memory() -> list[float]:
    """The most anonymous memory so far, MB, in a list that goes on being written."""
    peak = [0.0]

    def watch() -> None:
        while True:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("RssAnon"):
                    peak[0] = max(peak[0], int(line.split()[1]) / 1000)
            time.sleep(0.1)

    threading.Thread(target=watch, daemon=True).start()
    return peak


def _table(rows, size: int) -> str:
    lines = [
        f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores; a store of "
        f"{size / 1e9:.1f} GB",
        "",
        "| pipeline | memory | images read | images/s | own memory, MB |",
        "|---|---|---:|---:|---:|",
    ]
    for sharing, limit, found in rows:
        memory = "all" if limit is None else f"{limit} GB"
        if "error" in found:
            lines.append(f"| {sharing} | {memory} | {found['error']} | | |")
            continue
        lines.append(
            f"| {sharing} | {memory} | {found['images']:,} | {found['rate']:,.0f} | "
            f"{found['own']:,.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
