"""The preparation of a study's data on a whole cluster: its shards as Ray tasks.

Only nodes take part that see the data and the folder of stores, and would write the same bytes.
Where no other one does, the driver's machine prepares them alone, in threads.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from data_pipeline.stores.prepare import prepare
from data_pipeline.stores.shards import ShardDone, ShardTask
from data_pipeline.stores.store import Store
from data_pipeline.stores.survey import Progress
from foundation.errors import last_line
from search.cluster.connection import ray_address, start_ray
from search.cluster.inspector import Inspector, write_token
from search.config.schema import StudyConfig
from search.config.settings import ResourceSettings

ANSWER_SECONDS = 30.0
STRIKES = 3
IDLE_SECONDS = 20.0
PAUSE_SECONDS = 1.0

Make = Callable[[ShardTask], ShardDone]
Warn = Callable[[str], None]


def prepare_study(
    config: StudyConfig, progress: Progress | None = None, warn: Warn = lambda message: None
) -> Store:
    """Open a study's prepared data; make them first where they are not there.

    Args:
        config: The study. On a cluster that runs already, its nodes share the work; the Ray that
            a study starts for itself is this machine alone, which needs none.
        progress: Called with (images done, images in all); on a cluster a shard at a time.
        warn: Told of nodes that take no part, or no part any more.

    Raises:
        data_pipeline.problems.DataError: listing every bad file.
        search.errors.RunError: where there is no such cluster.
    """
    joined = ray.is_initialized() or ray_address(config.resources) is not None
    across = AcrossCluster(config.resources, warn) if joined else None
    return prepare(config.data, progress=progress, across=across)


def prepare_folds(
    config: StudyConfig, progress: Progress | None = None, warn: Warn = lambda message: None
) -> tuple[Store, ...]:
    """Open the prepared data of each fold that trials are trained on, the study's own first.

    Without folds these are the study's alone. Arguments and errors as of :func:`prepare_study`.
    """
    folds = config.fold_data()
    own = prepare_study(config, progress, warn)
    return own, *(prepare(data, progress=progress) for data in folds[1:])


@dataclass
class _Node:
    """A node that takes part.

    Attributes:
        id: Ray's.
        name: Its address.
        free: Tasks that it could begin now.
        strikes: Tasks that have failed on it.
    """

    id: str
    name: str
    free: int
    strikes: int = 0


class AcrossCluster:
    """Makes shards on the nodes of a cluster: a task each, a CPU each, no more than run at once.

    Args:
        resources: Where Ray is; connected to for the time of the preparation, where it is not yet.
        warn: As :func:`prepare_study` takes it.
        seconds: How long a node may take to say what it sees.
    """

    def __init__(
        self, resources: ResourceSettings, warn: Warn, seconds: float = ANSWER_SECONDS
    ) -> None:
        self._resources = resources
        self._warn = warn
        self._seconds = seconds
        self._helped: list[Any] = []  # tasks whose shards were made here meanwhile

    def __call__(
        self, make: Make, tasks: Sequence[ShardTask]
    ) -> Generator[ShardDone, None, None] | None:
        """Yield what becomes of each task; None: nobody else can help, make them here."""
        stack = contextlib.ExitStack()
        with contextlib.ExitStack() as unless_run:
            unless_run.enter_context(stack)
            if not ray.is_initialized():
                start_ray(self._resources)
                stack.callback(ray.shutdown)
            # A node's processes have a working directory of their own.
            tasks = [_absolute(task) for task in tasks]
            crew = self._crew(tasks) if tasks else []
            helped = not all(_is_here(node) for node in crew)
            if helped:
                unless_run.pop_all()
        return self._run(make, tasks, crew, stack) if helped else None

    def _crew(self, tasks: Sequence[ShardTask]) -> list[_Node]:
        """Return the nodes that take part; say why others do not."""
        nodes = [n for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0) >= 1]
        if all(_is_here(_node(node)) for node in nodes):
            return []
        with _token(tasks[0].folder.parent) as token:
            hindered = _ask(nodes, token, _sizes(tasks), self._seconds)
        crew = []
        for node in nodes:
            why = hindered[node["NodeID"]]
            if why is None:
                crew.append(_node(node))
            else:
                self._warn(f"{_node(node).name} takes no part in preparing the data: {why}")
        if all(_is_here(node) for node in crew):
            self._warn("the data are prepared on this machine alone: no other node can help")
        return crew

    def _run(
        self,
        make: Make,
        tasks: Sequence[ShardTask],
        crew: list[_Node],
        stack: contextlib.ExitStack,
    ) -> Generator[ShardDone, None, None]:
        waiting = deque(tasks)
        running: dict[Any, tuple[ShardTask, _Node]] = {}
        with stack:
            try:
                while waiting or running:
                    _hand_out(ray.remote(make), waiting, running, crew)
                    if not running:  # nobody is left
                        yield make(waiting.popleft())
                        continue
                    ended, _ = ray.wait(list(running), timeout=IDLE_SECONDS)
                    if not ended:
                        yield self._help(make, running)
                    for reference in ended:
                        task, node = running.pop(reference)
                        node.free += 1
                        try:
                            yield ray.get(reference)
                        except ray.exceptions.RayError as error:
                            waiting.appendleft(task)
                            self._strike(node, crew, error)
            finally:
                for reference in (*running, *self._helped):
                    ray.cancel(reference, force=True)

    def _help(self, make: Make, running: dict[Any, tuple[ShardTask, _Node]]) -> ShardDone:
        """Make a shard here whose task has perhaps not begun: the cluster may be full for hours.

        Should it begin after all, it finds the shard there; its node is given no other meanwhile.
        """
        if not self._helped:
            self._warn("the cluster's CPUs are taken: this machine helps to prepare the data")
        reference = next(reversed(running))
        task, _ = running.pop(reference)
        self._helped.append(reference)
        return make(task)

    def _strike(self, node: _Node, crew: list[_Node], error: Exception) -> None:
        """Count a failure against its node; who is dead, or fails again and again, goes.

        When the last has gone the driver makes what is left, and raises what is wrong with it.
        """
        node.strikes += 1
        time.sleep(PAUSE_SECONDS)  # of a node that dies, Ray hears a moment later
        alive = {n["NodeID"] for n in ray.nodes() if n["Alive"]}
        if node in crew and (node.strikes >= STRIKES or node.id not in alive):
            crew.remove(node)
            why = "it is lost" if node.id not in alive else last_line(error)
            self._warn(f"{node.name} takes no part in preparing the data any more: {why}")


def _hand_out(
    remote: Any,
    waiting: deque[ShardTask],
    running: dict[Any, tuple[ShardTask, _Node]],
    crew: Sequence[_Node],
) -> None:
    """Give each node a task in turn, so that none is idle while another has many."""
    while waiting and (free := [node for node in crew if node.free > 0]):
        for node in free[: len(waiting)]:
            task = waiting.popleft()
            # Tried again here, on a node that lives.
            options = remote.options(num_cpus=1, max_retries=0, scheduling_strategy=_on(node.id))
            running[options.remote(task)] = task, node
            node.free -= 1


def _node(node: Mapping[str, Any]) -> _Node:
    name = f"{node['NodeManagerAddress']} ({node['NodeID'][:6]})"
    return _Node(node["NodeID"], name, int(node["Resources"].get("CPU", 0)))


def _is_here(node: _Node) -> bool:
    return bool(node.id == ray.get_runtime_context().get_node_id())


def _on(node_id: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node_id, soft=False)


def _absolute(task: ShardTask) -> ShardTask:
    if task.root.is_absolute():
        return task
    items = tuple(
        replace(item, image=item.image.absolute(), mask=item.mask.absolute()) for item in task.items
    )
    return replace(task, root=task.root.absolute(), items=items)


# What a node must see


@contextlib.contextmanager
def _token(folder: Path) -> Iterator[Path]:
    """Write a file for the nodes to find, and remove it and theirs."""
    token = folder / f".token-{uuid.uuid4().hex[:12]}"
    token.mkdir()
    try:
        write_token(token, "driver")
        yield token
    finally:
        for path in token.iterdir():
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            token.rmdir()


def _sizes(tasks: Sequence[ShardTask]) -> dict[str, int]:
    """Return some of the data set's files, to be found with these sizes."""
    items = (tasks[0].items[0], tasks[len(tasks) // 2].items[0], tasks[-1].items[-1])
    files = {file for item in items for file in (item.image, item.mask)}
    return {str(file): file.stat().st_size for file in files if file.exists()}


def _decoders() -> dict[str, str]:
    return {"NumPy": np.__version__, "OpenCV": cv2.__version__, "machine": platform.machine()}


def _ask(
    nodes: Sequence[Mapping[str, Any]], token: Path, sizes: Mapping[str, int], seconds: float
) -> dict[str, str | None]:
    """Return what hinders each node, all asked at once; None: nothing."""
    task = ray.remote(hindrance)
    asked = {
        task.options(num_cpus=0, scheduling_strategy=_on(node["NodeID"])).remote(
            str(token), node["NodeID"], dict(sizes), _decoders()
        ): node["NodeID"]
        for node in nodes
    }
    done, silent = ray.wait(list(asked), num_returns=len(asked), timeout=seconds)
    answers: dict[str, str | None]
    answers = {asked[r]: f"expected an answer in {seconds:g} s, got none" for r in silent}
    for reference in done:
        try:
            answers[asked[reference]] = ray.get(reference)
        except (ray.exceptions.RayError, ImportError) as error:
            answers[asked[reference]] = last_line(error)
    for reference in silent:
        ray.cancel(reference, force=True)
    return answers


def hindrance(
    token: str, name: str, sizes: Mapping[str, int], decoders: Mapping[str, str]
) -> str | None:
    """Say why this node cannot make shards; None where it can.

    Args:
        token: A folder in which the driver has left a file, beside the stores.
        name: Of the file that this node writes there.
        sizes: Files of the data set and their sizes.
        decoders: What the records' bytes depend on, beside this project's code, which travels.
    """
    there = _decoders()
    if there != dict(decoders):
        return f"expected {dict(decoders)}, received {there}"
    for path, size in sizes.items():
        found = os.stat(path).st_size if os.path.exists(path) else None
        if found != size:
            return f"it does not see the data: expected {path} of {size} bytes, received {found}"
    unread = Inspector().read(token, ["driver"])
    problem = unread.get("driver") or write_token(Path(token), name)
    if problem:
        return f"it does not share the folder of stores, {Path(token).parent}: {problem}"
    return None
