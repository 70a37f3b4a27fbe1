"""What a cluster has room for: its nodes asked, its running trials counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ray import tune

from model.cost import MemoryEstimate
from model.processor import Kernels, Processor
from results.records.epochs import Epoch
from search.cluster.forecast import MemoryUse
from search.cluster.nodes import Nodes
from search.cluster.placement import (
    NOTHING,
    Bundle,
    Node,
    can_grow,
    placement_problem,
    smallest_bundle,
    trial_bundle,
    without,
)
from search.cluster.slots import Slots
from search.config.settings import ResourceSettings
from search.config.trial import TrialConfig


def placement(config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
    """Return Tune's placement of a proposed trial: its bundle, on one node."""
    return tune.PlacementGroupFactory([dict(config["trial"].bundle)])


class Forecast(Protocol):
    """What predicts the memory of trials: see :class:`search.cluster.forecast.MemoryForecast`."""

    def __call__(self, config: TrialConfig, kernels: Kernels) -> MemoryEstimate:
        """Return what a trial will need where TensorFlow uses these kernels."""

    def learn(self, config: TrialConfig, use: MemoryUse) -> None:
        """Take what a process held as it trained a trial."""


class Capacity:
    """Which trials run and whether one more fits, node by node.

    Args:
        resources: What a trial reserves.
        forecast: Predicts a trial's memory; None where every bundle is given by numbers.
        held: Returns the CPUs of each node that are not for trials. None: all are.
    """

    def __init__(
        self,
        resources: ResourceSettings,
        forecast: Forecast | None = None,
        held: Callable[[Sequence[Node]], Sequence[float]] | None = None,
    ) -> None:
        self._resources = resources
        self._held = held or (lambda nodes: [0.0] * len(nodes))
        self._forecast = forecast
        self._nodes = Nodes(resources, ask_processors=forecast is not None)
        self._slots = Slots()

    def __call__(self) -> int:
        """Return how many trials may run now: those that do, and one where another one fits.

        With ``auto``, one of the smallest size; what is proposed then may have to wait for room.
        """
        nodes = self._nodes()
        self._slots.set_nodes(self._for_trials(nodes))
        running, limit = len(self._slots), self._resources.max_concurrent
        full = limit is not None and running >= limit
        room = not full and self._slots.room(smallest_bundle(self._resources, nodes))
        return running + room

    def place(self, name: str, config: TrialConfig, factor: float = 1.0) -> Bundle:
        """Return a trial's bundle, and count it as running; ``factor``: see ``trial_bundle``."""
        nodes = self._nodes()
        bundle = trial_bundle(self._resources, self.estimate(config), nodes, factor)
        self._slots.set_nodes(self._for_trials(nodes))
        self._slots.take(name, bundle)
        return bundle

    def estimate(self, config: TrialConfig) -> MemoryEstimate:
        """Predict a trial's memory on whichever node it comes to, hence by the most demanding."""
        if self._forecast is None:
            return NOTHING
        estimates = [self._forecast(config, kernels) for kernels in self._kernels()]
        return max(estimates, key=lambda each: each.total)

    def _kernels(self) -> set[Kernels]:
        """Return whose kernels trials may come to; of a node that does not say, the hungrier."""
        if self._on_cards():
            return {"onednn"}  # on a card neither are used: the formula with less scratch memory
        return {node.processor.kernels if node.processor else "eigen" for node in self._hosts()}

    def _on_cards(self) -> bool:
        return bool(smallest_bundle(self._resources, self._nodes()).get("GPU"))

    def _hosts(self) -> Sequence[Node]:
        """Return the nodes that have the CPUs for a trial; all of them where none has."""
        nodes, needed = self._nodes(), self._resources.cpus_per_trial
        return [node for node in nodes if node.resources.get("CPU", 0) >= needed] or nodes

    def learn(self, config: TrialConfig, epoch: Epoch) -> None:
        """Let an epoch correct the later predictions."""
        use = MemoryUse.of(epoch)
        if self._forecast is not None and use is not None:
            self._forecast.learn(config, use)

    def processors(self) -> set[Processor]:
        """Return the kinds of processors whose speed trials depend on, as far as known."""
        if self._on_cards():
            return set()
        return {node.processor for node in self._hosts() if node.processor is not None}

    def _for_trials(self, nodes: Sequence[Node]) -> list[Node]:
        """Return the nodes as trials may use them."""
        return [without(node, cpus) for node, cpus in zip(nodes, self._held(nodes), strict=True)]

    def free(self, name: str) -> None:
        self._slots.free(name)

    def problem(self, config: TrialConfig) -> str | None:
        """Say why a trial is predicted to run out of memory wherever it is placed."""
        return placement_problem(self._resources, self.estimate(config), self._nodes())

    def can_grow(self, config: TrialConfig) -> bool:
        """Tell whether a trial that ran out of memory would get more of it with factor 2."""
        return can_grow(self._resources, self.estimate(config), self._nodes())
