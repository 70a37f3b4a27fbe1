"""Seconds and memory of a training step by whose kernels TensorFlow uses, with one heap and many.

    python benchmarks/kernels.py [--rounds 3] [--steps 4] [--out FILE]

TensorFlow on CPUs convolves with oneDNN's kernels or with its own (Eigen's), by the processor: see
benchmarks/memory.py, whose three kinds are compared here. Each is measured with one heap for all
threads, as trials have it, and with glibc's heap for each thread. Every measurement is a process of
its own; all take turns, and the medians of the rounds are shown.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.memory import CLASSES, KINDS, batch_of, peak, say
from model.config import ModelConfig, TrainConfig

CASES: list[dict[str, Any]] = [
    {"size": 64, "batch": 4, "threads": 1, "model": {"num_layers": 4, "base_filters": 8}},
    {"size": 128, "batch": 4, "threads": 1, "model": {"num_layers": 5, "base_filters": 8}},
    {"size": 128, "batch": 16, "threads": 1, "model": {"num_layers": 3, "base_filters": 8}},
    {
        "size": 128,
        "batch": 4,
        "threads": 1,
        "model": {"num_layers": 4, "base_filters": 16, "base_kernel": 9},
    },
    {
        "size": 256,
        "batch": 4,
        "threads": 2,
        "model": {"num_layers": 4, "base_filters": 8, "base_kernel": 5},
    },
]
HEAPS = ("one", "many")


def measure(case: dict[str, Any], kind: str, heap: str, steps: int) -> dict[str, float]:
    """Train in a process of its own; seconds of processor a step, and MB above the base."""
    command = [sys.executable, __file__, "--child", json.dumps({**case, "heap": heap, "n": steps})]
    environment = {**os.environ, "OMP_NUM_THREADS": str(case["threads"]), **KINDS[kind]}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def train_here(case: dict[str, Any]) -> dict[str, float]:
    """Train the case in this process, the second of two epochs timed."""
    from search.process import setup
    from search.process.resources import WorkerResources

    if case["heap"] == "many":
        patch.object(setup, "use_one_heap", lambda: None).start()  # raises where it has moved
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    setup.set_up_process(WorkerResources(cpus=case["threads"]))
    import tensorflow as tf

    from model.flexunet import build_flexunet
    from model.training import Trainer

    tf.reduce_sum(tf.ones(10)).numpy()
    base = peak()
    shape = (case["size"], case["size"], 1)
    train = TrainConfig(batch_size=case["batch"])
    model = build_flexunet(ModelConfig(**case["model"]), shape, CLASSES)
    trainer = Trainer(model, train, class_pixels=[95, 1, 1, 1, 1, 1], steps_per_epoch=case["n"])
    one = batch_of(case["batch"], shape)
    trainer.train_epoch(iter([one] * case["n"]))
    started = time.process_time()
    trainer.train_epoch(iter([one] * case["n"]))
    seconds = (time.process_time() - started) / case["n"]
    return {"seconds": seconds, "mb": (peak() - base) / 1e6}


def table(measured: dict[tuple[int, str, str], list[dict[str, float]]]) -> str:
    """Write medians, and times as many as with oneDNN's kernels in one heap."""

    def median(case: int, kind: str, heap: str, what: str) -> float:
        return statistics.median(one[what] for one in measured[case, kind, heap])

    lines = [
        f"Kernels and heaps, {datetime.now(UTC):%Y-%m-%d} ({os.cpu_count()} CPU cores, no GPU, "
        f"Python {platform.python_version()}, TensorFlow {version('tensorflow')})",
        "",
        "| image | batch | model | threads | kernels | CPU s a step, one heap | many heaps |"
        " to oneDNN | MB above the base, one heap | many heaps |",
        "|---|---:|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    for (index, case), kind in itertools.product(enumerate(CASES), KINDS):
        one, many = (median(index, kind, heap, "seconds") for heap in HEAPS)
        first = median(index, "onednn", "one", "seconds")
        held = [f"{median(index, kind, heap, 'mb'):,.0f}" for heap in HEAPS]
        values = ModelConfig(**case["model"])
        model = (
            f"{values.num_layers} levels, {values.base_filters} filters, kernel "
            f"{values.base_kernel}"
        )
        lines.append(
            f"| {case['size']} px | {case['batch']} | {model} | {case['threads']} | {kind} | "
            f"{one:.3f} | {many:.3f} | {one / first:.2f}x | {held[0]} | {held[1]} |"
        )
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of all cases in turns")
    parser.add_argument("--steps", type=int, default=4, help="timed in each process")
    parser.add_argument("--out", type=Path, help="append the table to this file too")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and write the table."""
    options = parse()
    if options.child:
        print(json.dumps(train_here(json.loads(options.child))))
        return
    measured: dict[tuple[int, str, str], list[dict[str, float]]] = {}
    turns = itertools.product(range(options.rounds), enumerate(CASES), KINDS, HEAPS)
    for _, (index, case), kind, heap in turns:
        one = measure(case, kind, heap, options.steps)
        measured.setdefault((index, kind, heap), []).append(one)
    say(table(measured), options.out)


if __name__ == "__main__":
    main()
