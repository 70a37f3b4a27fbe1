"""Training in bfloat16 against float32, and accumulated batches against whole ones, in turns.

    python benchmarks/train_precision.py [--rounds 3] [--steps 20] [--out FILE]

Every way trains on as many images an update. "batch x n" are n batches whose gradients are averaged
to one update. Each round builds every model anew and measures the images a second of an epoch after
the first step, by the wall clock and by the CPU time of all threads; a ratio is of one round, so
that both meet the same machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from train_step import Case, Figures, machine, model_of, ours, parser_of, tell

from model.config import ModelConfig, TrainConfig

PARTS = 4  # batches of an accumulated update


def ways(case: Case, precisions: list[str]) -> dict[str, Case]:
    """Name every way of training; the first is what the others are compared with."""
    found = {}
    for precision in precisions:
        whole = replace(case, train=case.train.model_copy(update={"precision": precision}))
        found[f"{precision}, batch {case.batch}"] = whole
        if case.batch % PARTS == 0:
            small = case.batch // PARTS
            found[f"{precision}, batch {small} x {PARTS}"] = replace(
                whole,
                batch=small,
                steps=case.steps * PARTS,
                train=whole.train.model_copy(update={"accumulation_steps": PARTS}),
            )
    return found


def rounds(cases: dict[str, Case], count: int) -> Iterator[dict[str, Figures]]:
    """Measure all ways in turns; each round starts with another one."""
    names = list(cases)
    for i in range(count):
        order = names[i % len(names) :] + names[: i % len(names)]
        yield {name: ours(cases[name]) for name in order}
        keras.backend.clear_session()


def table(case: Case, cases: dict[str, Case], measured: list[dict[str, Figures]]) -> str:
    """Write medians over the rounds, and of each round's ratio to the first way, as Markdown."""
    model = case.model
    lines = [
        f"### Precision and accumulation, {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"{case.size} px, {case.batch} images an update, {model.num_layers} levels, "
        f"{model.base_filters} filters, kernel {model.base_kernel}, normalization "
        f"{model.normalization}; medians of {len(measured)} rounds of {case.steps} updates in "
        f"turns; {machine()}",
        "",
        "In brackets: by CPU time of all threads instead of the wall clock.",
        "",
        f"| | images/s | to {next(iter(cases))} | seconds to the first step |",
        "|---|---|---|---|",
        *(_row(case, name, next(iter(cases)), measured) for name in cases),
    ]
    return "\n".join(lines) + "\n"


def _row(case: Case, name: str, first: str, measured: list[dict[str, Figures]]) -> str:
    images = case.steps * case.batch
    cells = [
        (
            images / figures[name].epoch.wall,
            images / figures[name].epoch.cpu,
            figures[first].epoch.wall / figures[name].epoch.wall,
            figures[first].epoch.cpu / figures[name].epoch.cpu,
            figures[name].first.wall,
            figures[name].first.cpu,
        )
        for figures in measured
    ]
    median = [statistics.median(column) for column in zip(*cells, strict=True)]
    pairs = [f"{wall:.2f} ({cpu:.2f})" for wall, cpu in zip(median[::2], median[1::2], strict=True)]
    return f"| {name} | {' | '.join(pairs)} |"


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = parser_of(__doc__)
    parser.add_argument(
        "--precisions",
        nargs="+",
        default=["float32", "bfloat16"],
        choices=("float32", "bfloat16", "float16"),
    )
    parser.add_argument("--steps", type=int, default=20, help="updates of one timed epoch")
    return parser.parse_args()


def main() -> None:
    """Measure and write the table."""
    options = parse()
    train = TrainConfig(schedule="constant", batch_size=options.batch)
    case = Case(options.size, options.batch, options.steps, model_of(options), train)
    cases = ways(case, options.precisions)
    # What the process pays once (kernels, thread pools) belongs to none of them.
    for precision in options.precisions:
        once = train.model_copy(update={"precision": precision})
        ours(Case(16, 1, 1, ModelConfig(num_layers=1), once))
    tell(table(case, cases, list(rounds(cases, options.rounds))), options.out)


if __name__ == "__main__":
    main()
