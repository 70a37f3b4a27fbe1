"""How fast each node of a cluster trains, and how long a search on unequal nodes goes on.

Nodes differ several times over in speed: by their processors' instructions, and by whose kernels
TensorFlow uses on them. The first trials to end are then those of the fast nodes, and a pace that
is taken from them alone promises too much.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Hashable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from results.records.epochs import Epoch, Worker

# A single trial's speed says as much of its model as of its node.
_ENOUGH_TRIALS = 3
_RECENT_TRIALS = 16
# Below it nodes count as equal: trials differ more than that.
_UNEQUAL = 1.5


class TrainingNode(NamedTuple):
    """Where something is trained.

    Attributes:
        host: The machine.
        kind: Its processor, as far as that decides its speed; "" where not recorded.
    """

    host: str
    kind: str


def node_of(worker: Worker | None) -> TrainingNode | None:
    """Return where something is trained; None where nothing is recorded."""
    if worker is None:
        return None
    return TrainingNode(worker.host, " ".join(filter(None, (worker.kernels, worker.instructions))))


class Paces:
    """The speed of each node, from the last epochs of the trials that were trained there."""

    def __init__(self) -> None:
        self._speeds: dict[TrainingNode, dict[Hashable, float]] = {}

    def count(self, trial: Hashable, epoch: Epoch) -> None:
        """Take an epoch of a trial; one of an older version says nothing of its speed."""
        node, speed = node_of(epoch.worker), epoch.gflops_per_second
        if node is None or not speed:
            return
        trials = self._speeds.setdefault(node, {})
        trials[trial] = speed
        if len(trials) > _RECENT_TRIALS:
            del trials[next(iter(trials))]

    def slowness(self, node: TrainingNode | None) -> float | None:
        """Return how many times as long as on the fastest node the same training takes.

        Medians over trials are compared, since models differ, too: those of the node, or while it
        has trained few, those of all nodes with its kind of processor. None where these are few.
        """
        own = self._median(node) if node is not None else None
        return None if own is None else max(1.0, max(self._medians()) / own)

    @property
    def unequal(self) -> bool:
        """Whether some nodes are known to be slower than others."""
        medians = self._medians()
        return bool(medians) and max(medians) >= _UNEQUAL * min(medians)

    def _medians(self) -> list[float]:
        found = (self._median(node) for node in self._speeds)
        return [median for median in found if median is not None]

    def _median(self, node: TrainingNode) -> float | None:
        alike = (speeds for each, speeds in self._speeds.items() if each.kind == node.kind)
        own = _median(self._speeds.get(node, {}).values())
        return own or _median(speed for speeds in alike for speed in speeds.values())


def _median(speeds: Iterable[float]) -> float | None:
    known = list(speeds)
    return statistics.median(known) if len(known) >= _ENOUGH_TRIALS else None


@dataclass(frozen=True)
class Stint:
    """A trial's time on a node: from its start to its end, or until now.

    Attributes:
        node: Where; None where it is not known yet.
        seconds: How long.
    """

    node: TrainingNode | None
    seconds: float


def seconds_left(
    paces: Paces, todo: int, ended: Collection[Stint], running: Collection[Stint]
) -> float | None:
    """Estimate how long a search on unequal nodes goes on.

    A trial is reckoned to take what those that ended took on average, each divided by the slowness
    of its node. The nodes that run trials now go on with the rest, and none ends before its own.

    Args:
        paces: Of the nodes.
        todo: Trials that have not ended, the running ones included.
        ended: The trials that have.
        running: The trials that run.

    Returns:
        Seconds; None where no nodes are known to be slower than others, no trial has ended where
        the pace is known, or none runs.
    """
    if not paces.unequal or not running:
        return None
    known = [(stint, paces.slowness(stint.node)) for stint in ended]
    efforts = [stint.seconds / slow for stint, slow in known if slow is not None]
    if not efforts:
        return None
    effort = statistics.fmean(efforts)
    slowest = max(slow for _, slow in known if slow is not None)
    slow = [paces.slowness(stint.node) or slowest for stint in running]
    rest = [
        max(0.0, effort * each - stint.seconds) for each, stint in zip(slow, running, strict=True)
    ]
    waiting = max(0, todo - len(running)) * effort
    begun = sum(left / each for left, each in zip(rest, slow, strict=True))
    return max((waiting + begun) / sum(1 / each for each in slow), *rest)
