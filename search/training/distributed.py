"""One training in several processes, on as many nodes as there are: its workers as actors of Ray.

They train in lockstep, each a part of every batch; the first one writes the folder. A worker that
is lost ends the training, and running again goes on after the last epoch.
"""

from __future__ import annotations

import contextlib
import math
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from foundation.errors import last_line
from results.records.epochs import Epoch
from search.cluster.connection import ray_address, start_ray
from search.cluster.inspector import write_token
from search.cluster.nodes import alive_nodes
from search.cluster.placement import Bundle, Node
from search.cluster.slots import slots_on
from search.config.schema import StudyConfig
from search.config.settings import ResourceSettings
from search.data.store_transfer import serving
from search.errors import TRY_AGAIN, RunError
from search.process.resources import WorkerResources
from search.training.folder import only_here
from search.training.loop import Note, OnEpoch
from search.training.plan import TrainOptions, plan_training
from search.training.worker import (
    News,
    TrainingJob,
    TrainingWorker,
    WorkerResult,
    checkpoint_digest,
)

ROOM_SECONDS = 300.0
# A lost worker is noticed by the others and by Ray, in no order; a failed one lets others fail.
VERDICT_SECONDS = 15.0


def train_on_workers(
    config: StudyConfig,
    out_dir: Path,
    options: TrainOptions,
    *,
    workers: int,
    address: str | None = None,
    on_epoch: OnEpoch = lambda epoch: None,
    progress: Callable[[int, int], None] | None = None,
    note: Note = lambda message: None,
) -> Epoch:
    """Train a config of constants in several processes; continue what is in the folder.

    Args:
        config: ``resources.cpus_per_trial`` is what each worker gets, and so are the GPUs where
            the options name none.
        out_dir: Seen by all nodes under one path.
        options: How to train.
        workers: Processes; on a node each where there are as many nodes.
        address: The Ray cluster. None: the config's, else one of this machine alone.
        on_epoch: Called with each new epoch.
        progress: Called with (images done, images in all) while the data are prepared.
        note: Told what the user should know.

    Returns:
        The epoch that best.keras is of.

    Raises:
        ConfigError, DataError, OSError: as :func:`search.training.train.train_config`.
        RunError: where the cluster has no room, a worker does not see the folder, the training
            fails, or (exit code 75) a worker was lost.
    """
    training = plan_training(config, out_dir, options, progress)
    resources = config.resources
    if address is not None:
        resources = resources.model_copy(update={"ray_address": address})
    job = TrainingJob.of(training)
    with only_here(training.out_dir), _cluster(resources, workers), serving(training.store):
        bundle = _bundle(resources, options.gpus)
        _check_shares(training.config.train.batch_size, workers, int(bundle.get("GPU", 0)))
        with _placed(bundle, workers, note) as group:
            crew = WorkerGroup(job, group, bundle, workers)
            try:
                return crew.train(on_epoch, note)
            finally:
                crew.end()


class WorkerGroup:
    """The workers of one training.

    Args:
        job: What they train.
        group: A place for each.
        bundle: What each gets, in Ray's terms.
        count: How many.
    """

    def __init__(self, job: TrainingJob, group: PlacementGroup, bundle: Bundle, count: int) -> None:
        self._job = job
        resources = WorkerResources(bundle["CPU"], bundle.get("GPU", 0))
        self._workers = [
            ray.remote(TrainingWorker)
            .options(
                num_cpus=bundle["CPU"],
                num_gpus=bundle.get("GPU", 0),
                max_restarts=0,
                max_concurrency=2,
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, index),
            )
            .remote(resources)
            for index in range(count)
        ]
        self._hosts = _hosts(group, count)

    def train(self, on_epoch: OnEpoch, note: Note) -> Epoch:
        """Train to the end and report each epoch.

        Raises:
            RunError: see :func:`train_on_workers`.
        """
        try:
            addresses = tuple(
                ray.get([w.address.remote(h) for w, h in self._pairs()], timeout=ROOM_SECONDS)
            )
            self._check_folder()
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
            raise self._lost(last_line(error)) from error
        tasks = [
            worker.train.remote(self._job, addresses, rank)
            for rank, worker in enumerate(self._workers)
        ]
        outcomes = self._follow(tasks, on_epoch, note)
        best = outcomes[0].best
        if best is None:  # where one has failed, it is raised before
            raise self._lost(outcomes[0].failed)
        return best

    def end(self) -> None:
        for worker in self._workers:
            ray.kill(worker)

    def _pairs(self) -> list[tuple[Any, str]]:
        return list(zip(self._workers, self._hosts, strict=True))

    def _check_folder(self) -> None:
        """Raise where a worker does not see the folder, or another state of it."""
        folder, token = self._job.out_dir, f".seen-{uuid.uuid4().hex}"
        if problem := write_token(folder, token):
            raise RunError(f"{folder}: expected a folder that can be written, {problem}")
        try:
            sights = ray.get([w.look.remote(str(folder), token) for w in self._workers])
        finally:
            (folder / token).unlink(missing_ok=True)
        blind = [
            f"{h}: {sight}" for h, (sight, _) in zip(self._hosts, sights, strict=True) if sight
        ]
        if blind:
            raise RunError(
                f"expected a folder that every worker sees, {folder}; " + "; ".join(blind)
            )
        here = checkpoint_digest(folder)
        if any(digest != here for _, digest in sights):
            raise RunError(
                f"expected every worker to see the same checkpoint in {folder}; a network file "
                "system may show it late: run the same command again",
                TRY_AGAIN,
            )

    def _follow(self, tasks: Sequence[Any], on_epoch: OnEpoch, note: Note) -> list[WorkerResult]:
        """Wait for all, telling the first one's news; raise as soon as one has failed."""
        pending, asked = list(tasks), self._workers[0].news.remote()
        while pending:
            done, _ = ray.wait([*pending, asked], num_returns=1)
            if asked in done:
                self._tell(asked, on_epoch, note)
                asked = self._workers[0].news.remote()
            for task in done:
                if task in pending:
                    pending.remove(task)
                    if self._failed(task):
                        self._give_verdict(tasks)
        self._tell(asked, on_epoch, note)
        self._tell(self._workers[0].news.remote(0.0), on_epoch, note)
        return list(ray.get(list(tasks)))

    @staticmethod
    def _tell(asked: Any, on_epoch: OnEpoch, note: Note) -> None:
        try:
            news: list[News] = ray.get(asked)
        except ray.exceptions.RayActorError:  # said by its training, too
            return
        for each in news:
            if isinstance(each, Epoch):
                on_epoch(each)
            else:
                note(each)

    @staticmethod
    def _failed(task: Any) -> bool:
        try:
            outcome: WorkerResult = ray.get(task)
        except ray.exceptions.RayError:
            return True
        return outcome.best is None

    def _give_verdict(self, tasks: Sequence[Any]) -> None:
        """Raise why the training failed: by its cause, which need not be who failed first."""
        done, _ = ray.wait(list(tasks), num_returns=len(tasks), timeout=VERDICT_SECONDS)
        reached: list[WorkerResult] = []
        for task, host in zip(tasks, self._hosts, strict=True):
            if task not in done:
                continue
            try:
                reached.append(ray.get(task))
            except ray.exceptions.RayActorError as error:
                raise self._lost(f"the process on {host} is gone") from error
        failed = [outcome for outcome in reached if outcome.best is None]
        for outcome in failed:
            if not outcome.lost:
                raise RunError(outcome.failed, outcome.exit_code)
        raise self._lost(failed[0].failed)

    def _lost(self, why: str) -> RunError:
        return RunError(
            f"expected {len(self._workers)} workers to the end, lost one: {why}; run the same "
            f"command again to go on after the last epoch of {self._job.out_dir}",
            TRY_AGAIN,
        )


@contextlib.contextmanager
def _cluster(resources: ResourceSettings, workers: int) -> Iterator[None]:
    """Connect to Ray, or start one here with room for the workers."""
    own = not ray.is_initialized()
    if own:
        if ray_address(resources) is None and resources.num_cpus is None:
            # Processes on one machine may share its cores; a cluster says itself what it has.
            needed = math.ceil(workers * resources.cpus_per_trial)
            cpus = max(needed, os.cpu_count() or 1)
            resources = resources.model_copy(update={"num_cpus": cpus})
        start_ray(resources)
    try:
        yield
    finally:
        if own:
            ray.shutdown()


def _bundle(resources: ResourceSettings, gpus: int | None) -> Bundle:
    """Return what a worker gets: whole GPUs, since two workers cannot reduce on one card."""
    asked: float | str = resources.gpus_per_trial if gpus is None else gpus
    if isinstance(asked, str):
        asked = 1 if any(node["Resources"].get("GPU", 0) >= 1 for node in alive_nodes()) else 0
    bundle: Bundle = {"CPU": resources.cpus_per_trial}
    if asked:
        bundle["GPU"] = math.ceil(asked)
    return bundle


def _check_shares(batch_size: int, workers: int, gpus: int) -> None:
    devices = workers * max(gpus, 1)
    if batch_size % devices:
        each = f"{gpus} GPUs each" if gpus else "a CPU each"
        raise RunError(
            f"train.batch_size: expected a multiple of {devices}, since {workers} workers of "
            f"{each} share each batch, received {batch_size}"
        )


@contextlib.contextmanager
def _placed(bundle: Bundle, count: int, note: Note) -> Iterator[PlacementGroup]:
    """Reserve a place for each worker, on a node each where there are as many.

    Raises:
        RunError: where the cluster has no such room, or (exit code 75) it stays taken.
    """
    nodes = alive_nodes()
    slots = [slots_on(Node(node["Resources"]), bundle) for node in nodes]
    if sum(slots) < count:
        has = [{name: n["Resources"].get(name, 0) for name in bundle} for n in nodes]
        raise RunError(
            f"--workers: expected nodes with room for {count} workers of {bundle}, received {has}"
        )
    apart = sum(slot > 0 for slot in slots) >= count
    group = placement_group([bundle] * count, strategy="STRICT_SPREAD" if apart else "SPREAD")
    try:
        if not group.wait(10):
            note(f"waiting for room for {count} workers of {bundle}")
            if not group.wait(ROOM_SECONDS):
                raise RunError(
                    f"--workers: expected free room for {count} workers of {bundle} within "
                    f"{ROOM_SECONDS:.0f} s; the cluster is taken",
                    TRY_AGAIN,
                )
        yield group
    finally:
        remove_placement_group(group)


def _hosts(group: PlacementGroup, count: int) -> list[str]:
    """Return the address of each worker's node."""
    addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in alive_nodes()}
    places = ray.util.placement_group_table(group)["bundles_to_node_id"]
    return [str(addresses[places[index]]) for index in range(count)]
