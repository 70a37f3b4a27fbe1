"""How long a worker may be silent before it counts as hanging: on slow nodes, longer."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable
from pathlib import Path

from results.records.epochs import Epoch, Worker
from results.records.pace import Paces, node_of
from search.process.hardware import Processor

# How many times as long as the fastest a slower kind of processor is taken to need until trials
# were trained on it: 2.8 was the most of "Kernels and heaps" in benchmarks/README.md.
UNMEASURED = 4.0
# No hanging worker is waited for longer: what is measured depends on the models, too.
MOST = 10.0


class SilenceLimit:
    """Tells hanging workers from those of slow nodes.

    Args:
        minutes: What the fastest node's workers are allowed: ``trial_timeout_minutes``. None: any
            silence is.
        processors: Returns the kinds of processors that workers may be on.
    """

    def __init__(
        self,
        minutes: float | None,
        processors: Callable[[], Collection[Processor]] = frozenset,
    ) -> None:
        self._minutes = minutes
        self._processors = processors
        self._paces = Paces()
        self._workers: dict[Hashable, Worker | None] = {}

    def count(self, trial: Hashable, epoch: Epoch) -> None:
        """Take an epoch of a trial: it tells how fast its node is."""
        self._paces.count(trial, epoch)
        self._workers[trial] = epoch.worker

    def problem(self, trial: Hashable, heard: float | None, folder: Path) -> str | None:
        """Say that a worker hangs; None where it does not, or has not begun.

        Args:
            trial: As it is counted.
            heard: Its last sign of life, by ``time.monotonic()``; None before the first.
            folder: Where its worker.json may say what node it is on; in an object store it is not
                there, and the trial's last epoch tells.
        """
        if self._minutes is None or heard is None:
            return None
        silent = (time.monotonic() - heard) / 60
        if silent <= self._minutes:
            return None
        worker = Worker.read(folder / "worker.json") or self._workers.get(trial)
        slowness = min(MOST, self._slowness(worker))
        allowed = self._minutes * slowness
        if silent <= allowed:
            return None
        slow = f", on a node {slowness:.1f} times as slow as the fastest" if slowness > 1 else ""
        return f"no report for {allowed:.4g} minutes (trial_timeout_minutes{slow})"

    def _slowness(self, worker: Worker | None) -> float:
        measured = self._paces.slowness(node_of(worker))
        if measured is not None:
            return measured
        processors = self._processors()
        kernels = worker.kernels if worker is not None else None
        own = {each for each in processors if each.kernels == kernels}
        # Where nobody says which node it is, it may be the slowest.
        slowest = min(own or processors, default=None)
        return UNMEASURED if slowest is not None and slowest < max(processors) else 1.0
