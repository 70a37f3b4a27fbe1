"""The benchmarks are scripts that anyone can run: each at least starts and says how."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))
SCRIPTS_BY_NAME = {script.name: script for script in SCRIPTS}


def run(script: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, script, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_benchmark_says_how_it_is_run(script: Path) -> None:
    shown = run(script, "--help")

    assert shown.startswith("usage:")
    described = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert f"benchmarks/{script.name}" in described


def test_the_driver_is_measured_without_ray() -> None:
    shown = run(SCRIPTS_BY_NAME["driver_scale.py"], "book", "--trials", "100", "--slots", "8")

    assert "| 100 |" in shown


@pytest.mark.soak
def test_the_driver_is_measured_with_ray() -> None:
    arguments = ("tune", "--trials", "8", "--slots", "2", "--seconds", "0.1")

    assert "a trial" in run(SCRIPTS_BY_NAME["driver_scale.py"], *arguments)


@pytest.mark.soak
def test_a_reused_worker_is_measured() -> None:
    assert "MB a trial" in run(SCRIPTS_BY_NAME["reuse.py"], "--trials", "3")


def test_near_duplicates_are_searched_in_three_ways() -> None:
    shown = run(SCRIPTS_BY_NAME["near_duplicates.py"], "--images", "100", "200")

    rows = [line.split(" | ") for line in shown.splitlines() if line.startswith(("| 100", "| 200"))]
    assert len(rows) == 6
    assert {row[-2] for row in rows} == {"1.000"}, "every planted copy is found"
    assert shown.count("grows as n^") == 3


@pytest.mark.soak
def test_the_report_is_measured_in_a_process_of_its_own() -> None:
    shown = run(SCRIPTS_BY_NAME["report.py"], "--trials", "12", "--epochs", "4", "--no-prune")

    assert "4 epochs, 6 classes, nothing pruned" in shown
    row = next(line for line in shown.splitlines() if line.startswith("| 12 |"))
    peak, megabytes = (float(cell) for cell in row.strip("| ").split(" | ")[-2:])
    assert 0.05 < peak < 1.5
    assert 4 < megabytes < 10
