"""Ray for a study: started on loopback or connected to, what a trial reserves, what fits."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator, Mapping

import ray
from ray import tune
from ray._private import ray_constants

from search.config import ResourceSettings

LOOPBACK = "127.0.0.1"


class RunError(RuntimeError):
    """A study that cannot run here; the message says what was expected.

    Attributes:
        exit_code: What a command is to end with.
    """

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def bundle_of(resources: ResourceSettings) -> dict[str, float]:
    """Return what one trial reserves, in Ray's terms (memory in bytes)."""
    bundle = {"CPU": resources.cpus_per_trial}
    if resources.gpus_per_trial:
        bundle["GPU"] = resources.gpus_per_trial
    if resources.memory_per_trial_gb:
        bundle["memory"] = int(resources.memory_per_trial_gb * 1e9)
    return bundle


def placement(resources: ResourceSettings) -> tune.PlacementGroupFactory:
    """Return Tune's placement of one trial: one bundle on one node."""
    return tune.PlacementGroupFactory([bundle_of(resources)])


class Capacity:
    """How many trials fit on the cluster now, node by node; asked anew every two seconds."""

    def __init__(self, resources: ResourceSettings) -> None:
        self._bundle = bundle_of(resources)
        self._limit = resources.max_concurrent
        self._asked = float("-inf")
        self._slots = 0

    def __call__(self) -> int:
        """Return the number of slots, at most ``max_concurrent``."""
        if time.monotonic() - self._asked > 2:
            self._slots = sum(
                self._slots_of(node["Resources"]) for node in ray.nodes() if node["Alive"]
            )
            self._asked = time.monotonic()
        return self._slots if self._limit is None else min(self._slots, self._limit)

    def _slots_of(self, node: Mapping[str, float]) -> int:
        return min(_fitting(name, node.get(name, 0), a) for name, a in self._bundle.items())


def _fitting(resource: str, there: float, amount: float) -> int:
    """Return how often an amount of a resource fits; a share of a GPU lies on one card."""
    if resource == "GPU" and amount < 1:
        return int(there) * int(1 / amount + 1e-9)
    return int(there / amount + 1e-9)


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
        # Signals are ours: see search/stop.py.
        TUNE_DISABLE_SIGINT_HANDLER="1",
    )
    own = not ray.is_initialized()
    if own:
        start_ray(resources)
    try:
        if Capacity(resources)() < 1:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            raise RunError(
                f"resources: expected a node with {bundle_of(resources)} for one trial, received "
                f"{[{k: n.get(k, 0) for k in bundle_of(resources)} for n in nodes]}"
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
