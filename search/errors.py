"""Errors of a run: one that speaks to the user, and one between workers."""

from __future__ import annotations

from foundation.errors import UserError


class RunError(UserError, RuntimeError):
    """A study that cannot run here; the message says what was expected.

    Attributes:
        exit_code: What a command is to end with.
    """

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class SupersededError(RuntimeError):
    """A trial that another process has taken on: this one must not write any more."""
