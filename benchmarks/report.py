"""Seconds and megabytes of the report of a large study.

    python benchmarks/report.py [--trials 10000] [--epochs 27] [--out FILE]

Writes a simulated study directory (not timed), then reads it and writes its report, once each in
this process. Target: 10,000 trials in at most 10 s and 10 MB.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from results.records import load_study
from results.report import render_report, write_report
from tests.results.simulated_study import Simulation, write_study


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--epochs", type=int, default=27, help="epochs of a COMPLETE trial")
    parser.add_argument("--out", type=Path, help="append the table to this file too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(Path(folder), count, options.epochs) for count in options.trials]
    text = table(rows)
    print(text)
    if options.out:
        with options.out.open("a", encoding="utf-8") as file:
            file.write(text + "\n")


def measure(folder: Path, trials: int, epochs: int) -> list[str]:
    """One row of the table: a study of so many trials."""
    simulation = Simulation(trials=trials, epochs=epochs)
    path = write_study(folder / str(trials), simulation)
    started = time.perf_counter()
    study = load_study(path)
    read = time.perf_counter()
    render_report(study)
    rendered = time.perf_counter()
    before = time.process_time()
    report = write_report(path)
    written, worked = time.perf_counter(), time.process_time() - before
    lines = sum(len(trial.curve) for trial in study.trials)
    return [
        f"{trials:,}",
        f"{lines:,}",
        f"{read - started:.1f}",
        f"{rendered - read:.1f}",
        f"{written - rendered:.1f}",
        f"{worked:.1f}",
        f"{report.stat().st_size / 1e6:.1f}",
    ]


def table(rows: list[list[str]]) -> str:
    """The dated Markdown table."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("plotly", "pandas")]
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {', '.join(versions)}"
    head = [
        "trials",
        "epochs",
        "read, s",
        "render, s",
        "write_report in all, s",
        "of it CPU, s",
        "MB",
    ]
    lines = [head, ["---:"] * len(head), *rows]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"Report, {date.today().isoformat()} ({machine})\n\n{body}"


if __name__ == "__main__":
    main()
