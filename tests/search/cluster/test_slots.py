"""What fits beside what, on nodes that are written down; Ray is not needed."""

from __future__ import annotations

import random

import pytest

from search.cluster.placement import GB, Bundle, Node
from search.cluster.slots import Slots

TWO_NODES = [Node({"CPU": 4, "memory": 8 * GB}), Node({"CPU": 2, "memory": 4 * GB})]


def slots_on(nodes: list[Node]) -> Slots:
    slots = Slots()
    slots.set_nodes(nodes)
    return slots


def fill(slots: Slots, bundle: Bundle) -> int:
    """Take as many as fit; return their number."""
    count = 0
    while slots.room(bundle):
        slots.take(f"{bundle}{count}", bundle)
        count += 1
    return count


@pytest.mark.parametrize(
    ("bundle", "count"),
    [
        ({"CPU": 1.0}, 6),
        ({"CPU": 0.5}, 12),
        ({"CPU": 3.0}, 1),
        ({"CPU": 1.0, "memory": 3.0 * GB}, 3),
        ({"CPU": 1.0, "GPU": 1.0}, 0),
        ({"CPU": 8.0}, 0),
    ],
)
def test_a_trial_lies_on_one_node(bundle: Bundle, count: int) -> None:
    assert fill(slots_on(TWO_NODES), bundle) == count


@pytest.mark.parametrize(("share", "count"), [(1 / 3, 6), (0.5, 4), (0.7, 2), (1.0, 2), (2.0, 1)])
def test_a_share_of_a_gpu_lies_on_one_card(share: float, count: int) -> None:
    assert fill(slots_on([Node({"CPU": 64, "GPU": 2})]), {"CPU": 1.0, "GPU": share}) == count


def test_small_shares_are_put_together_so_that_a_whole_card_stays_free() -> None:
    slots = slots_on([Node({"CPU": 64, "GPU": 2})])
    slots.take("a", {"CPU": 1.0, "GPU": 0.25})
    slots.take("b", {"CPU": 1.0, "GPU": 0.5})

    assert slots.room({"CPU": 1.0, "GPU": 1.0})


def test_sizes_mix_and_what_ends_makes_room() -> None:
    slots = slots_on([Node({"CPU": 8, "memory": 8 * GB})])
    slots.take("large", {"CPU": 1.0, "memory": 6.0 * GB})
    slots.take("small", {"CPU": 1.0, "memory": 1.0 * GB})

    assert slots.room({"CPU": 1.0, "memory": 1.0 * GB})
    assert not slots.room({"CPU": 1.0, "memory": 2.0 * GB})
    slots.free("large")
    slots.free("large")
    assert slots.room({"CPU": 1.0, "memory": 7.0 * GB})
    assert not slots.room({"CPU": 1.0, "memory": 7.1 * GB})
    assert len(slots) == 1


def test_while_a_trial_waits_there_is_room_for_no_other_and_it_is_put_first() -> None:
    slots = slots_on([Node({"CPU": 2, "memory": 4 * GB})])
    slots.take("a", {"CPU": 1.0, "memory": 2.0 * GB})
    slots.take("large", {"CPU": 1.0, "memory": 4.0 * GB})

    assert not slots.room({"CPU": 1.0, "memory": 1.0 * GB})
    slots.free("a")
    assert not slots.room({"CPU": 1.0, "memory": 1.0 * GB})
    slots.free("large")
    assert slots.room({"CPU": 1.0, "memory": 4.0 * GB})


def test_a_lost_node_leaves_its_trials_waiting_and_a_new_one_takes_them() -> None:
    slots = slots_on(TWO_NODES)
    assert fill(slots, {"CPU": 1.0}) == 6
    slots.set_nodes(TWO_NODES[:1])
    assert not slots.room({"CPU": 1.0})
    slots.set_nodes([*TWO_NODES, Node({"CPU": 1})])
    assert slots.room({"CPU": 1.0})


def test_nothing_is_lost_or_gained_over_many_trials() -> None:
    slots, random_state = slots_on(TWO_NODES), random.Random(0)
    running: list[str] = []
    for number in range(500):
        bundle = {"CPU": 1.0, "memory": random_state.choice([0.5, 1.0, 2.0, 4.0]) * GB}
        slots.take(str(number), bundle)
        running.append(str(number))
        if random_state.random() < 0.9 or len(running) > 8:
            slots.free(running.pop(random_state.randrange(len(running))))
    for name in running:
        slots.free(name)

    assert len(slots) == 0
    assert fill(slots, {"CPU": 1.0, "memory": 1.0 * GB}) == 6
