"""Ray for a study: started on loopback or connected to, what a trial reserves, what fits."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ray
from ray import tune
from ray._private import ray_constants
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from model.cost import MemoryEstimate
from search.config import ResourceSettings, TrialConfig
from search.memory import gpu_memory
from search.placement import (
    NOTHING,
    Bundle,
    Node,
    can_grow,
    placement_problem,
    smallest_bundle,
    trial_bundle,
)
from search.slots import Slots

LOOPBACK = "127.0.0.1"


class RunError(RuntimeError):
    """A study that cannot run here; the message says what was expected."""


def placement(config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
    """Return Tune's placement of a proposed trial: its bundle, on one node."""
    return tune.PlacementGroupFactory([dict(config["trial"]["bundle"])])


class Nodes:
    """The cluster's living nodes; asked anew every two seconds."""

    def __init__(self, resources: ResourceSettings) -> None:
        # Only a share that follows the memory needs to know it.
        self._ask_gpus = resources.gpus_per_trial == "auto"
        self._asked = float("-inf")
        self._nodes: tuple[Node, ...] = ()
        self._cards: dict[tuple[str, ...], int | None] = {}

    def __call__(self) -> tuple[Node, ...]:
        """Return them, with the memory of their GPUs where it matters."""
        if time.monotonic() - self._asked > 2:
            self._nodes = tuple(self._node(node) for node in ray.nodes() if node["Alive"])
            self._asked = time.monotonic()
        return self._nodes

    def _node(self, node: Mapping[str, Any]) -> Node:
        resources = node["Resources"]
        if not self._ask_gpus or resources.get("GPU", 0) < 1:
            return Node(resources)
        kind = tuple(sorted(name for name in resources if name.startswith("accelerator_type:")))
        kind = kind or (node["NodeID"],)
        if kind not in self._cards:
            self._cards[kind] = ask_gpu_memory(node["NodeID"])
        return Node(resources, self._cards[kind])


def ask_gpu_memory(node_id: str, timeout: float = 20) -> int | None:
    """Ask a node for the memory of its smallest GPU, in bytes; None where it cannot say.

    It needs no GPU for it, so that it does not wait for one.
    """
    here = NodeAffinitySchedulingStrategy(node_id=node_id, soft=False)
    asked = ray.remote(gpu_memory).options(num_cpus=0, scheduling_strategy=here).remote()
    try:
        answer: int | None = ray.get(asked, timeout=timeout)
    except ray.exceptions.RayError:
        return None
    return answer


class Capacity:
    """Which trials run and whether one more fits, node by node.

    Args:
        resources: What a trial reserves.
        estimate: Predicts a trial's memory; None where every bundle is given by numbers.
    """

    def __init__(
        self,
        resources: ResourceSettings,
        estimate: Callable[[TrialConfig], MemoryEstimate] | None = None,
    ) -> None:
        self._resources = resources
        self._estimate = estimate or (lambda _: NOTHING)
        self._nodes = Nodes(resources)
        self._slots = Slots()

    def __call__(self) -> int:
        """Return how many trials may run now: those that do, and one where another one fits.

        With ``auto``, one of the smallest size; what is proposed then may have to wait for room.
        """
        nodes = self._nodes()
        self._slots.set_nodes(nodes)
        running, limit = len(self._slots), self._resources.max_concurrent
        full = limit is not None and running >= limit
        room = not full and self._slots.room(smallest_bundle(self._resources, nodes))
        return running + room

    def place(self, name: str, config: TrialConfig, factor: float = 1.0) -> Bundle:
        """Return a trial's bundle, and count it as running; ``factor``: see ``trial_bundle``."""
        nodes = self._nodes()
        bundle = trial_bundle(self._resources, self._estimate(config), nodes, factor)
        self._slots.set_nodes(nodes)
        self._slots.take(name, bundle)
        return bundle

    def free(self, name: str) -> None:
        """Note that a trial has ended."""
        self._slots.free(name)

    def problem(self, config: TrialConfig) -> str | None:
        """Say why a trial is predicted to run out of memory wherever it is placed."""
        return placement_problem(self._resources, self._estimate(config), self._nodes())

    def can_grow(self, config: TrialConfig) -> bool:
        """Tell whether a trial that ran out of memory would get more of it with factor 2."""
        return can_grow(self._resources, self._estimate(config), self._nodes())


@contextlib.contextmanager
def ray_cluster(resources: ResourceSettings) -> Iterator[None]:
    """Connect to Ray, or start one on loopback, for the time of a study.

    Raises:
        RunError: where no node can hold a trial.
    """
    os.environ.update(
        # Start as many trials as fit: Capacity holds back what does not.
        TUNE_MAX_PENDING_TRIALS_PG="1000",
        TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
        # Nothing is restored from Tune's snapshots, so they need not be frequent.
        TUNE_GLOBAL_CHECKPOINT_S="3600",
        RAY_CHDIR_TO_TRIAL_DIR="0",
        # Tune's newer output prints failures at any verbosity; the table says them already.
        RAY_AIR_NEW_OUTPUT="0",
        RAY_USAGE_STATS_ENABLED="0",
    )
    own = not ray.is_initialized()
    if own:
        start_ray(resources)
    try:
        if Capacity(resources)() < 1:
            nodes = Nodes(resources)()
            bundle = smallest_bundle(resources, nodes)
            raise RunError(
                f"resources: expected a node with {bundle} for one trial, received "
                f"{[{k: n.resources.get(k, 0) for k in bundle} for n in nodes]}"
            )
        yield
    finally:
        if own:
            ray.shutdown()


def start_ray(resources: ResourceSettings) -> None:
    """Initialise Ray quietly: on the given address, or locally with no port beyond loopback."""
    quiet = {"log_to_driver": False, "configure_logging": False, "logging_level": logging.WARNING}
    if resources.ray_address is not None:
        try:
            ray.init(address=resources.ray_address, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            first = next(iter(str(error).splitlines()), "")
            raise RunError(
                f"resources.ray_address: expected a Ray cluster at {resources.ray_address!r}, "
                f"received {type(error).__name__}: {first}"
            ) from error
        return
    with _loopback():
        ray.init(
            address="local",  # not whatever cluster happens to run on this machine
            num_cpus=resources.num_cpus,
            include_dashboard=False,
            _node_ip_address=LOOPBACK,
            **quiet,
        )


@contextlib.contextmanager
def _loopback() -> Iterator[None]:
    """Let Ray bind to loopback, as it does on macOS and Windows.

    On Linux it would turn a loopback address into the machine's own and listen on every
    interface; whoever reaches a Ray port can run code.
    """
    name = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # read by Ray's own processes, hence a variable
    before = os.environ.get(name), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[name], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before[1]
        if before[0] is None:
            del os.environ[name]
        else:
            os.environ[name] = before[0]
