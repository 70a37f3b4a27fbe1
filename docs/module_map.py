"""Writes docs/modules.md: every module with the first line of its docstring; ``make modules``."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("search", "model", "data_pipeline", "results", "foundation")
TARGET = ROOT / "docs" / "modules.md"
HEAD = """# Modules

Made by `make modules` from the first line of each module. How the packages fit together is on
[architecture](architecture.md).
"""


def first_line(path: Path) -> str:
    """Return the first line of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].replace("``", "`")


def module_map() -> str:
    """Return the page's text."""
    parts = [HEAD]
    for room in ROOMS:
        parts.append(f"\n## {room}\n\n{first_line(ROOT / room / '__init__.py')}\n")
        folders = [ROOT / room, *sorted(p.parent for p in (ROOT / room).glob("*/__init__.py"))]
        for folder in folders:
            modules = sorted(path for path in folder.glob("*.py") if path.stem != "__init__")
            if not modules:
                continue
            if folder != ROOT / room:
                about = first_line(folder / "__init__.py")
                parts.append(f"\n### {room}/{folder.name}\n\n{about}\n")
            parts.append("\n| module | |\n|---|---|\n")
            parts += [f"| `{path.name}` | {first_line(path)} |\n" for path in modules]
    return "".join(parts)


if __name__ == "__main__":
    TARGET.write_text(module_map(), encoding="utf-8")
