"""The end of a run before the study's end: asked for by the clock, a signal, or what went wrong."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from search.errors import INTERRUPTED, TERMINATED, TRY_AGAIN


class Stop:
    """Whether and how a run ends early. Trials that run are left RUNNING, to be resumed.

    Args:
        deadline: Time (``time.time()``) at which it ends; None: no limit.
        grace: Seconds that a request lets epochs in flight end. The deadline gives none.

    Attributes:
        run_id: Names this run; workers claim their trials' folders under it.
        reason: Why the end was asked for, None while it was not; the deadline is no reason.
        exit_code: What the process is to end with for it.
        superseded: Whether another process has taken the study over: nothing may be written.
    """

    def __init__(self, deadline: float | None = None, grace: float = 0.0) -> None:
        self.run_id = uuid.uuid4().hex
        self.reason: str | None = None
        self.exit_code = 0
        self.superseded = False
        self._deadline = deadline
        self._grace = grace
        self._since: float | None = None

    @property
    def asked(self) -> bool:
        """Whether the run is to end: nothing is begun any more."""
        return self.reason is not None or self._late

    @property
    def _late(self) -> bool:
        return self._deadline is not None and time.time() >= self._deadline

    def ask(self, reason: str, exit_code: int = TRY_AGAIN, grace: bool = False) -> None:
        """Ask for the end; the first reason is kept."""
        if self.reason is None:
            self.reason, self.exit_code = reason, exit_code
            self._since = time.monotonic() + (self._grace if grace else 0.0)

    def supersede(self, reason: str) -> None:
        """Ask for the end without another word written: the study is another process' now."""
        self.superseded = True
        self.ask(reason)

    def now(self, live: int) -> bool:
        """Return whether to leave at once.

        Args:
            live: Trials that still have an epoch in flight.
        """
        if self._late or self.superseded:
            return True
        return self._since is not None and (live == 0 or time.monotonic() >= self._since)

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Let SIGINT and SIGTERM ask for the end; a second one leaves at once.

        Outside the main thread, where Python allows no handlers, nothing changes.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        codes = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}

        def handle(number: int, frame: Any) -> None:
            code = codes[signal.Signals(number)]
            if self.reason is not None:
                # No clean-up: whoever asks twice has waited enough, and the study is safe.
                os._exit(code)
            self.ask(signal.Signals(number).name, code, grace=True)

        before = {number: signal.signal(number, handle) for number in codes}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
