from __future__ import annotations

from typing import Any

import pytest

from search.cluster.placement import Node
from search.config.loading import config_from_tree
from search.config.schema import StudyConfig
from search.data.sharing_plan import NoRoomError, SharingPlan, held_cpus, plan


def config_of(pipeline: dict[str, Any] | None = None, **resources: Any) -> StudyConfig:
    return config_from_tree({"pipeline": pipeline or {}, "resources": resources})


def held(config: StudyConfig, *nodes: dict[str, float]) -> list[float]:
    return held_cpus(config.pipeline, config.resources, [Node(node) for node in nodes])


def planned(
    config: StudyConfig, *nodes: dict[str, float], own: bool = False, token: bool = False
) -> SharingPlan:
    return plan(config, [Node(node) for node in nodes], own=own, token=token)


GPU_NODE = {"CPU": 16.0, "GPU": 4.0}
ON_GPU = config_of(gpus_per_trial=1, cpus_per_trial=2)


def test_each_node_with_room_for_a_trial_beside_it_has_its_workers() -> None:
    assert held(config_of(), {"CPU": 8}, {"CPU": 2}, {"CPU": 1}, {}) == [1, 1, 0, 0]
    several = config_of({"workers_per_node": 2, "cpus_per_worker": 3})
    assert held(several, {"CPU": 8}, {"CPU": 6}) == [6, 0]


def test_a_node_that_holds_no_trial_has_them_anyway() -> None:
    nodes = ({"CPU": 8, "GPU": 1}, {"CPU": 4}, {"CPU": 1, "GPU": 1})
    assert held(config_of(gpus_per_trial=1), *nodes) == [1, 1, 0]


def test_auto_shares_where_four_trials_run_and_none_gives_its_place() -> None:
    assert planned(ON_GPU, GPU_NODE) == SharingPlan(True, "4 trials run at once")


@pytest.mark.parametrize(
    ("config", "node", "said"),
    [
        (ON_GPU, {"CPU": 8.0, "GPU": 4.0}, "leave room for 3 of 4 trials at once"),
        (config_of(), {"CPU": 8.0}, "leave room for 7 of 8 trials at once"),
        (config_of(max_concurrent=3), GPU_NODE, "3 trials run at once, and it pays from 4"),
        (config_of({"cpus_per_worker": 16}), GPU_NODE, "no node has CPUs for a worker"),
        (config_of({"sharing": "local"}), GPU_NODE, "pipeline.sharing is local"),
        (
            config_from_tree({"augment": {"rotation": {"float": [0.0, 20.0]}}}),
            GPU_NODE,
            "only where they augment alike",
        ),
    ],
)
def test_auto_says_why_it_does_not(config: StudyConfig, node: dict[str, float], said: str) -> None:
    found = planned(config, node)
    assert not found.shares
    assert said in found.why


@pytest.mark.parametrize("where", [{"own": True}, {"token": True}])
def test_ports_are_opened_only_where_it_is_asked_for_and_then_it_is_said(
    where: dict[str, bool],
) -> None:
    found = planned(ON_GPU, GPU_NODE, **where)
    assert not found.shares
    assert "listens on every interface" in found.why
    asked = config_of({"sharing": "service"}, gpus_per_trial=1, cpus_per_trial=2)
    found = planned(asked, GPU_NODE, **where)
    assert found.shares
    assert "listens on every interface" in found.warnings[0]


def test_who_asks_for_it_is_told_what_it_costs() -> None:
    (warning,) = planned(config_of({"sharing": "service"}), {"CPU": 2.0}, {"CPU": 2.0}).warnings
    assert "leave room for 2 of 4 trials at once" in warning


def test_service_without_room_is_an_error() -> None:
    with pytest.raises(NoRoomError, match=r"expected a node with 1 CPUs .* received nodes of"):
        planned(config_of({"sharing": "service"}), {"CPU": 1.0})
