"""Whether workers live: when each was last seen, and how long it may be silent.

On slow nodes that is longer than on fast ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable
from pathlib import Path

from model.processor import Processor
from results.records import file_names
from results.records.epochs import Epoch, Worker
from results.records.pace import Paces, node_of

# How many times as long as the fastest a slower kind of processor is taken to need until trials
# were trained on it: 2.8 was the most of "Kernels and heaps" in benchmarks/README.md.
UNMEASURED = 4.0
# No hanging worker is waited for longer: what is measured depends on the models, too.
MOST = 10.0


class Liveness:
    """Tells hanging workers from those that live, or are on slow nodes.

    Args:
        minutes: How long a worker of the fastest node may be silent: ``trial_timeout_minutes``.
            None: any silence is allowed.
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
        self._last_seen: dict[Hashable, float] = {}
        self._workers: dict[Hashable, Worker | None] = {}

    def seen(self, key: Hashable, at: float | None = None) -> None:
        """Note a sign of life of a training's worker.

        Args:
            key: The training's.
            at: When, by ``time.monotonic()``; None: now.
        """
        self._last_seen[key] = time.monotonic() if at is None else at

    def has_begun(self, key: Hashable) -> bool:
        """Return whether a training's worker was ever seen."""
        return key in self._last_seen

    def count(self, key: Hashable, epoch: Epoch) -> None:
        """Take an epoch of a training: a sign of life, and how fast its node is."""
        self.seen(key)
        self._paces.count(key, epoch)
        self._workers[key] = epoch.worker

    def forget(self, key: Hashable) -> None:
        """Forget a training that has ended, or whose worker is given up."""
        self._last_seen.pop(key, None)
        self._workers.pop(key, None)

    def problem(self, key: Hashable, folder: Path) -> str | None:
        """Say that a training's worker hangs; None where it does not, or has not begun.

        Args:
            key: The training's.
            folder: Where its worker.json may say what node it is on; in an object store it is not
                there, and the training's last epoch tells.
        """
        if self._minutes is None or key not in self._last_seen:
            return None
        silent = (time.monotonic() - self._last_seen[key]) / 60
        if silent <= self._minutes:
            return None
        worker = Worker.read(folder / file_names.WORKER) or self._workers.get(key)
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
