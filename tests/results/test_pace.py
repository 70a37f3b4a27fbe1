"""How long a search goes on, where nodes differ."""

from __future__ import annotations

from typing import Any

import pytest

from results.pace import Paces, Stint, node_of, seconds_left


def record(host: str, speed: float | None, **worker: str) -> dict[str, Any]:
    return {
        "epoch": 1,
        "gflops_per_second": speed,
        "worker": {"host": host, "pid": 1, **worker},
    }


def paces(**speeds: float) -> Paces:
    found = Paces()
    for host, speed in speeds.items():
        found.count(record(host, speed))
    return found


def test_nodes_of_one_host_are_told_apart_by_their_kernels() -> None:
    plain, fast = record("a", 1.0), record("a", 1.0, kernels="onednn", instructions="AVX-512")

    assert node_of(plain["worker"]) == "a"
    assert node_of(fast["worker"]) == "a onednn AVX-512"
    assert node_of(None) is node_of({}) is None


def test_slowness_is_by_the_median_of_the_last_epochs() -> None:
    found = paces(a=100.0)
    for speed in (20.0, 25.0, 1000.0):
        found.count(record("b", speed))
    found.count(record("c", None))  # an epoch of an older version
    found.count({"epoch": 1})

    assert found.slowness("a") == 1
    assert found.slowness("b") == 4
    assert found.slowness("c") is found.slowness(None) is None
    assert found.nodes == 2


def test_only_the_last_epochs_count() -> None:
    found = paces(a=100.0)
    for speed in [1.0] * 20 + [50.0] * 16:
        found.count(record("b", speed))

    assert found.slowness("b") == 2


def test_a_slow_node_gets_its_share_of_what_is_left() -> None:
    # A trial takes 100 s on a, 400 s on b; so far only a has ended any.
    ended = [Stint("a", 100.0)] * 3
    running = [Stint("a", 0.0), Stint("b", 320.0)]

    left = seconds_left(paces(a=80.0, b=20.0), 12, ended, running)

    # 12 trials of 100 s, but for the 80 of them that b has done; 1.25 such seconds a second.
    assert left == pytest.approx((12 * 100 - 80) / 1.25)


def test_trials_ended_on_slow_nodes_count_by_what_they_would_take_on_fast_ones() -> None:
    ended, running = [Stint("a", 100.0), Stint("b", 400.0)], [Stint("a", 0.0)]

    assert seconds_left(paces(a=80.0, b=20.0), 5, ended, running) == pytest.approx(500)


def test_a_trial_whose_node_is_not_known_may_be_on_the_slowest() -> None:
    ended = [Stint("a", 100.0), Stint("b", 400.0)]

    left = seconds_left(paces(a=80.0, b=20.0), 1, ended, [Stint(None, 0.0)])

    assert left == pytest.approx(400)


@pytest.mark.parametrize(
    ("speeds", "ended", "running"),
    [
        ({"a": 1.0}, [Stint("a", 1.0)], [Stint("a", 1.0)]),
        ({"a": 1.0, "b": 2.0}, [], [Stint("a", 1.0)]),
        ({"a": 1.0, "b": 2.0}, [Stint(None, 1.0)], [Stint("a", 1.0)]),
        ({"a": 1.0, "b": 2.0}, [Stint("a", 1.0)], []),
    ],
    ids=["one node", "none ended", "ended who knows where", "none runs"],
)
def test_nothing_is_estimated_where_nodes_need_no_telling_apart(
    speeds: dict[str, float], ended: list[Stint], running: list[Stint]
) -> None:
    assert seconds_left(paces(**speeds), 5, ended, running) is None
