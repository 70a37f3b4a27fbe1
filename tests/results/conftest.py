"""Simulated study directories; see simulated_study.py for what is in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.results.simulated_study import Simulation, write_study

HOSTILE_CLASSES = (
    "background",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "a\"b'&amp;%{x}{{ 7*7 }}",
    "Bläschen \u2028 zwei",
    "x" * 200,
)

MakeStudy = Callable[..., Path]


@pytest.fixture(scope="session")
def make_study(tmp_path_factory: pytest.TempPathFactory) -> MakeStudy:
    """Write a simulated study into a folder of its own; keywords go to Simulation."""

    def make(**options: object) -> Path:
        folder = tmp_path_factory.mktemp("study")
        return write_study(folder / "study", Simulation(**options))  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def study_dir(make_study: MakeStudy) -> Path:
    """24 trials in all four states, a collapsed baseline, class Fray absent from validation."""
    return make_study(absent=("Fray",))
