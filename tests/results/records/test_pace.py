"""How long a search goes on, where nodes differ."""

from __future__ import annotations

import pytest

from results.records.epochs import Epoch
from results.records.pace import Paces, Stint, TrainingNode, node_of, seconds_left
from tests.epochs import epoch_of


def epoch(host: str, speed: float | None, **worker: str) -> Epoch:
    return epoch_of(gflops_per_second=speed, worker={"host": host, "pid": 1, **worker})


def paces(**speeds: float) -> Paces:
    """Three trials on each host, of models of which one is slow and one is fast."""
    found = Paces()
    for host, speed in speeds.items():
        for trial, share in enumerate((0.1, 1.0, 3.0)):
            found.count(f"{host}{trial}", epoch(host, speed * share))
    return found


A, B = TrainingNode("a", ""), TrainingNode("b", "")


def test_nodes_of_one_host_are_told_apart_by_their_kernels() -> None:
    plain, fast = epoch("a", 1.0), epoch("a", 1.0, kernels="onednn", instructions="AVX-512")

    assert node_of(plain.worker) == A
    assert node_of(fast.worker) == TrainingNode("a", "onednn AVX-512")
    assert node_of(None) is None


def test_slowness_is_by_the_median_over_trials() -> None:
    found = paces(a=100.0, b=25.0)
    found.count("old", epoch("c", None))  # an epoch of an older version
    found.count("older", epoch_of())

    assert found.slowness(A) == 1
    assert found.slowness(B) == 4
    assert found.unequal
    assert found.slowness(None) is None


def test_a_trials_last_epoch_counts_and_of_trials_the_last() -> None:
    found = paces(a=100.0)
    for trial in range(20):
        found.count(trial, epoch("b", 1.0))
    for trial in range(20, 36):
        found.count(trial, epoch("b", 1.0))
        found.count(trial, epoch("b", 50.0))

    assert found.slowness(B) == 2


def test_of_a_node_that_has_trained_little_its_kind_tells() -> None:
    def on(host: str, speed: float, kernels: str) -> Epoch:
        return epoch(host, speed, kernels=kernels, instructions="AVX2")

    found = Paces()
    for trial in range(4):
        found.count(trial, on("a", 100.0, "onednn"))
        found.count(10 + trial, on(f"b{trial}", 20.0, "eigen"))
    found.count(20, on("new", 1.0, "eigen"))  # a tiny model

    assert found.slowness(TrainingNode("new", "eigen AVX2")) == 5
    assert found.slowness(TrainingNode("unseen", "eigen AVX2")) == 5
    assert found.slowness(TrainingNode("unseen", "another")) is None


def test_a_single_trial_tells_nothing() -> None:
    found = Paces()
    found.count(0, epoch("a", 100.0))
    found.count(1, epoch("b", 1.0))

    assert found.slowness(A) is None
    assert not found.unequal


def test_a_slow_node_gets_its_share_of_what_is_left() -> None:
    # A trial takes 100 s on a, 400 s on b; so far only a has ended any.
    ended = [Stint(A, 100.0)] * 3
    running = [Stint(A, 0.0), Stint(B, 320.0)]

    left = seconds_left(paces(a=80.0, b=20.0), 12, ended, running)

    # 12 trials of 100 s, but for the 80 of them that b has done; 1.25 such seconds a second.
    assert left == pytest.approx((12 * 100 - 80) / 1.25)


def test_trials_ended_on_slow_nodes_count_by_what_they_would_take_on_fast_ones() -> None:
    ended, running = [Stint(A, 100.0), Stint(B, 400.0)], [Stint(A, 0.0)]

    assert seconds_left(paces(a=80.0, b=20.0), 5, ended, running) == pytest.approx(500)


def test_the_last_trial_on_a_slow_node_is_waited_for() -> None:
    ended, running = [Stint(A, 100.0)], [Stint(A, 90.0), Stint(B, 10.0)]

    assert seconds_left(paces(a=80.0, b=20.0), 2, ended, running) == pytest.approx(390)
    # Fewer are asked for than run, and they have taken longer than any before.
    assert seconds_left(paces(a=80.0, b=20.0), 0, ended, [Stint(A, 900.0)]) == 0


def test_a_trial_whose_node_is_not_known_may_be_on_the_slowest() -> None:
    ended = [Stint(A, 100.0), Stint(B, 400.0)]

    left = seconds_left(paces(a=80.0, b=20.0), 2, ended, [Stint(None, 0.0), Stint(A, 0.0)])

    assert left == pytest.approx(400)


@pytest.mark.parametrize(
    ("speeds", "ended", "running"),
    [
        ({"a": 1.0}, [Stint(A, 1.0)], [Stint(A, 1.0)]),
        ({"a": 1.0, "b": 1.2}, [Stint(A, 1.0)], [Stint(A, 1.0)]),
        ({"a": 1.0, "b": 2.0}, [], [Stint(A, 1.0)]),
        ({"a": 1.0, "b": 2.0}, [Stint(None, 1.0)], [Stint(A, 1.0)]),
        ({"a": 1.0, "b": 2.0}, [Stint(A, 1.0)], []),
    ],
    ids=["one node", "equal nodes", "none ended", "ended who knows where", "none runs"],
)
def test_nothing_is_estimated_where_nodes_need_no_telling_apart(
    speeds: dict[str, float], ended: list[Stint], running: list[Stint]
) -> None:
    assert seconds_left(paces(**speeds), 5, ended, running) is None
