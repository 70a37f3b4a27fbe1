"""The nodes of a cluster: which there are, and what each says of itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from model.processor import Processor, this_processor
from search.cluster.placement import Node
from search.config.settings import ResourceSettings
from search.process.memory import gpu_memory

LOOPBACK = "127.0.0.1"
_ASK_AGAIN_SECONDS = 120.0

# A node's processor, and bytes of its smallest GPU; None what is not known or was not asked.
Answer = tuple[Processor | None, int | None]


def alive_nodes() -> list[dict[str, Any]]:
    """Return the cluster's living nodes, as Ray describes them."""
    return [node for node in ray.nodes() if node["Alive"]]


def has_own_ray() -> bool:
    """Return whether Ray is this machine's alone; only the one started here is on loopback."""
    nodes = alive_nodes()
    return len(nodes) == 1 and nodes[0]["NodeManagerAddress"] == LOOPBACK


class Nodes:
    """The cluster's living nodes; looked for every two seconds, and each asked until it answers.

    Args:
        resources: Whether the memory of GPUs matters.
        ask_processors: Whether their processors do.
    """

    def __init__(self, resources: ResourceSettings, ask_processors: bool = False) -> None:
        # Only a share that follows the memory needs to know it.
        self._ask_gpus = resources.gpus_per_trial == "auto"
        self._ask_processors = ask_processors
        self._asked = float("-inf")
        self._nodes: tuple[Node, ...] = ()
        self._known: dict[str, Answer] = {}
        self._asked_at: dict[str, float] = {}

    def __call__(self) -> tuple[Node, ...]:
        """Return them, with their processors and the memory of their GPUs where these matter."""
        if time.monotonic() - self._asked > 2:
            there = {node["NodeID"]: node["Resources"] for node in alive_nodes()}
            if new := {name: told for name, told in there.items() if self._is_due(name)}:
                self._known |= self._ask(new)
            self._nodes = tuple(self._node(name, told) for name, told in there.items())
            self._asked = time.monotonic()
        return self._nodes

    def _is_due(self, name: str) -> bool:
        """Return whether to ask a node: a new one, or one that was asked and did not answer in
        time.
        """
        waited = time.monotonic() - self._asked_at.get(name, float("-inf"))
        unanswered = self._ask_processors and self._known.get(name, (None, None))[0] is None
        return name not in self._known or (unanswered and waited > _ASK_AGAIN_SECONDS)

    def _node(self, name: str, resources: Mapping[str, float]) -> Node:
        processor, memory = self._known[name]
        return Node(resources, memory, processor)

    def _ask(self, nodes: Mapping[str, Mapping[str, float]]) -> dict[str, Answer]:
        with_gpu = {
            name: self._ask_gpus and resources.get("GPU", 0) >= 1
            for name, resources in nodes.items()
        }
        self._asked_at |= dict.fromkeys(nodes, time.monotonic())
        if has_own_ray():  # this machine, whose answers need no process
            return {name: look_at_node(gpu) for name, gpu in with_gpu.items()}
        asked = {name: gpu for name, gpu in with_gpu.items() if gpu or self._ask_processors}
        return dict.fromkeys(nodes, (None, None)) | ask_nodes(asked)


def look_at_node(with_gpu: bool) -> Answer:
    """Return this node's processor, and the bytes of its smallest GPU where that is asked for."""
    return this_processor(), gpu_memory() if with_gpu else None


def ask_nodes(nodes: Mapping[str, bool], timeout: float = 10) -> dict[str, Answer]:
    """Have nodes look at themselves, all at once; (None, None) of those that do not answer.

    They need neither a CPU nor a GPU for it, so that they do not wait for one.

    Args:
        nodes: Ray's id of each, to whether its GPU is asked for.
        timeout: Seconds to wait for the answers.
    """
    if not nodes:
        return {}
    task = ray.remote(look_at_node)
    asked = {
        name: task.options(
            num_cpus=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=name, soft=False),
        ).remote(with_gpu)
        for name, with_gpu in nodes.items()
    }
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=timeout)
    answers: dict[str, Answer] = {}
    for name, reference in asked.items():
        try:
            answers[name] = ray.get(reference, timeout=0)
        except (ray.exceptions.RayError, ImportError):
            ray.cancel(reference, force=True)
            answers[name] = None, None
    return answers
