"""Whether trials share a pipeline on a cluster, and what its workers take: no Ray here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search.cluster.placement import Bundle, Node, smallest_bundle, without
from search.cluster.slots import slots_on
from search.config.schema import StudyConfig
from search.config.settings import PipelineSettings, ResourceSettings
from search.config.sharing_rules import sharing_problems

AUTO_TRIALS = 4
LISTENS = "the service listens on every interface of its machines and asks for no token"


class NoRoomError(ValueError):
    """A pipeline that is to be shared, where no node has room for its workers."""


@dataclass(frozen=True)
class SharingPlan:
    """What was decided.

    Attributes:
        shares: Whether trials share a pipeline.
        why: Why, or why not.
        warnings: What a user who asked for it must know.
    """

    shares: bool
    why: str
    warnings: tuple[str, ...] = ()


def held_cpus(
    pipeline: PipelineSettings, resources: ResourceSettings, nodes: Sequence[Node]
) -> list[float]:
    """Return how many CPUs of each node the shared pipeline's workers reserve.

    A node has workers where they leave room for a trial, or where no trial has room anyway, such
    as one without a GPU.
    """
    needed = float(pipeline.workers_per_node * pipeline.cpus_per_worker)
    bundle = smallest_bundle(resources, nodes)
    return [needed if _has_workers(node, bundle, needed) else 0.0 for node in nodes]


def _has_workers(node: Node, bundle: Bundle, needed: float) -> bool:
    if node.resources.get("CPU", 0) < needed:
        return False
    return slots_on(without(node, needed), bundle) > 0 or slots_on(node, bundle) == 0


def plan(config: StudyConfig, nodes: Sequence[Node], *, own: bool, token: bool) -> SharingPlan:
    """Decide whether trials share a pipeline.

    Args:
        config: The study.
        nodes: The cluster's.
        own: Whether the cluster was started for the study, on loopback.
        token: Whether it asks whoever connects for a token.

    Raises:
        NoRoomError: where ``sharing: service`` is asked for and no node has room for a worker.
    """
    pipeline = config.pipeline
    if pipeline.sharing == "local":
        return SharingPlan(False, "pipeline.sharing is local")
    held = held_cpus(pipeline, config.resources, nodes)
    alone = _trials_at_once(config, nodes, [0.0] * len(nodes))
    trials = _trials_at_once(config, nodes, held)
    open_to_all = "Ray is on loopback, and" if own else "the cluster wants a token, and"
    exposed = f"{open_to_all} {LISTENS}" if own or token else None
    if pipeline.sharing == "service":
        if not any(held):
            raise NoRoomError(_no_room(pipeline, nodes))
        costs = f"the shared pipeline's workers leave room for {trials} of {alone} trials at once"
        warnings = [f"pipeline.sharing is service: {exposed}"] if exposed else []
        return SharingPlan(
            True,
            "pipeline.sharing is service",
            (*warnings, *([costs] if trials < alone else ())),
        )
    problem = exposed or next(sharing_problems(config), None)
    if problem is None and not any(held):
        problem = "no node has CPUs for a worker beside a trial"
    if problem is None and trials < alone:
        problem = f"its workers would leave room for {trials} of {alone} trials at once"
    if problem is None and trials < AUTO_TRIALS:
        problem = f"{trials} trials run at once, and it pays from {AUTO_TRIALS}"
    return SharingPlan(problem is None, problem or f"{trials} trials run at once")


def _trials_at_once(config: StudyConfig, nodes: Sequence[Node], held: Sequence[float]) -> int:
    bundle = smallest_bundle(config.resources, nodes)
    trials = sum(slots_on(without(n, h), bundle) for n, h in zip(nodes, held, strict=True))
    limits = (config.resources.max_concurrent, config.search.num_trials)
    return min([trials, *(limit for limit in limits if limit is not None)])


def _no_room(pipeline: PipelineSettings, nodes: Sequence[Node]) -> str:
    needed = pipeline.workers_per_node * pipeline.cpus_per_worker
    return (
        f"pipeline.sharing: expected a node with {needed} CPUs (workers_per_node x "
        f"cpus_per_worker) beside a trial, received nodes of "
        f"{[node.resources.get('CPU', 0) for node in nodes]} CPUs"
    )
