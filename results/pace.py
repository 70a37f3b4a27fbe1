"""How fast each node of a cluster trains, and how long a search on unequal nodes goes on.

Nodes differ several times over in speed: by their processors' instructions, and by whose kernels
TensorFlow uses on them. The first trials to end are then those of the fast nodes, and a pace that
is taken from them alone promises too much.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

_RECENT_EPOCHS = 16


def node_of(worker: Mapping[str, Any] | None) -> str | None:
    """Return the name of a node for :class:`Paces`; None where nothing is recorded.

    Args:
        worker: ``worker`` of a line of metrics.jsonl, or the contents of a worker.json.
    """
    if not worker or "host" not in worker:
        return None
    return " ".join(
        str(worker[key]) for key in ("host", "kernels", "instructions") if key in worker
    )


class Paces:
    """The speed of each node, from the epochs that were trained there."""

    def __init__(self) -> None:
        self._recent: dict[str, deque[float]] = {}

    def count(self, record: Mapping[str, Any]) -> None:
        """Take a line of metrics.jsonl; one of an older version says nothing of it."""
        node, speed = node_of(record.get("worker")), record.get("gflops_per_second")
        if node is not None and speed:
            self._recent.setdefault(node, deque(maxlen=_RECENT_EPOCHS)).append(speed)

    def slowness(self, node: str | None) -> float | None:
        """Return how many times as long as on the fastest node the same training takes.

        None for a node where nothing was trained yet. Medians over the last epochs are compared,
        so that single large and small models do not decide.
        """
        own = self._recent.get(node or "")
        if not own:
            return None
        fastest = max(statistics.median(speeds) for speeds in self._recent.values())
        return fastest / statistics.median(own)

    @property
    def nodes(self) -> int:
        """How many nodes have trained."""
        return len(self._recent)


@dataclass(frozen=True)
class Stint:
    """A trial's time on a node: from its start to its end, or until now.

    Attributes:
        node: As :func:`node_of` names it; None where it is not known yet.
        seconds: How long.
    """

    node: str | None
    seconds: float


def seconds_left(
    paces: Paces, todo: int, ended: Collection[Stint], running: Collection[Stint]
) -> float | None:
    """Estimate how long a search on unequal nodes goes on.

    A trial is reckoned to take what those that ended took on average, each divided by the slowness
    of its node; the nodes that run trials now go on with the rest.

    Args:
        paces: Of the nodes.
        todo: Trials that have not ended, the running ones included.
        ended: The trials that have.
        running: The trials that run.

    Returns:
        Seconds; None where fewer than two nodes have trained, no trial has ended where the pace is
        known, or none runs.
    """
    if paces.nodes < 2 or not running:
        return None
    known = [(stint, paces.slowness(stint.node)) for stint in ended]
    efforts = [stint.seconds / slow for stint, slow in known if slow is not None]
    if not efforts:
        return None
    effort = statistics.fmean(efforts)
    slowest = max(slow for _, slow in known if slow is not None)
    work, speed = todo * effort, 0.0
    for stint in running:
        slow = paces.slowness(stint.node) or slowest
        work -= min(effort, stint.seconds / slow)
        speed += 1 / slow
    return work / speed
