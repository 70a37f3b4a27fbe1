"""When a silent worker hangs: by how fast its node is."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from model.processor import Processor
from search.cluster.liveness import MOST, UNMEASURED, Liveness
from tests.epochs import epoch_of

FAST, SLOW = Processor("onednn", "AVX-512"), Processor("eigen", "AVX2")


def worker(host: str, processor: Processor) -> dict:
    return {
        "host": host,
        "pid": 1,
        "kernels": processor.kernels,
        "instructions": processor.instructions,
    }


def on(folder: Path, host: str, processor: Processor) -> Path:
    folder.mkdir()
    (folder / "worker.json").write_text(json.dumps(worker(host, processor)))
    return folder


def measure(limit: Liveness, **speeds: float) -> None:
    """Three trials on each of the hosts."""
    for host, speed in speeds.items():
        for trial in range(3):
            epoch = epoch_of(gflops_per_second=speed, worker=worker(host, FAST))
            limit.count(f"{host} {trial}", epoch)


def after(limit: Liveness, key: object, minutes: float, folder: Path) -> str | None:
    """What is said of a worker that was last seen so many minutes ago."""
    limit.seen(key, time.monotonic() - 60 * minutes)
    return limit.problem(key, folder)


def test_a_silent_worker_hangs_and_one_that_reports_or_has_not_begun_does_not(
    tmp_path: Path,
) -> None:
    limit = Liveness(10)

    assert limit.problem(0, tmp_path) is None
    assert after(limit, 0, 9.9, tmp_path) is None
    assert after(limit, 0, 10.1, tmp_path) == ("no report for 10 minutes (trial_timeout_minutes)")
    assert after(Liveness(None), 0, 1e6, tmp_path) is None


def test_a_node_measured_to_be_slow_has_as_many_times_as_long(tmp_path: Path) -> None:
    fast, slow = on(tmp_path / "a", "one", FAST), on(tmp_path / "b", "two", FAST)
    limit = Liveness(10, lambda: {FAST})
    measure(limit, one=90.0, two=30.0)

    assert after(limit, 0, 11, fast) is not None
    assert after(limit, 0, 29, slow) is None
    assert after(limit, 0, 31, slow) == (
        "no report for 30 minutes (trial_timeout_minutes, on a node 3.0 times as slow as the "
        "fastest)"
    )


@pytest.mark.parametrize("known", [True, False], ids=["a slow node", "a node unknown"])
def test_before_its_first_epoch_a_node_that_may_be_slow_has_longer(
    tmp_path: Path, known: bool
) -> None:
    folder = on(tmp_path / "a", "two", SLOW) if known else tmp_path
    limit = Liveness(10, lambda: {FAST, SLOW})

    assert after(limit, 0, 10 * UNMEASURED - 1, folder) is None
    assert after(limit, 0, 10 * UNMEASURED + 1, folder) is not None


def test_before_its_first_epoch_the_fastest_kind_of_node_has_no_longer(tmp_path: Path) -> None:
    folder = on(tmp_path / "a", "one", FAST)

    assert after(Liveness(10, lambda: {FAST, SLOW}), 0, 11, folder) is not None


def test_what_is_measured_has_a_limit(tmp_path: Path) -> None:
    slow = on(tmp_path / "b", "two", FAST)
    limit = Liveness(10)
    measure(limit, one=9000.0, two=1.0)

    assert after(limit, 0, 10 * MOST - 1, slow) is None
    assert after(limit, 0, 10 * MOST + 1, slow) is not None


def test_without_its_file_a_workers_last_epoch_tells_its_node(tmp_path: Path) -> None:
    limit = Liveness(10, lambda: {FAST, SLOW})
    measure(limit, one=90.0, two=30.0)

    assert after(limit, "one 0", 11, tmp_path) is not None
    assert after(limit, "two 0", 29, tmp_path) is None
    assert after(limit, "unheard of", 29, tmp_path) is None


def test_a_broken_worker_json_is_no_news(tmp_path: Path) -> None:
    (tmp_path / "worker.json").write_text("[")

    assert after(Liveness(10, lambda: {FAST}), 0, 11, tmp_path) is not None
