"""What is wrong with a data set, gathered so that one error tells all of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from foundation.errors import UserError

_SHOWN = 50


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong with one file.

    Attributes:
        path: The file or folder, or the setting, that is at fault.
        message: What was expected and what was found.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class BadFileError(ValueError):
    """One file that cannot be used; turned into a `Problem` by whoever knows its path."""


class DataError(UserError, ValueError):
    """A data set that cannot be used.

    Attributes:
        problems: Everything that is wrong, in the order found; the text lists the first 50.
    """

    def __init__(self, problems: Iterable[Problem], heading: str = "the data cannot be used"):
        self.problems = tuple(problems)
        super().__init__(describe_problems(self.problems, heading))


def describe_problems(problems: Iterable[Problem], heading: str) -> str:
    """List problems under a heading, the first 50 in full and the rest as a count."""
    found = tuple(problems)
    noun = "problem" if len(found) == 1 else "problems"
    lines = [f"{heading} ({len(found)} {noun}):"]
    lines += [f"  {problem}" for problem in found[:_SHOWN]]
    if len(found) > _SHOWN:
        lines.append(f"  ... and {len(found) - _SHOWN} more")
    return "\n".join(lines)


def relative_problems(problems: Sequence[Problem], root: Path) -> tuple[Problem, ...]:
    """Return paths within the data set, so that a store says the same wherever the data lies."""
    prefix = f"{root}{os.sep}"
    return tuple(Problem(p.path.removeprefix(prefix), p.message.replace(prefix, ""))
                 for p in problems)  # fmt: skip
