"""Ray for a study: started on loopback or connected to."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import ray
from ray._private import ray_constants

from search.cluster.capacity import Capacity
from search.cluster.inspector import package_folders, ray_folder
from search.cluster.nodes import LOOPBACK, Nodes
from search.cluster.placement import smallest_bundle
from search.config.settings import ResourceSettings
from search.errors import RunError
from search.process.memory import ONE_HEAP_VARIABLES

CLIENT = "ray://"
RAY_MARK = "flexunet-search"
CONNECT_SECONDS = 5.0
CLIENT_PAUSES = (1.0, 5.0)  # seconds before the second and the third try


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
        # Signals are ours: see search/process/stop.py.
        TUNE_DISABLE_SIGINT_HANDLER="1",
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


def ray_address(resources: ResourceSettings) -> str | None:
    """Return where Ray is: the config's address, else that of RAY_ADDRESS; None: start one here.

    Ray sets RAY_ADDRESS in the process of a submitted job. ``local`` starts one here whatever the
    environment says.
    """
    address = resources.ray_address or os.environ.get("RAY_ADDRESS") or None
    return None if address == "local" else address


def start_ray(resources: ResourceSettings) -> None:
    """Initialise Ray quietly: on the given address, or locally with no port beyond loopback.

    Raises:
        RunError: where no Ray of this version answers at the address, or refuses the token.
    """
    address = ray_address(resources)
    if address is not None and address.startswith(CLIENT):
        raise RunError(f"expected auto or HOST:PORT in this process, received {address!r}")
    if address is not None:
        connect(address)
        return
    with _loopback(), _variables(ONE_HEAP_VARIABLES):
        ray.init(
            address="local",  # not whatever cluster happens to run on this machine
            num_cpus=resources.num_cpus,
            include_dashboard=False,
            _node_ip_address=LOOPBACK,
            **_QUIET,
        )
    _mark_session()


def _mark_session() -> None:
    """Mark Ray's folder of logs as a search's, for ``clean``: nothing else tells whose it is."""
    with contextlib.suppress(AttributeError, OSError):  # a Ray that keeps its folder elsewhere
        (Path(ray_folder()) / RAY_MARK).touch()


_QUIET = {"log_to_driver": False, "configure_logging": False, "logging_level": logging.WARNING}


def connect(address: str) -> None:
    """Connect to a running Ray; our code travels with the connection (Ray's runtime_env).

    Args:
        address: ``auto``, ``HOST:PORT``, or ``ray://HOST:PORT`` for a Ray Client.

    Raises:
        RunError: where no Ray of this version answers there, or it refuses the token.
    """
    _expect_listener(address)
    # A node needs only the dependencies: the four packages travel there, and match this process'.
    environment = {
        "py_modules": [str(path) for path in package_folders()],
        "excludes": ["__pycache__"],
        "env_vars": ONE_HEAP_VARIABLES,
    }
    try:
        join_patiently(
            address, lambda: ray.init(address=address, runtime_env=environment, **_QUIET)
        )
    # Ray ends the process, by SystemExit, where a cluster does not take its greeting.
    except (Exception, SystemExit) as error:
        lines = str(error).strip().splitlines() or [""]
        said = " ".join(dict.fromkeys([lines[0], lines[-1]]))
        raise RunError(
            f"expected a Ray cluster at {address!r} with Ray {ray.__version__}, received "
            f"{type(error).__name__}: {said}{_token_hint()}"
        ) from error


def join_patiently(address: str, join: Callable[[], object]) -> None:
    """Join a cluster; a Ray Client tries again where its server did not come up in time.

    Ray starts a server process for each client and gives it half a minute, which a busy head can
    exceed; what it loaded meanwhile makes the next one quicker.
    """
    for pause in CLIENT_PAUSES if address.startswith(CLIENT) else ():
        try:
            join()
            return
        except ConnectionError:
            time.sleep(pause)
    join()


def _expect_listener(address: str) -> None:
    """Raise where nothing listens at an address: Ray would try for two minutes, then exit."""
    host, _, port = address.removeprefix(CLIENT).rpartition(":")
    if not host and address == "auto":
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS):
            return
    except (OSError, ValueError, OverflowError) as error:
        raise RunError(
            f"expected a Ray cluster at {address!r} (auto, HOST:PORT or ray://HOST:PORT), "
            f"received {type(error).__name__}: {error}"
        ) from None


def _token_hint() -> str:
    mode = os.environ.get("RAY_AUTH_MODE", "not set")
    return (
        f" (RAY_AUTH_MODE is {mode}; a cluster with token authentication wants RAY_AUTH_MODE=token "
        "and its own token in RAY_AUTH_TOKEN, or in the file that RAY_AUTH_TOKEN_PATH names)"
    )


@contextlib.contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Let the processes that are started meanwhile have these variables."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _loopback() -> Iterator[None]:
    """Let Ray bind to loopback, as it does on macOS and Windows.

    On Linux it would turn a loopback address into the machine's own and listen on every
    interface; whoever reaches a Ray port can run code.
    """
    name = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # read by Ray's own processes, hence a variable
    before, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        with _variables({name: "0"}):
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
