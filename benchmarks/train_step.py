"""Our train step against Keras' ``fit`` of the same model, loss and data, in turns.

    python benchmarks/train_step.py [--rounds 3] [--steps 20] [--as AVX2] [--out FILE]

Each round trains a fresh model in every way, each in a process of its own, since a process has the
kernels that it began with: Keras' with those that TensorFlow takes by itself, ours with those that
our workers ask for. It measures the seconds from the fresh model to its first finished step (what
every trial pays), and the images a second of an epoch after that; both by the wall clock and by the
CPU time of all threads of the process, which depends less on what else the machine does. Taking
turns, all ways meet the same machine, so the ratios are worth more than the figures.

With ``--as AVX2`` both are as on a processor that has AVX2 and no instructions for neural networks
(Intel before Cascade Lake, AMD before Zen 4): oneDNN is limited to AVX2, and TensorFlow by itself
would not take it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model.processor import use_onednn

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if "--keras" not in sys.argv:
    use_onednn()

import keras
import numpy as np
import tensorflow as tf

from model.config import ModelConfig, TrainConfig
from model.flexunet import build_flexunet
from model.losses import class_weights_from, make_loss
from model.training import Trainer

CLASSES = 6
PIXELS = [95, 1, 1, 1, 1, 1]


@dataclass(frozen=True)
class Case:
    """What is trained: the same for every way."""

    size: int
    batch: int
    steps: int
    model: ModelConfig
    train: TrainConfig

    def build(self) -> keras.Model:
        """Build a fresh model."""
        shape = (self.size, self.size, 1)
        return build_flexunet(self.model, shape, CLASSES, precision=self.train.precision)

    def data(self) -> tf.data.Dataset:
        """Make random batches without end."""
        random = np.random.default_rng(0)
        count = 4 * self.batch
        images = random.integers(0, 256, (count, self.size, self.size, 1), np.uint8)
        masks = random.integers(0, CLASSES, (count, self.size, self.size), np.uint8)
        dataset = tf.data.Dataset.from_tensor_slices((images, masks)).repeat()
        return dataset.batch(self.batch, drop_remainder=True).prefetch(2)


@dataclass(frozen=True)
class Seconds:
    """Wall clock, and CPU of all threads; also the difference of two readings."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Seconds:
        """Read both clocks."""
        return cls(time.perf_counter(), time.process_time())

    def passed(self) -> Seconds:
        """Read both clocks again."""
        now = Seconds.now()
        return Seconds(now.wall - self.wall, now.cpu - self.cpu)


@dataclass(frozen=True)
class Figures:
    """Of one round of one way: its first step, and an epoch after that."""

    first: Seconds
    epoch: Seconds


def ours(case: Case) -> Figures:
    """Measure ``model.training.Trainer``."""
    model, data = case.build(), iter(case.data())
    start = Seconds.now()
    trainer = Trainer(model, case.train, class_pixels=PIXELS, steps_per_epoch=1)
    trainer.train_epoch(data)
    first = start.passed()
    trainer.steps_per_epoch = case.steps
    start = Seconds.now()
    trainer.train_epoch(data)
    return Figures(first, start.passed())


class Stopwatch(keras.callbacks.Callback):  # type: ignore[misc]
    """Times an epoch of ``fit`` without what ``fit`` does before and after it."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start."""
        self.start = Seconds.now()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stop."""
        self.seconds = self.start.passed()


def fit(jit: bool | str) -> Callable[[Case], Figures]:
    """Measure Keras' ``fit`` with the optimizer and the clipping that the config names."""

    def measure(case: Case) -> Figures:
        model, data = case.build(), case.data()
        train = case.train
        start = Seconds.now()
        optimizer = keras.optimizers.AdamW(
            train.learning_rate,
            weight_decay=train.weight_decay,
            global_clipnorm=train.clip_norm,
        )
        loss = make_loss(train, list(class_weights_from(train, PIXELS)))
        model.compile(optimizer, loss=loss, jit_compile=jit)
        model.fit(data, steps_per_epoch=1, verbose=0, shuffle=False)
        first = start.passed()
        watch = Stopwatch()
        model.fit(data, steps_per_epoch=case.steps, verbose=0, shuffle=False, callbacks=[watch])
        return Figures(first, watch.seconds)

    return measure


WAYS: dict[str, Callable[[Case], Figures]] = {
    "our step": ours,
    "Keras fit, as it comes": fit("auto"),
    "Keras fit, jit_compile=False": fit(False),
}


def rounds(options: argparse.Namespace) -> Iterator[dict[str, Figures]]:
    """Measure all ways in turns; each round starts with another one."""
    names = list(WAYS)
    for i in range(options.rounds):
        order = names[i % len(names) :] + names[: i % len(names)]
        yield {name: in_its_process(name, options) for name in order}


def in_its_process(name: str, options: argparse.Namespace) -> Figures:
    """Measure one way in a fresh process."""
    command = [sys.executable, *sys.argv, "--way", name]
    environment = dict(os.environ)
    environment.pop("TF_ENABLE_ONEDNN_OPTS", None)  # as use_onednn set it, for this process
    if options.instructions:
        environment["ONEDNN_MAX_CPU_ISA"] = options.instructions
    if name != "our step":
        command.append("--keras")
        if options.instructions:
            environment["TF_ENABLE_ONEDNN_OPTS"] = "0"
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    first, epoch = (Seconds(**seconds) for seconds in json.loads(done.stdout.splitlines()[-1]))
    return Figures(first, epoch)


def measure(name: str, case: Case) -> None:
    """Measure one way in this process, and print the figures."""
    # What the process pays once (kernels, thread pools) belongs to none of them.
    ours(Case(16, 1, 1, ModelConfig(num_layers=1), case.train))
    figures = WAYS[name](case)
    print(json.dumps([asdict(figures.first), asdict(figures.epoch)]))


def table(case: Case, measured: list[dict[str, Figures]], instructions: str | None) -> str:
    """Write the medians over the rounds, and of each round's ratio to ours, as Markdown."""
    model = case.model
    lines = [
        f"### Train step, {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"{case.size} px, batch {case.batch}, {model.num_layers} levels, {model.base_filters} "
        f"filters, kernel {model.base_kernel}, normalization {model.normalization}, "
        f"{case.train.precision}; medians of {len(measured)} rounds of {case.steps} steps in "
        f"turns; {machine()}" + (f", limited to {instructions}" if instructions else ""),
        "",
        "In brackets: by CPU time of all threads instead of the wall clock.",
        "",
        "| | images/s | ours: times as many | seconds to the first step | ours: share |",
        "|---|---|---|---|---|",
        *(_row(case, name, measured) for name in WAYS),
    ]
    return "\n".join(lines) + "\n"


def _row(case: Case, name: str, measured: list[dict[str, Figures]]) -> str:
    images = case.steps * case.batch
    cells = [
        (
            images / theirs.epoch.wall,
            images / theirs.epoch.cpu,
            theirs.epoch.wall / mine.epoch.wall,
            theirs.epoch.cpu / mine.epoch.cpu,
            theirs.first.wall,
            theirs.first.cpu,
            mine.first.wall / theirs.first.wall,
            mine.first.cpu / theirs.first.cpu,
        )
        for theirs, mine in (
            (measurement[name], measurement["our step"]) for measurement in measured
        )
    ]
    median = [statistics.median(column) for column in zip(*cells, strict=True)]
    pairs = [f"{wall:.2f} ({cpu:.2f})" for wall, cpu in zip(median[::2], median[1::2], strict=True)]
    return f"| {name} | {' | '.join(pairs)} |"


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """Make a parser of what is trained, and how often; also for other benchmarks of training."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0] if description else "")
    parser.add_argument("--size", type=int, default=128, help="image side in pixels")
    parser.add_argument("--batch", type=int, default=4, help="images an update")
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument("--kernel", type=int, default=5)
    parser.add_argument("--normalization", default="none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="append the table to this file too")
    return parser


def model_of(options: argparse.Namespace) -> ModelConfig:
    """Return the model that the command line describes."""
    return ModelConfig(
        num_layers=options.layers,
        base_filters=options.filters,
        base_kernel=options.kernel,
        normalization=options.normalization,
    )


def machine() -> str:
    """Say what was measured on."""
    return (
        f"{os.cpu_count()} CPU cores, {len(tf.config.list_physical_devices('GPU'))} GPUs, Python "
        f"{platform.python_version()}, TensorFlow {tf.__version__}, Keras {keras.__version__}"
    )


def tell(text: str, out: Path | None) -> None:
    """Print a table, and append it to a file."""
    print(text)
    if out:
        with open(out, "a", encoding="utf-8") as file:
            file.write(text + "\n")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = parser_of(__doc__)
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--steps", type=int, default=20, help="steps of one timed epoch")
    parser.add_argument("--as", dest="instructions", choices=["AVX2"], help="imitate a processor")
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--keras", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and write the table."""
    options = parse()
    train = TrainConfig(schedule="constant", precision=options.precision)
    case = Case(options.size, options.batch, options.steps, model_of(options), train)
    if options.way:
        measure(options.way, case)
        return
    tell(table(case, list(rounds(options)), options.instructions), options.out)


if __name__ == "__main__":
    main()
