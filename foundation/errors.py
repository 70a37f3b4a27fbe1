"""The base of errors that speak to the user, and how an error of a library is put in one line."""

from __future__ import annotations


class UserError(Exception):
    """An error whose message tells a user what is wrong and what was expected.

    A command prints it without a traceback and ends with its exit code.

    Attributes:
        exit_code: 2 for bad input; 75 where the same command may succeed later.
    """

    exit_code: int = 2


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says; its type's name where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def named_line(error: BaseException) -> str:
    """Return an error's type and the first line of what it says: ``ValueError: no such thing``."""
    said = first_line(error) if str(error).strip() else ""
    return f"{type(error).__name__}: {said}"


def last_line(error: BaseException) -> str:
    """Return what an error of Ray comes down to: the last line of its traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
