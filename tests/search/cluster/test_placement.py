"""What a trial reserves, on nodes that are written down; Ray is not needed."""

from __future__ import annotations

from typing import Any

import pytest

from model.config import ModelConfig
from model.cost import MemoryEstimate, training_memory
from search.cluster.placement import (
    GB,
    Node,
    can_grow,
    memory_step,
    placement_problem,
    smallest_bundle,
    trial_bundle,
)
from search.config.settings import ResourceSettings
from search.process.memory import CUDA_CONTEXT

GIB = 2**30
CPU_NODE = Node({"CPU": 16, "memory": 32 * GB})
GPU_NODE = Node({"CPU": 16, "memory": 64 * GB, "GPU": 2}, gpu_memory=16 * GIB)
SMALL = MemoryEstimate(state=0, activations=0, workspace=100_000_000)


def on_device(needed: float) -> MemoryEstimate:
    """An estimate whose model needs so many bytes."""
    return MemoryEstimate(0, round(needed / 1.2), 0)


def settings(**values: Any) -> ResourceSettings:
    return ResourceSettings(**values)


def test_numbers_are_reserved_as_they_stand() -> None:
    resources = settings(cpus_per_trial=2, gpus_per_trial=0.25, memory_per_trial=3)

    assert trial_bundle(resources, SMALL, [CPU_NODE]) == {"CPU": 2, "GPU": 0.25, "memory": 3 * GB}
    assert trial_bundle(settings(), SMALL, [GPU_NODE]) == {"CPU": 1}


@pytest.mark.parametrize(
    ("needed", "share"),
    [
        (1 * GIB, 0.125),
        (2 * GIB - CUDA_CONTEXT, 0.125),
        (2 * GIB - CUDA_CONTEXT + 1000, 0.25),
        (7 * GIB, 0.5),
        (8 * GIB, 1.0),
        (40 * GIB, 1.0),
    ],
)
def test_the_smallest_share_that_covers_the_model_and_the_context(
    needed: float, share: float
) -> None:
    resources = settings(gpus_per_trial="auto")

    assert trial_bundle(resources, on_device(needed), [GPU_NODE])["GPU"] == share


def test_the_smallest_card_decides_and_an_unknown_one_is_not_shared() -> None:
    resources, needed = settings(gpus_per_trial="auto"), on_device(3 * GIB)
    large = Node({"GPU": 8}, gpu_memory=80 * GIB)

    assert trial_bundle(resources, needed, [large])["GPU"] == 0.125
    assert trial_bundle(resources, needed, [large, GPU_NODE, CPU_NODE])["GPU"] == 0.25
    assert trial_bundle(resources, needed, [large, Node({"GPU": 1})])["GPU"] == 1.0
    assert "GPU" not in trial_bundle(resources, needed, [CPU_NODE])


def test_reserved_memory_covers_the_prediction_in_steps() -> None:
    model = ModelConfig(num_layers=4, base_filters=16)
    resources = settings(memory_per_trial="auto")
    sizes = set()
    for batch in range(1, 33):
        estimate = training_memory(model, (128, 128, 1), 6, batch, kernels="onednn")
        memory = trial_bundle(resources, estimate, [CPU_NODE])["memory"]
        assert estimate.total <= memory <= 1.45 * estimate.total
        sizes.add(memory)

    # Few sizes, so that worker processes are handed on.
    assert len(sizes) <= 6
    assert min(sizes) >= smallest_bundle(resources, [CPU_NODE])["memory"]


def test_memory_steps_are_half_a_gigabyte_times_powers_of_the_root_of_two() -> None:
    assert [memory_step(x * GB) / GB for x in (0.1, 0.5, 0.6, 0.75, 1, 1.1, 4)] == pytest.approx(
        [0.5, 0.5, 0.7071, 1, 1, 1.4142, 4], rel=1e-4
    )


def test_what_no_node_has_is_a_problem_and_is_placed_on_all_of_the_largest() -> None:
    resources = settings(memory_per_trial="auto", gpus_per_trial="auto")
    huge = on_device(100 * GB)

    assert trial_bundle(resources, huge, [CPU_NODE])["memory"] == 32 * GB
    assert placement_problem(resources, huge, [CPU_NODE]) == (
        "predicted to need 100.9 GB of memory in training, where the largest node has 32.0 GB"
    )
    assert "the largest GPU has 17.2 GB" in (placement_problem(resources, huge, [GPU_NODE]) or "")
    assert placement_problem(resources, SMALL, [CPU_NODE, GPU_NODE]) is None
    # Numbers are the user's own judgement.
    assert placement_problem(settings(), huge, [CPU_NODE]) is None


def test_a_larger_share_is_twice_the_memory_and_the_share() -> None:
    resources = settings(memory_per_trial=3, gpus_per_trial=0.25)
    assert trial_bundle(resources, SMALL, [GPU_NODE], 2) == {
        "CPU": 1,
        "GPU": 0.5,
        "memory": 6 * GB,
    }
    auto = settings(memory_per_trial="auto", gpus_per_trial="auto")
    once, twice = (trial_bundle(auto, on_device(3 * GIB), [GPU_NODE], f) for f in (1, 2))
    assert (once["GPU"], twice["GPU"]) == (0.25, 0.5)
    assert twice["memory"] >= 1.9 * once["memory"]


@pytest.mark.parametrize(
    ("values", "estimate", "node", "grows"),
    [
        ({}, SMALL, CPU_NODE, False),
        ({"memory_per_trial": 3}, SMALL, CPU_NODE, True),
        ({"memory_per_trial": 32}, SMALL, CPU_NODE, False),
        ({"memory_per_trial": "auto"}, SMALL, CPU_NODE, True),
        ({"memory_per_trial": "auto"}, on_device(40 * GB), CPU_NODE, False),
        ({"gpus_per_trial": 0.5}, SMALL, GPU_NODE, True),
        ({"gpus_per_trial": 1}, SMALL, GPU_NODE, False),
        ({"gpus_per_trial": 2}, SMALL, GPU_NODE, False),
        ({"gpus_per_trial": "auto"}, on_device(12 * GIB), GPU_NODE, False),
    ],
)
def test_a_retry_with_more_is_worth_it_only_where_there_is_more(
    values: dict[str, Any], estimate: MemoryEstimate, node: Node, grows: bool
) -> None:
    assert can_grow(settings(**values), estimate, [node]) is grows
