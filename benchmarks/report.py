"""Seconds, memory and megabytes of the report of a large study.

    python benchmarks/report.py [--trials 10000] [--epochs 50] [--classes 6] [--no-prune]
                                [--browser]

Writes a simulated study directory, scored and confirmed (not timed), then reads it and writes its
report in a process of its own. --browser: opens the report in headless Chromium, three times, and
tells the median of the seconds from the start of the navigation until the first figure is painted.
Targets for 10,000 trials of 50 epochs and 6 classes: 10 s, 1.5 GB, 10 MB, first figure in 3 s.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from foundation.files import write_text
from results.pages.report import render_report
from results.records.study import load_study
from tests.results.simulated_confirmation import write_confirmation
from tests.results.simulated_evaluation import write_evaluations
from tests.results.simulated_study import Simulation, class_names, write_study

CHROMIUM = "/usr/bin/chromium"
# The clock starts with the navigation; two frames later, what was found has been painted.
FIRST_FIGURE = """
const look = () => {
  if (!document.querySelector('.js-plotly-plot .main-svg')) return requestAnimationFrame(look);
  requestAnimationFrame(() => requestAnimationFrame(() => {
    window.firstFigure = performance.now();
  }));
};
requestAnimationFrame(look);
"""


def main() -> None:
    """Measure and print the table."""
    options = _options()
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    rows = []
    for trials in options.trials:
        with tempfile.TemporaryDirectory() as folder:
            study = _simulated(Path(folder) / "study", trials, options)
            rows.append([f"{trials:,}", *_row(study, browser=options.browser)])
    text = table(rows, options)
    print(text)
    if options.out:
        with options.out.open("a", encoding="utf-8") as file:
            file.write(text + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--epochs", type=int, default=50, help="epochs of a COMPLETE trial")
    parser.add_argument("--classes", type=int, default=6, help="classes, background included")
    parser.add_argument("--no-prune", action="store_true", help="every trial trains all epochs")
    parser.add_argument("--browser", action="store_true", help="time the first figure, too")
    parser.add_argument("--out", type=Path, help="append the table to this file too")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _simulated(path: Path, trials: int, options: argparse.Namespace) -> Path:
    simulation = Simulation(
        trials=trials,
        epochs=options.epochs,
        classes=class_names(options.classes),
        prune=not options.no_prune,
        lost_every=50,
        latency=True,
        shared=True,
    )
    write_study(path, simulation)
    write_evaluations(path, simulation)
    write_confirmation(path, simulation)
    return path


def measure(path: Path) -> dict[str, Any]:
    """Read, render and write the report of the study in ``path``; what it took, once each."""
    begun = time.perf_counter()
    study = load_study(path)
    read = time.perf_counter()
    page = render_report(study)
    rendered = time.perf_counter()
    write_text(path / "report.html", page, durable=False)
    written = time.perf_counter()
    return {
        "epochs": sum(len(trial.curve) for trial in study.trials),
        "read": read - begun,
        "render": rendered - read,
        "write": written - rendered,
        "cpu": time.process_time(),
        "peak": _peak_bytes(),
    }


def _peak_bytes() -> float:
    """Peak memory of this process; Linux's getrusage would count the parent's, too."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _row(study: Path, *, browser: bool) -> list[str]:
    """What the report of a study takes in a fresh process, and then in a browser."""
    begun = time.perf_counter()
    command = [sys.executable, __file__, "--one", str(study)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    whole = time.perf_counter() - begun
    took = json.loads(done.stdout.splitlines()[-1])
    report = study / "report.html"
    return [
        f"{took['epochs']:,}",
        *(f"{took[part]:.1f}" for part in ("read", "render", "write")),
        f"{whole:.1f}",
        f"{took['cpu']:.1f}",
        f"{took['peak'] / 1e9:.2f}",
        f"{report.stat().st_size / 1e6:.1f}",
        *([f"{first_figure(report):.1f}"] if browser else []),
    ]


def first_figure(report: Path) -> float:
    """Median seconds of three visits until the first figure is painted."""
    from playwright.sync_api import sync_playwright

    took = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM)
        for _ in range(3):
            page = chromium.new_page(viewport={"width": 1280, "height": 900})
            page.add_init_script(FIRST_FIGURE)
            page.goto(report.as_uri(), wait_until="commit")
            page.wait_for_function("window.firstFigure", timeout=120_000)
            took.append(page.evaluate("window.firstFigure") / 1000)
            page.close()
        chromium.close()
    return statistics.median(took)


def table(rows: list[list[str]], options: argparse.Namespace) -> str:
    """The dated Markdown table."""
    names = ("plotly", "pandas", "msgspec")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in names]
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {', '.join(versions)}"
    pruning = "nothing pruned" if options.no_prune else "pruned"
    what = f"{options.epochs} epochs, {options.classes} classes, {pruning}"
    head = [
        "trials",
        "epochs",
        "read, s",
        "render, s",
        "write, s",
        "process in all, s",
        "of it CPU, s",
        "peak, GB",
        "MB",
        *(["first figure, s"] if options.browser else []),
    ]
    lines = [head, ["---:"] * len(head), *rows]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"Report of {what}, {date.today().isoformat()} ({machine})\n\n{body}"


if __name__ == "__main__":
    main()
