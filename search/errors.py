"""Errors of a run, and the exit codes of its commands."""

from __future__ import annotations

from foundation.errors import UserError

INTERRUPTED = 130  # the shell's 128 + SIGINT
TERMINATED = 143  # 128 + SIGTERM
TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: the same command, later


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
