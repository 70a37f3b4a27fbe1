"""The error of a config: every problem of it at once, each with its field and line."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence

from pydantic import BaseModel, ValidationError

from foundation.errors import UserError
from search.config.space import KINDS

Line = Callable[[tuple[str, ...]], int | None]


class ConfigError(UserError, ValueError):
    """Everything that is wrong with a config, each problem with its line where it is known.

    Attributes:
        source: The file, or another name of where the config came from.
        problems: One sentence a problem.
    """

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n".join([f"{source}: {count}", *(f"  - {p}" for p in problems)]))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[str, Sequence[str]]]:
        return ConfigError, (self.source, self.problems)


def described(error: ValidationError, line: Line, root: type[BaseModel]) -> Iterator[str]:
    """Turn pydantic's errors into sentences that name the dotted field.

    Args:
        error: What validation raised.
        line: Returns the line in the source of a field's path, or None.
        root: What was validated; its fields are suggested where one is misspelt.
    """
    for item in error.errors():
        # The union's branch names are ours, not the user's.
        path = tuple(
            str(part)
            for index, part in enumerate(item["loc"])
            if not (index == 2 and part in (*KINDS, "constant"))
        )
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = f"unknown field{_suggestion(path, root)}"
        elif item["type"] != "value_error":
            message = f"{message[0].lower()}{message[1:]}, received {item['input']!r}"
        yield with_line(line, path, message)


def _suggestion(path: tuple[str, ...], root: type[BaseModel]) -> str:
    known: Iterable[str] = root.model_fields
    if len(path) > 1 and path[0] in root.model_fields:
        annotation = root.model_fields[path[0]].annotation
        known = getattr(annotation, "model_fields", ())
    close = difflib.get_close_matches(path[-1], list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; expected one of {', '.join(known)}"


def with_line(line: Line, path: tuple[str, ...], message: str) -> str:
    """Return a problem of a field, behind its dotted name and its line where that is known."""
    number = line(path)
    where = f"line {number}: " if number else ""
    return f"{where}{'.'.join(path)}: {message}"
