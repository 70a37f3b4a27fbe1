"""The shared input pipeline on a Ray cluster: a dispatcher beside the driver, workers on the nodes.

They are actors with resources of their own. Ray starts a killed one again: the dispatcher on its
port and from its journal, a worker under a new address that readers learn of within a second.
Until then readers wait, and one that waits too long goes on by itself
(``data_pipeline/streams/feed.py``).
The actors live as long as the driver: one that runs the study again has new ones.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.stores.store import Store
from data_pipeline.streams.shared_stream import SharedStream
from foundation.errors import last_line
from results.records.epochs import Epoch
from search.cluster.nodes import Nodes, alive_nodes, has_own_ray
from search.cluster.placement import Node
from search.config.schema import StudyConfig
from search.data.sharing_plan import NoRoomError, SharingPlan, held_cpus, plan
from search.data.store_transfer import store_here
from search.errors import RunError
from search.interfaces.messages import SharedInput
from search.interfaces.observers import Observer, Pipeline
from search.process.tensorflow_import import import_tensorflow

START_SECONDS = 60.0
REGISTER_SECONDS = 30.0
POLL_SECONDS = 5.0
TROUBLES = 2
REST_SECONDS = 300.0
_TROUBLE = (ray.exceptions.RayError, TimeoutError)


def decide(config: StudyConfig) -> SharingPlan:
    """Return whether trials share a pipeline on the cluster that Ray is connected to.

    Raises:
        RunError: where ``sharing: service`` is asked for and no node has room for a worker.
    """
    token = os.environ.get("RAY_AUTH_MODE", "disabled") != "disabled"
    try:
        return plan(config, Nodes(config.resources)(), own=has_own_ray(), token=token)
    except NoRoomError as error:
        raise RunError(str(error)) from None


@contextlib.contextmanager
def shared_pipeline(config: StudyConfig, store: Store, observer: Observer) -> Iterator[Pipeline]:
    """Run the actors for the time of a study."""
    with tempfile.TemporaryDirectory(
        prefix="flexunet-search-pipeline-", ignore_cleanup_errors=True
    ) as folder:
        pipeline = SharedPipeline(config, store, observer, Path(folder))
        try:
            pipeline.start()
            yield pipeline
        finally:
            pipeline.stop()


class SharedPipeline:
    """The actors of one study, and what trials need to know to use them.

    Args:
        config: The study.
        store: Its prepared data.
        observer: Told where trials have to do without.
        work_dir: Folder of the dispatcher's journal, on this machine.
    """

    def __init__(
        self, config: StudyConfig, store: Store, observer: Observer, work_dir: Path
    ) -> None:
        self._config = config
        self._store = store
        self._observer = observer
        self._work_dir = work_dir
        self._dispatcher: Any = None
        self._address = ""
        self._workers: dict[str, list[Any]] = {}
        self._streams: dict[str, SharedStream] = {}
        self._starting: list[Any] = []  # what their first answer will be
        self._serving = False
        self._given_up = False
        self._troubles = 0
        self._rests_until = float("-inf")
        self._warned: set[str] = set()
        self._polled = time.monotonic()

    @property
    def workers(self) -> dict[str, list[Any]]:
        """The workers' actors by the id of their node."""
        return {node: list(actors) for node, actors in self._workers.items()}

    @property
    def dispatcher(self) -> Any:
        return self._dispatcher

    def held(self, nodes: Sequence[Node]) -> list[float]:
        """Return how many CPUs of each node are not for trials."""
        if self._given_up:
            return [0.0] * len(nodes)
        return held_cpus(self._config.pipeline, self._config.resources, nodes)

    def start(self) -> None:
        """Start the actors and wait a little for the dispatcher and one worker.

        On a cluster that is full with another study they may come later; until then trials have
        pipelines of their own.
        """
        here = ray.get_runtime_context().get_node_id()
        host = next(str(n["NodeManagerAddress"]) for n in alive_nodes() if n["NodeID"] == here)
        port = _free_port(host)
        self._address = f"{host}:{port}"
        self._dispatcher = _actor(DispatcherActor, here, 0).remote(host, port, str(self._work_dir))
        self._add_workers()
        deadline = time.monotonic() + START_SECONDS
        try:
            ray.get(self._dispatcher.address.remote(), timeout=START_SECONDS)
        except _TROUBLE as error:
            self._warn(f"trials read pipelines of their own: {last_line(error)}")
            self._given_up = True
            self.stop()
            return
        while self._starting and not self._serving and time.monotonic() < deadline:
            self._see_started(timeout=1)
        if not self._serving:
            self._warn("trials read pipelines of their own until the shared one has started")

    def of_trial(self, augment: AugmentConfig, trainer: str) -> SharedInput | None:
        """Return what a worker needs to read the stream of a policy; None: it cannot be had."""
        if not self._serving or time.monotonic() < self._rests_until:
            return None
        policy = augment.model_dump_json()
        if policy not in self._streams:
            try:
                self._streams[policy] = self._register(augment)
            except _TROUBLE as error:
                self._rest(f"trials read pipelines of their own: {last_line(error)}")
                return None
        settings = self._config.pipeline
        return SharedInput(
            self._streams[policy],
            trainer,
            settings.max_outstanding_requests,
            settings.patience_seconds,
        )

    def epoch_ended(self, epoch: Epoch) -> None:
        """Hear of an epoch; of trials that have left the stream one after another, too.

        Each of them has waited for it in vain, and so would the next ones.
        """
        read = epoch.input
        if read is None:
            return
        if read.trouble:
            self._troubles += 1
            if self._troubles >= TROUBLES:
                self._troubles = 0
                self._rest(f"new trials read pipelines of their own for a while: {read.trouble}")
        elif read.source == "service":
            self._troubles = 0

    def _rest(self, why: str) -> None:
        self._rests_until = time.monotonic() + REST_SECONDS
        self._warn(why)

    def _warn(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            self._observer.warn(message)

    def _register(self, augment: AugmentConfig) -> SharedStream:
        settings = self._config.pipeline
        asked = self._dispatcher.register.remote(
            str(self._store.path),
            augment.model_dump(mode="json"),
            self._config.study.seed,
            settings.cpus_per_worker,
            settings.compression if len(alive_nodes()) > 1 else "none",
        )
        stream: SharedStream = ray.get(asked, timeout=REGISTER_SECONDS)
        return stream

    def poll(self) -> None:
        """Give nodes that have joined their workers, forget those that are gone."""
        if time.monotonic() - self._polled > POLL_SECONDS and not self._given_up:
            self._polled = time.monotonic()
            self._add_workers()
            self._see_started(timeout=0)

    def _see_started(self, timeout: float) -> None:
        """Note which workers serve, and which cannot."""
        if not self._starting:
            return
        started, self._starting = ray.wait(self._starting, timeout=timeout)
        for address in started:
            try:
                ray.get(address)
                self._serving = True
            except ray.exceptions.RayError as error:
                self._warn(f"a worker of the shared pipeline cannot start: {last_line(error)}")

    def stop(self) -> None:
        actors = [actor for actors in self._workers.values() for actor in actors]
        for actor in (*actors, self._dispatcher):
            if actor is not None:
                with contextlib.suppress(ray.exceptions.RayError):  # the cluster may be gone
                    ray.kill(actor)
        self._workers = {}

    def _add_workers(self) -> None:
        alive = alive_nodes()
        nodes = [Node(node["Resources"]) for node in alive]
        held = held_cpus(self._config.pipeline, self._config.resources, nodes)
        wanted = {n["NodeID"]: n for n, cpus in zip(alive, held, strict=True) if cpus}
        for gone in self._workers.keys() - wanted.keys():
            for actor in self._workers.pop(gone):
                ray.kill(actor)
        settings = self._config.pipeline
        for node_id in wanted.keys() - self._workers.keys():
            self._workers[node_id] = [
                _actor(WorkerActor, node_id, settings.cpus_per_worker).remote(
                    self._address,
                    str(wanted[node_id]["NodeManagerAddress"]),
                    int(settings.cache_mb * 1e6),
                    settings.cpus_per_worker,
                    str(self._store.path),
                )
                for _ in range(settings.workers_per_node)
            ]
            self._starting += [actor.address.remote() for actor in self._workers[node_id]]


class _ServiceActor:
    """A process of tf.data service; TensorFlow there uses no GPU and its own CPUs alone."""

    _server: Any

    def address(self) -> str:
        return str(self._server.address)

    def pid(self) -> int:
        """Return its process' number on its node."""
        return os.getpid()


class DispatcherActor(_ServiceActor):
    """Runs the dispatcher."""

    def __init__(self, host: str, port: int, work_dir: str) -> None:
        _limit_tensorflow(1)
        from data_pipeline.streams.sharing import Dispatcher

        self._server = Dispatcher(host, port, Path(work_dir))

    def register(
        self,
        store: str,
        augment: Mapping[str, Any],
        seed: int,
        threads: int,
        compression: str,
    ) -> SharedStream:
        """Register a pipeline; see :meth:`data_pipeline.streams.sharing.Dispatcher.register`."""
        stream: SharedStream = self._server.register(
            Store.open(store),
            AugmentConfig(**augment),
            seed=seed,
            threads=threads,
            compression=compression,
        )
        return stream


class WorkerActor(_ServiceActor):
    """Runs a worker, where the prepared data lie as the dispatcher sees them, or can be copied."""

    def __init__(
        self, dispatcher: str, host: str, cache_bytes: int, threads: int, store: str
    ) -> None:
        place = store_here(Path(store))
        if place != Path(store):  # the path is part of the pipeline, which is one for all workers
            raise RuntimeError(f"expected the prepared data in {store}, copied to {place}")
        _limit_tensorflow(threads)
        from data_pipeline.streams.sharing import PipelineWorker

        self._server = PipelineWorker(dispatcher, host, cache_bytes)


def _limit_tensorflow(threads: int) -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    tf = import_tensorflow()
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads + 1)


def _actor(kind: type, node_id: str, cpus: float) -> Any:
    there = NodeAffinitySchedulingStrategy(node_id=node_id, soft=False)
    return ray.remote(kind).options(
        num_cpus=cpus,
        max_restarts=-1,
        max_task_retries=-1,
        scheduling_strategy=there,
    )


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
