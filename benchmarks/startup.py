"""Seconds of a study that trains for a second or two: what every search pays beside.

    python benchmarks/startup.py [--rounds 3] [--peer CHECKOUT] [--out FILE]

Two trials of two epochs of five steps at 32 px, by the command line, each time in fresh folders:
seconds until the first trial has started, until the first has ended, until all have, and until the
scoring has. ``--peer`` names another checkout of this project, of an earlier version, which takes
turns with this one. The machine should do nothing else.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
STUDY = """
study: {name: small, seed: 1}
data: {source: synthetic, image_size: 32}
model: {num_layers: {int: [2, 3]}, base_filters: 8, base_kernel: 3}
train: {epochs: 2, steps_per_epoch: 5, batch_size: 4}
search: {num_trials: 2, grace_epochs: 1}
"""
MARKS = {"first trial started": " started:", "first trial ended": " COMPLETE", "scoring": "scoring"}


def measure(checkout: Path) -> list[float]:
    """Run the study by a checkout's code; return seconds to each mark, and to the end."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "small.yaml"
        config.write_text(STUDY, encoding="utf-8")
        command = [sys.executable, "-m", "search", "run", str(config)]
        command += ["--set", f"study.storage_path={folder}", "--set", f"data.store_path={folder}/s"]
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        began = time.perf_counter()
        found: dict[str, float] = {}
        with subprocess.Popen(
            command, env=environment, cwd=folder, stdout=subprocess.PIPE, text=True
        ) as process:
            for line in process.stdout or ():
                for name, text in MARKS.items():
                    if text in line:
                        found.setdefault(name, time.perf_counter() - began)
        if process.returncode:
            sys.exit(f"the study of {checkout} ended with exit code {process.returncode}")
        return [*(found[name] for name in MARKS), time.perf_counter() - began]


def main() -> None:
    """Measure in turns and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", type=Path, help="another checkout of this project")
    parser.add_argument("--out", type=Path, help="append the table to this file too")
    options = parser.parse_args()
    ways = {"this checkout": HERE} | ({"the peer": options.peer} if options.peer else {})
    measured: dict[str, list[list[float]]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, checkout in ways.items():
            measured[name].append(measure(checkout))
    lines = [
        f"Seconds of a study of seconds, {datetime.now(UTC):%Y-%m-%d}, medians of {options.rounds}",
        "",
        f"| | {' | '.join(MARKS)} | end |",
        f"|---|{'---:|' * (len(MARKS) + 1)}",
    ]
    for name, runs in measured.items():
        cells = [f"{statistics.median(column):.1f}" for column in zip(*runs, strict=True)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    print("\n".join(lines))
    if options.out:
        with open(options.out, "a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
