"""How much of a node a trial gets: plain arithmetic, no Ray.

``auto`` follows the memory that ``model.cost.training_memory`` predicts. Sizes come in steps, so
that trials of like size have equal bundles: Tune hands a worker process on only to those.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from model.cost import MemoryEstimate
from model.processor import Processor
from search.config.settings import ResourceSettings
from search.process.memory import CUDA_CONTEXT

GB = 10**9
SMALLEST_STEP = 0.5 * GB
GPU_SHARES = (0.125, 0.25, 0.5, 1.0)

Bundle = dict[str, float]
NOTHING = MemoryEstimate(0, 0, 0)


@dataclass(frozen=True)
class Node:
    """A node as Ray knows it.

    Attributes:
        resources: Ray's totals: CPU, GPU, memory (bytes) and others.
        gpu_memory: Bytes of its smallest card; None where there is none or it is not known.
        processor: What TensorFlow finds there; None where it is not known.
    """

    resources: Mapping[str, float]
    gpu_memory: int | None = None
    processor: Processor | None = None


def without(node: Node, cpus: float) -> Node:
    """Return a node with fewer CPUs."""
    if not cpus:
        return node
    left = {**node.resources, "CPU": node.resources.get("CPU", 0) - cpus}
    return replace(node, resources=left)


def trial_bundle(
    resources: ResourceSettings,
    estimate: MemoryEstimate,
    nodes: Sequence[Node],
    factor: float = 1.0,
) -> Bundle:
    """Return what a trial reserves on one node, in Ray's terms (memory in bytes).

    Args:
        resources: ``gpus_per_trial`` and ``memory_per_trial`` are ``auto`` or numbers.
        estimate: Of the trial's model.
        nodes: The cluster's; nothing is asked for that none of them has, but for CPUs.
        factor: 2 for a trial that ran out of memory with 1: twice the memory, and twice the share
            of a card.

    Returns:
        CPU, and where they are reserved GPU and memory. Where the trial is predicted to need more
        than any node has, all that the largest one has: see :func:`placement_problem`.
    """
    bundle: Bundle = {"CPU": resources.cpus_per_trial}
    gpus = _gpus(resources, estimate, nodes, factor)
    if gpus:
        bundle["GPU"] = gpus
    memory = _memory(resources, estimate, factor, on_gpu=bool(gpus))
    if memory:
        most = _most(nodes, "memory")
        # As a number of the user's it is left alone: that no node has it is an error of the run.
        capped = resources.memory_per_trial == "auto" or factor > 1
        bundle["memory"] = int(min(memory, most)) if capped and most else int(memory)
    return bundle


def smallest_bundle(resources: ResourceSettings, nodes: Sequence[Node]) -> Bundle:
    """Return a bundle that no trial's is smaller than: what must be free to propose at all."""
    return trial_bundle(resources, NOTHING, nodes)


def placement_problem(
    resources: ResourceSettings, estimate: MemoryEstimate, nodes: Sequence[Node]
) -> str | None:
    """Say why a trial is predicted to run out of memory wherever it is placed; None if it fits.

    Only of what is ``auto``: a number in the config is the user's own judgement.
    """
    cards = [node.gpu_memory for node in nodes if node.gpu_memory]
    on_gpu = bool(_gpus(resources, estimate, nodes, 1))
    if resources.gpus_per_trial == "auto" and cards:
        needed = estimate.device + CUDA_CONTEXT
        if needed > max(cards):
            return _too_much("the largest GPU", needed, max(cards))
    most = _most(nodes, "memory")
    if resources.memory_per_trial == "auto" and most:
        needed = estimate.host if on_gpu else estimate.total
        if needed > most:
            return _too_much("the largest node", needed, most)
    return None


def can_grow(
    resources: ResourceSettings, estimate: MemoryEstimate, nodes: Sequence[Node], factor: float = 2
) -> bool:
    """Tell whether a larger share would be larger: not where all of a card or node was had.

    Nor where nothing was reserved: then the trial is given no more than before.
    """
    return trial_bundle(resources, estimate, nodes, factor) != trial_bundle(
        resources, estimate, nodes
    )


def memory_step(needed: float) -> float:
    """Round bytes up to 0.5 GB times a power of the square root of 2."""
    if needed <= SMALLEST_STEP:
        return SMALLEST_STEP
    steps = math.ceil(2 * math.log2(needed / SMALLEST_STEP) - 1e-9)
    return float(round(SMALLEST_STEP * 2 ** (steps / 2)))


def _too_much(where: str, needed: float, there: float) -> str:
    return (
        f"predicted to need {needed / GB:.1f} GB of memory in training, where {where} has "
        f"{there / GB:.1f} GB"
    )


def _most(nodes: Sequence[Node], resource: str) -> float:
    return max((node.resources.get(resource, 0) for node in nodes), default=0)


def _memory(
    resources: ResourceSettings, estimate: MemoryEstimate, factor: float, *, on_gpu: bool
) -> float:
    if resources.memory_per_trial is None:
        return 0
    if resources.memory_per_trial == "auto":
        return memory_step(factor * (estimate.host if on_gpu else estimate.total))
    return factor * resources.memory_per_trial * GB


def _gpus(
    resources: ResourceSettings, estimate: MemoryEstimate, nodes: Sequence[Node], factor: float
) -> float:
    asked = resources.gpus_per_trial
    if asked != "auto":
        # TensorFlow trains a trial on one card, so more than one does not give it more memory.
        return min(1.0, factor * asked) if asked < 1 else asked
    with_gpu = [node for node in nodes if node.resources.get("GPU", 0) >= 1]
    if not with_gpu:
        return 0
    # Ray may place the trial on any of them, so the smallest card decides.
    cards = [node.gpu_memory for node in with_gpu if node.gpu_memory]
    if len(cards) < len(with_gpu):
        return 1.0
    needed = factor * estimate.device + CUDA_CONTEXT
    return next((share for share in GPU_SHARES if share * min(cards) >= needed), 1.0)
