"""Peak memory of real training steps against what ``model.cost.training_memory`` predicts.

    python benchmarks/memory.py [--count 40] [--seed 1] [--kernels KIND ...] [--lines FILE]

Each config is drawn at random and trained for a few steps in a process of its own: eight training
steps, an evaluation of a batch twice as large, a checkpoint and a saved model, as a trial has them.
It is trained with each kind of kernels in turn: with oneDNN's, which TensorFlow takes by itself on
processors with AVX-512 VNNI, AVX-VNNI or AMX; with the same as an AVX2 processor runs them; and
with TensorFlow's own (Eigen), which it takes on all other processors.

Measured is the most resident memory that the process ever had, as the kernel tells it. What the
rest of the machine does changes the time, not the memory. A seed that the constants were not fitted
to is the honest one; they were fitted to seed 0.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from model.config import ModelConfig, TrainConfig
from model.cost import Kernels, MemoryEstimate, estimate_cost, training_memory

CLASSES = 6
# What keeps a measurement under a quarter of a minute on one core.
MOST_FLOPS = 60e9
MOST_PARAMETERS = 40e6
SECONDS = 300
STEPS = 8  # the heap of TensorFlow's own kernels still grows after the second

# As on AVX2 both the kernels and the matrix products, which oneDNN has for Eigen, too.
KINDS = {
    "onednn": {"TF_ENABLE_ONEDNN_OPTS": "1"},
    "onednn-avx2": {"TF_ENABLE_ONEDNN_OPTS": "1", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "eigen": {"TF_ENABLE_ONEDNN_OPTS": "0", "ONEDNN_MAX_CPU_ISA": "AVX2"},
}


def draw(random_state: random.Random) -> dict[str, Any] | None:
    """Draw a case; None where it would take too long or cannot be."""
    choose = random_state.choice
    size = choose([64, 96, 128, 192, 256])
    values = {
        "num_layers": choose([2, 3, 4, 5, 6]),
        "base_filters": choose([4, 8, 16, 32, 64]),
        "base_kernel": choose([3, 3, 5, 7, 9, 11]),
        "normalization": choose(["none", "batch", "batch", "group", "layer"]),
        "activation": choose(["relu", "relu", "elu", "leaky_relu", "silu", "mish", "gelu"]),
        "separable": random_state.random() < 0.2,
        "dropout_rate": choose([0.0, 0.05]),
    }
    case = {
        "size": size,
        "channels": choose([1, 3]),
        "batch": choose([1, 2, 4, 8, 16]),
        "precision": choose(["float32", "float32", "float32", "bfloat16"]),
        "threads": choose([1, 1, 2]),
        "model": values,
    }
    config = ModelConfig(**values)
    if config.image_size_problem(size, size):
        return None
    cost = estimate_cost(config, (size, size, case["channels"]), CLASSES)
    flops = cost.training_flops * case["batch"] * (3 if case["precision"] == "bfloat16" else 1)
    return case if flops < MOST_FLOPS and cost.parameters < MOST_PARAMETERS else None


def draws(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield so many cases; the same ones for the same seed."""
    random_state = random.Random(seed)
    while count:
        case = draw(random_state)
        if case is not None:
            count -= 1
            yield case


def measure(case: dict[str, Any], kind: str) -> dict[str, Any]:
    """Train the case in a process of its own and return the bytes it held at each stage.

    oneDNN has no bfloat16 for AVX2, which TensorFlow knows of a processor, and not of the limit
    that this sets: such cases are trained in float32 there.
    """
    if kind == "onednn-avx2":
        case = {**case, "precision": "float32"}
    command = [sys.executable, __file__, "--child", json.dumps(case)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(case["threads"]), **KINDS[kind]}
    result = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=SECONDS, check=False
    )
    if result.returncode:
        raise RuntimeError(f"{case}: {result.stderr.strip().splitlines()[-1:]}")
    stages = json.loads(result.stdout.strip().splitlines()[-1])
    return {**case, "kind": kind, **stages}


def peak() -> int:
    """Return the most resident memory that this process ever had, in bytes (Linux).

    Not by getrusage: its maximum is handed on by the process that starts this one.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(next(x for x in status.splitlines() if x.startswith("VmHWM")).split()[1])


def train_here(case: dict[str, Any]) -> dict[str, int]:
    """Train the case in this process: the peak so far after each stage, in bytes."""
    from search.process.resources import WorkerResources
    from search.process.setup import set_up_process

    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    set_up_process(WorkerResources(cpus=case["threads"]))
    import tensorflow as tf

    from model.flexunet import build_flexunet
    from model.training import Trainer

    tf.reduce_sum(tf.ones(10)).numpy()
    stages = {"base": peak()}
    shape = (case["size"], case["size"], case["channels"])
    train = TrainConfig(batch_size=case["batch"], precision=case["precision"])
    model = build_flexunet(
        ModelConfig(**case["model"]), shape, CLASSES, precision=case["precision"]
    )
    trainer = Trainer(model, train, class_pixels=[95, 1, 1, 1, 1, 1], steps_per_epoch=STEPS)
    stages["built"] = peak()

    trainer.train_epoch(iter([batch_of(case["batch"], shape)] * STEPS))
    stages["trained"] = peak()
    trainer.evaluate([batch_of(2 * case["batch"], shape)])
    stages["evaluated"] = peak()
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "best.keras")
        trainer.save(Path(folder) / "last.npz", {})
    stages["saved"] = peak()
    return stages


def batch_of(count: int, shape: tuple[int, int, int]) -> tuple[Any, Any]:
    """Return so many random images and their masks, as tensors."""
    import numpy as np
    import tensorflow as tf

    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, *shape), np.uint8)
    masks = generator.integers(0, CLASSES, (count, *shape[:2]), np.uint8)
    return tf.constant(images), tf.constant(masks)


def say(text: str, out: Path | None) -> None:
    """Print a table, and append it to a file where one is given."""
    print(text)
    if out:
        with out.open("a", encoding="utf-8") as file:
            file.write(text + "\n\n")


def predicted(case: dict[str, Any]) -> MemoryEstimate:
    """Return what the model of memory gives for a case."""
    shape = (case["size"], case["size"], case["channels"])
    config = ModelConfig(**case["model"])
    kernels: Kernels = "eigen" if case["kind"] == "eigen" else "onednn"
    return training_memory(
        config, shape, CLASSES, case["batch"], case["precision"], kernels=kernels
    )


def table(measured: Sequence[dict[str, Any]]) -> str:
    """Write prediction, measurement and their ratio of each case, and the ratios' summary."""
    ordered = sorted(measured, key=lambda case: case["saved"])
    return "\n".join(
        [
            f"Memory, {datetime.now(UTC):%Y-%m-%d} ({os.cpu_count()} CPU cores, no GPU, Python "
            f"{platform.python_version()}, TensorFlow {version('tensorflow')})",
            "",
            "| kernels | image | batch | model | precision | threads | predicted, MB |"
            " measured, MB | ratio | ratio above the base |",
            "|---|---|---:|---|---|---:|---:|---:|---:|---:|",
            *map(_row, ordered),
            "",
            "| kernels | | median | smallest | largest | enough |",
            "|---|---|---:|---:|---:|---:|",
            *(
                _summary(kind, what, [ratio(case) for case in measured if case["kind"] == kind])
                for kind in dict.fromkeys(case["kind"] for case in measured)
                for what, ratio in (("predicted / measured", _whole), ("above the base", _above))
            ),
        ]
    )


def _whole(case: dict[str, Any]) -> float:
    return float(predicted(case).total / case["saved"])


def _above(case: dict[str, Any]) -> float:
    """What a process holds before it has a model is known, so the rest is the harder question."""
    return float(predicted(case).device / (case["saved"] - case["base"]))


def _row(case: dict[str, Any]) -> str:
    values = case["model"]
    model = (
        f"{values['num_layers']} levels, {values['base_filters']} filters, kernel "
        f"{values['base_kernel']}, {values['normalization']}, {values['activation']}"
        f"{', separable' if values['separable'] else ''}"
    )
    return (
        f"| {case['kind']} | {case['size']} px x {case['channels']} | {case['batch']} | {model} | "
        f"{case['precision']} | {case['threads']} | {predicted(case).total / 1e6:,.0f} | "
        f"{case['saved'] / 1e6:,.0f} | {_whole(case):.2f} | {_above(case):.2f} |"
    )


def _summary(kind: str, what: str, ratios: Sequence[float]) -> str:
    return (
        f"| {kind} | {what} | {statistics.median(ratios):.2f} | {min(ratios):.2f} | "
        f"{max(ratios):.2f} | {sum(ratio >= 1 for ratio in ratios)} of {len(ratios)} |"
    )


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=40, help="configs to measure")
    parser.add_argument("--seed", type=int, default=1, help="of the configs drawn")
    parser.add_argument("--kernels", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--lines", type=Path, help="also append each measurement here, as JSON")
    parser.add_argument("--read", type=Path, help="measure nothing, compare with these lines")
    parser.add_argument("--out", type=Path, help="append the table to this file too")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and write the table."""
    options = parse()
    if options.child:
        print(json.dumps(train_here(json.loads(options.child))))
        return
    measured = []
    if options.read:
        measured = [json.loads(line) for line in options.read.read_text("utf-8").splitlines()]
    else:
        cases = draws(options.count, options.seed)
        for case, kind in itertools.product(cases, options.kernels):
            measured.append(measure(case, kind))
            if options.lines:
                with options.lines.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(measured[-1]) + "\n")
    say(table(measured), options.out)


if __name__ == "__main__":
    main()
