"""The house rules that no reader should have to check by hand."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
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
# The wings of a room in their order: each may import those before it, and what lies at the top.
WINGS = {
    "search": (
        *("config", "process", "storage", "cluster", "interfaces", "data", "training"),
        *("scoring", "study", "inference", "terminal", "tuning", "confirm", "cli"),
    ),
    "data_pipeline": ("datasets", "stores", "quality", "augmentation", "streams"),
    "results": (
        *("style", "records", "analysis", "tables", "warnings", "figures", "sections"),
        *("flexunet", "exports", "pages"),
    ),
}
# What lies at the top of a room is for all of it. An entry may import any wing, the rest none.
TOP = {
    "search": {"errors"},
    "data_pipeline": {"config", "problems"},
    "results": set(),
}
ENTRIES = {"search": {"__main__"}, "data_pipeline": set(), "results": set()}


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


def modules_imported_by(path: Path, room: str) -> Iterator[str]:
    """The modules of the room, as paths with slashes, that a file imports at any place."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] != room:
                continue
            # The last part may be a name within a module.
            for end in (len(parts), len(parts) - 1):
                found = ROOT.joinpath(*parts[:end])
                if found.with_suffix(".py").exists() or (found / "__init__.py").exists():
                    yield "/".join(parts[:end])
                    break


def wing_of(module: str) -> str:
    """The wing that a module is in; its own name at the top of a room."""
    return module.split("/")[1] if "/" in module else ""


@pytest.mark.parametrize("room", WINGS)
def test_a_room_has_nothing_but_its_wings_and_what_is_for_all_of_it(room: str) -> None:
    modules = {path.stem for path in (ROOT / room).glob("*.py")} - {"__init__"}
    wings = {path.parent.name for path in (ROOT / room).glob("*/__init__.py")}

    assert modules == TOP[room] | ENTRIES[room]
    assert wings == set(WINGS[room])


@pytest.mark.parametrize("room", WINGS)
def test_a_wing_imports_only_wings_before_it(room: str) -> None:
    allowed = {wing: {*TOP[room], *WINGS[room][: n + 1]} for n, wing in enumerate(WINGS[room])}
    allowed |= dict.fromkeys(TOP[room], TOP[room])
    allowed |= {name: {*TOP[room], *WINGS[room]} for name in (*ENTRIES[room], "__init__")}
    broken = {
        f"{path.relative_to(ROOT)} imports {module}"
        for path in (ROOT / room).rglob("*.py")
        for module in modules_imported_by(path, room)
        if wing_of(module)
        not in allowed[wing_of(path.relative_to(ROOT).with_suffix("").as_posix())] | {""}
    }

    assert not broken


@pytest.mark.parametrize("room", PACKAGES)
def test_no_modules_import_each_other_in_a_circle(room: str) -> None:
    graph = {
        path.relative_to(ROOT).with_suffix("").as_posix(): set(modules_imported_by(path, room))
        for path in (ROOT / room).rglob("*.py")
    }

    TopologicalSorter(graph).prepare()


def test_a_worker_loads_nothing_of_the_study() -> None:
    """With all that workers import when they train: TensorFlow, the training, the scoring."""
    workers = "search.tuning.worker, search.tuning.scoring_worker, search.confirm.worker"
    code = f"import sys, {workers}, search.training.trial_run, search.scoring.model; "
    code += "print(sorted(n for n in sys.modules if n.startswith(('optuna', 'search.study'))))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        (
            "results.pages.report, results.exports.export, results.tables",
            ("ray", "tensorflow", "keras"),
        ),
        ("search.cli.main", ("ray", "tensorflow", "keras", "optuna")),
        ("search.tuning.runner", ("tensorflow", "keras")),
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


def test_the_name_of_a_studys_file_is_written_in_one_place() -> None:
    from results.records import file_names

    names = {value for key, value in vars(file_names).items() if key.isupper()} - {
        "owner",
        "trials",
    }
    written = {
        f"{path.relative_to(ROOT)}:{node.lineno} writes {node.value}"
        for room in ("search", "results")
        for path in (ROOT / room).rglob("*.py")
        if path.stem != "file_names"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    }

    assert not written


def bound_in(path: Path) -> set[str]:
    """The names that a module binds at its top, in an `if` there too."""
    names: set[str] = set()
    todo: list[ast.stmt] = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        else:
            names |= {
                each.id
                for each in ast.walk(node)
                if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
            }
            todo += [each for each in ast.iter_child_nodes(node) if isinstance(each, ast.stmt)]
    return names


def module_file(name: str) -> Path:
    path = ROOT.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def test_the_scripts_import_names_that_exist() -> None:
    """mypy reads the packages alone, and no test runs every script."""
    missing = []
    for folder in ("docs", "benchmarks", "examples"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.ImportFrom) or node.level:
                    continue
                module = node.module or ""
                if module.split(".")[0] not in (*PACKAGES, "foundation", "benchmarks"):
                    continue
                found = bound_in(module_file(module))
                missing += [
                    f"{path.relative_to(ROOT)}: {module}.{alias.name}"
                    for alias in node.names
                    if alias.name not in found
                    and not module_file(f"{module}.{alias.name}").exists()
                    and "__getattr__" not in found
                ]

    assert missing == []


@pytest.mark.parametrize("package", [*PACKAGES, "foundation"])
def test_a_module_offers_names_that_it_has(package: str) -> None:
    """Ruff looks at `__all__` of no `__init__.py`."""
    missing = []
    for path in sorted((ROOT / package).rglob("*.py")):
        found = bound_in(path)
        if "__getattr__" in found:  # its names are held by tests/test_public_names.py
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                offered = [
                    each.value for each in ast.walk(node.value) if isinstance(each, ast.Constant)
                ]
                missing += [f"{path.name}: {name}" for name in offered if name not in found]

    assert missing == []
