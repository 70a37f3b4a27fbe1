"""A YAML file as plain values, with the line of every field and the duplicates that YAML allows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from results.records import file_names


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads 1e-4 as a number, as YAML 1.2 does; YAML 1.1 makes it a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*)(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


@dataclass(frozen=True)
class YamlSource:
    """A parsed file.

    Attributes:
        tree: The values; empty where the file is.
        lines: Path of a field to its line, counted from 1.
        problems: Syntax errors and duplicate keys; the tree is empty after a syntax error.
    """

    tree: dict[str, Any]
    lines: dict[tuple[str, ...], int]
    problems: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> YamlSource:
        """Read a file; what is wrong with it is in ``problems``."""
        try:
            text = path.read_text(encoding="utf-8")
        except IsADirectoryError:
            inside = path / file_names.CONFIG
            hint = f"; did you mean {inside}?" if inside.is_file() else ""
            return cls({}, {}, (f"expected a file, received a folder{hint}",))
        except (OSError, UnicodeDecodeError) as error:
            return cls({}, {}, (f"cannot be read: {error}",))
        try:
            root = yaml.compose(text, Loader=_Loader)
            tree = yaml.load(text, Loader=_Loader)
            lines: dict[tuple[str, ...], int] = {}
            problems: list[str] = []
            _walk(root, (), lines, problems)
        except yaml.YAMLError as error:
            return cls({}, {}, (f"not YAML: {' '.join(str(error).split())}",))
        except RecursionError:
            return cls({}, {}, ("not a config: a part of it contains itself",))
        if tree is None:
            return cls({}, {}, ())
        if not isinstance(tree, dict):
            return cls({}, {}, (f"expected sections such as 'model:', received {tree!r}",))
        return cls(tree, lines, tuple(problems))

    def line(self, path: tuple[str, ...]) -> int | None:
        """Return the line of a field, or of the nearest section around it that the file has."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


def _walk(
    node: yaml.Node | None,
    path: tuple[str, ...],
    lines: dict[tuple[str, ...], int],
    problems: list[str],
) -> None:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*path, str(index))] = item.start_mark.line + 1
            _walk(item, (*path, str(index)), lines, problems)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            if here in lines:
                problems.append(
                    f"line {key.start_mark.line + 1}: {'.'.join(here)}: expected once, "
                    f"received again (first in line {lines[here]})"
                )
            lines[here] = key.start_mark.line + 1
            _walk(value, here, lines, problems)


def parse_override(text: str) -> tuple[list[str], Any]:
    """Split ``a.b=value`` into the path and the value, read as YAML.

    Raises:
        ValueError: without a '=', an empty name in the path, or a value that is no YAML.
    """
    name, equals, value = text.partition("=")
    path = name.strip().split(".")
    if not equals or not all(path):
        raise ValueError(f"expected section.field=value, received {text!r}")
    try:
        return path, yaml.load(value, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"expected a YAML value, received {value!r}: {error}") from None


def set_dotted(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set a value in nested mappings, making the sections on its way.

    Raises:
        ValueError: where the path runs through something that is no section.
    """
    for depth, name in enumerate(path[:-1]):
        child = tree.setdefault(name, {})
        if not isinstance(child, dict):
            raise ValueError(f"expected a section at {'.'.join(path[: depth + 1])}")
        tree = child
    tree[path[-1]] = value


def apply_overrides(tree: dict[str, Any], overrides: Iterable[str]) -> list[str]:
    """Apply ``a.b=value`` to a tree; return what is wrong with any."""
    problems = []
    for override in overrides:
        try:
            set_dotted(tree, *parse_override(override))
        except ValueError as error:
            problems.append(f"--set {override}: {error}")
    return problems
