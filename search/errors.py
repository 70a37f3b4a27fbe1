"""Errors that speak to the user, and how an error of a library is put in one line."""

from __future__ import annotations

from user_errors import UserError


class RunError(UserError, RuntimeError):
    """A study that cannot run here; the message says what was expected.

    Attributes:
        exit_code: What a command is to end with.
    """

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


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


class SupersededError(RuntimeError):
    """A trial that another process has taken on: this one must not write any more."""
