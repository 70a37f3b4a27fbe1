"""The house rules that no reader should have to check by hand."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("search", "model", "data_pipeline", "results")
FORBIDDEN = {
    "model": {"search", "data_pipeline", "results", "ray", "optuna"},
    "data_pipeline": {"search", "model", "results", "ray", "optuna"},
    "results": {"search", "model", "data_pipeline", "ray", "tensorflow", "keras"},
    "search": set(),
}


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: expected absolute imports"
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    broken = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in imports_of(path)
        if name in FORBIDDEN[package]
    }

    assert not broken


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        (
            "results.pages.report, results.exports.export, results.tables",
            ("ray", "tensorflow", "keras"),
        ),
        ("search.cli.main", ("ray", "tensorflow", "keras", "optuna")),
        ("search.run.runner", ("tensorflow", "keras")),
    ],
)
def test_an_import_does_not_load_what_it_does_not_need(
    module: str, absent: tuple[str, ...]
) -> None:
    code = f"import sys, {module}; print([n for n in {absent!r} if n in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert loaded.stdout.strip() == "[]"


def test_tests_mirror_the_packages() -> None:
    stray = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / "tests" / package).rglob("test_*.py")
        if not _mirrored(path).exists() and not _mirrored(path).with_suffix("").is_dir()
    ]

    assert not stray


def _mirrored(test: Path) -> Path:
    """The module that a test is of; a package where it has no such module."""
    return ROOT / test.parent.relative_to(ROOT / "tests") / test.name.removeprefix("test_")


def test_constraints_hold_names_and_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()

    assert lines
    assert [
        line
        for line in lines
        if not line.replace("==", "", 1)
        .replace("-", "")
        .replace(".", "")
        .replace("_", "")
        .isalnum()
        or line.count("==") != 1
    ] == []
