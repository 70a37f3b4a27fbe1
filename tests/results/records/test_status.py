"""Statuses computed from tables; the files are read in test_watching.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from results.records.epochs import Epoch, Worker
from results.records.schemas import StudyFile, TrialFile
from results.records.status import (
    Epochs,
    Holder,
    Status,
    TrialFacts,
    leaders_of,
    status_of,
    waiting_share,
)
from tests.epochs import epoch_of

NOW = 1_000_000.0
HEADER = StudyFile(
    name="s",
    classes=["background", "Crack"],
    config={"search": {"num_trials": 20}, "train": {"epochs": 40}},
)
DRIVER = Holder("node1", 41, since=NOW - 1800, beat=NOW - 1)


def trial(number: int, state: str, times: tuple[float, ...] = (), **changes: Any) -> TrialFacts:
    names = ("finished", "seen", "started", "worker")
    facts = {key: changes.pop(key) for key in names if key in changes}
    last = changes.pop("last", None)
    epochs = Epochs(times, last, last)
    file = TrialFile.model_validate({"number": number, "state": state, **changes})
    return TrialFacts(file, Path("t"), epochs=epochs, **facts)


def status(*trials: TrialFacts, holder: Holder | None = DRIVER, **config: Any) -> Status:
    header = HEADER
    if config:
        tree = {"search": {"num_trials": 20, **config}, "train": {"epochs": 40}}
        header = HEADER.model_copy(update={"config": tree})
    return status_of(header, Path("d"), trials, holder, NOW, leaders_of(header, trials, 12))


@pytest.mark.parametrize(
    ("holder", "state"),
    [
        (None, "none"),
        (DRIVER, "running"),
        (Holder("node1", 41, NOW - 60, beat=NOW - 120), "silent"),
        (Holder("node1", 41, NOW - 60, beat=NOW - 1, gone=True), "silent"),
    ],
)
def test_a_driver_runs_is_silent_or_is_not(holder: Holder | None, state: str) -> None:
    assert status(holder=holder).driver.state == state


def test_the_pace_is_that_of_the_present_run() -> None:
    before, within = NOW - 3000, NOW - 900
    now = status(
        trial(0, "COMPLETE", (before, within), value=0.3, finished=within),
        trial(1, "PRUNED", (before,), value=0.2, finished=before),
        trial(2, "RUNNING", (within, NOW - 10)),
    )

    assert now.pace.seconds == 1800
    assert now.pace.trials_per_hour == pytest.approx(2)
    assert now.pace.epochs_per_hour == pytest.approx(6)
    assert now.eta_seconds == pytest.approx(18 / 2 * 3600)


def test_a_finished_study_keeps_its_last_pace_and_has_nothing_left() -> None:
    done = [trial(n, "COMPLETE", value=0.1, finished=1000.0 + 60 * n) for n in range(11)]
    now = status(*done, holder=None)

    assert now.pace.trials_per_hour == pytest.approx(60)
    assert now.eta_seconds is None


def test_the_time_budget_bounds_what_is_left() -> None:
    done = trial(0, "COMPLETE", value=0.1, finished=NOW - 5)

    assert status(done, time_budget_minutes=40).eta_seconds == pytest.approx(600)
    assert status(time_budget_minutes=40).eta_seconds == pytest.approx(600)
    assert status().eta_seconds is None


def on(host: str, speed: float) -> Epoch:
    """An epoch that was trained there."""
    return epoch_of(gflops_per_second=speed, worker={"host": host, "pid": 1})


def test_what_is_left_is_estimated_by_node_where_nodes_differ() -> None:
    fast = {"finished": NOW - 300, "started": NOW - 400, "last": on("a", 80.0)}
    earlier = {"finished": NOW - 4000, "started": NOW - 9000, "last": on("b", 20.0)}
    trials = [
        *(trial(n, "COMPLETE", value=0.1, **fast) for n in range(3)),
        # Ended before this run: they say how slow b is, and nothing of what trials take now.
        *(trial(n, "COMPLETE", value=0.1, **earlier) for n in range(3, 6)),
        trial(6, "RUNNING", started=NOW, worker=Worker("a", 1)),
        trial(7, "RUNNING", started=NOW - 360, last=on("b", 20.0)),
        # Begun by an earlier run: this one has been at it for half an hour, longer than any took.
        trial(8, "RUNNING", started=NOW - 9000, last=on("a", 80.0)),
    ]

    # 11 trials of 100 s on a have not begun, one has just, and b has 10 s of one to do.
    left = status(*trials).eta_seconds
    assert left == pytest.approx((11 * 100 + 100 + 10) / (1 + 1 / 4 + 1))
    assert status(*trials[:3]).eta_seconds == pytest.approx(17 / 3 * 1800)
    assert status(*trials, num_trials=None).eta_seconds is None


def test_the_best_is_complete_where_any_is() -> None:
    line = epoch_of(2, objective=0.9, dice={"background": 1.0, "Crack": 0.9})
    running = trial(0, "RUNNING", last=line)
    pruned, failed = trial(1, "PRUNED", value=0.8), trial(2, "FAIL", value=0.99, reason="a defect")
    complete = trial(3, "COMPLETE", value=0.4, best_epoch=7)

    best = status(running, pruned, failed).best
    assert best is not None
    assert (best.number, best.state, best.value, best.best_epoch) == (0, "RUNNING", 0.9, 2)
    best = status(running, pruned, failed, complete).best
    assert best is not None
    assert (best.number, best.value, best.best_epoch) == (3, 0.4, 7)
    assert status(failed).best is None


def test_the_earliest_of_equals_is_the_best() -> None:
    best = status(*(trial(n, "COMPLETE", value=0.4) for n in (5, 2, 9))).best

    assert best is not None
    assert best.number == 2


def test_where_leading_configs_are_trained_again_the_best_is_so_by_its_mean() -> None:
    trials = [
        trial(0, "COMPLETE", value=0.5),
        trial(1, "COMPLETE", value=0.7),
        trial(2, "COMPLETE", value=0.3, repeat_of=1),
        trial(3, "COMPLETE", value=0.4, repeat_of=0),
        trial(4, "PRUNED", value=0.8),
    ]
    found = status(*trials, repeats_of_best=1)
    assert found.best is not None
    assert (found.best.number, found.best.value) == (1, 0.7)
    assert found.trainings == "mean of 2 trainings 0.5000, 0.3000 to 0.7000"
    # One that has not been trained as often does not take the lead.
    found = status(*trials, trial(5, "COMPLETE", value=0.9), repeats_of_best=1)
    assert found.best is not None
    assert found.best.number == 1
    found = status(*trials)
    assert found.best is not None
    assert (found.best.number, found.trainings) == (1, "")


def test_a_worker_shows_its_epoch_speed_and_silence() -> None:
    seconds = {"train": 8.0, "input": 2.0}
    line = epoch_of(3, images_per_second=12.5, seconds=seconds)
    (worker,) = status(
        trial(4, "RUNNING", last=line, seen=NOW - 30, params={"train.epochs": 9})
    ).running

    assert (worker.epoch, worker.epochs, worker.value) == (3, 9, None)
    assert (worker.images_per_second, worker.silent_seconds) == (12.5, 30.0)
    assert worker.waits == 0.25


def test_records_of_an_older_version_do_not_tell_how_long_a_worker_waits() -> None:
    assert waiting_share(epoch_of(seconds={"train": 8.0})) is None
    assert waiting_share(epoch_of()) is None


def test_failures_have_reasons_and_lost_workers_are_counted() -> None:
    lost = [{"epoch": 1, "reason": "its node was lost"}, {"epoch": 1, "reason": "it hung"}]
    now = status(
        trial(0, "FAIL", reason="out of memory"),
        trial(1, "COMPLETE", value=0.1, failures=lost),
        trial(2, "RUNNING", failures=lost[:1]),
    )

    assert now.states == {"COMPLETE": 1, "FAIL": 1, "RUNNING": 1}
    assert now.failures == ((0, "out of memory"),)
    assert now.lost_workers == {"its node was lost": 2, "it hung": 1}
