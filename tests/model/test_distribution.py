from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.distribution import WorkerSpec, make_strategy, scope_of, worker_of
from tests.model.precision import HAS_BFLOAT16
from tests.model.replicas import CASES

pytestmark = pytest.mark.processor


def found_by_two_devices(folder: Path, *cases: str) -> dict[str, Any]:
    """Train in a process whose CPU is two devices."""
    command = [sys.executable, "-m", "tests.model.replicas", str(folder), *cases]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    return found


def check_equal(found: dict[str, float]) -> None:
    assert found["apart"] == 0  # the replicas' copies
    assert found["off"] < found["tolerance"]  # from one device with the same batches
    assert found["moved"] > 0.01


def test_two_devices_train_as_one(tmp_path: Path) -> None:
    found = found_by_two_devices(tmp_path, "float32")

    check_equal(found["float32"])
    assert "divisible by the 2 devices" in found["odd"]
    first, second = found["agreed"]
    assert first == [0.1, 2.0**53, 0.0]  # of one of them, not a sum
    assert np.isnan(second[0])
    assert second[1:] == [1.0, -1.0]


@pytest.mark.soak
def test_two_devices_train_all_that_differs_between_them(tmp_path: Path) -> None:
    """Accumulation and low precision as on one device; averages, dropout and Dice learn."""
    cases = [name for name in CASES if name != "bfloat16" or HAS_BFLOAT16]
    found = found_by_two_devices(tmp_path, *cases, "learnt")

    for name in cases:
        check_equal(found[name])
    learnt = found["learnt"]
    assert min(learnt["dice"][1:]) > 0.7
    assert learnt["losses"][2] < 0.6 * learnt["losses"][0]
    assert learnt["same"]
    assert learnt["validation"][0] == learnt["validation"][1]  # restored on one device
    # One state of the generators for all, a step on for each of 75 batches; masks differ.
    assert [count for _, count in learnt["seeds"]] == [75] * 3
    assert learnt["masks differ"]


def test_one_device_needs_no_strategy() -> None:
    assert make_strategy() is None
    assert make_strategy(["CPU:0"]) is None
    assert make_strategy(workers=WorkerSpec(("localhost:1",), 0)) is None
    assert worker_of(None) == (0, 1)
    with scope_of(None):
        pass


@pytest.mark.parametrize(
    ("devices", "workers", "message"),
    [
        (["CPU:0", "CPU:0"], None, "distinct devices, received"),
        (["CPU:0"], WorkerSpec(("a:1", "b:1"), 0), "devices or workers, received both"),
        (None, WorkerSpec(("a:1", "b:1"), 2), "rank below 2, received 2"),
    ],
)
def test_impossible_strategies_are_refused(
    devices: list[str] | None, workers: WorkerSpec | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_strategy(devices, workers)


def test_workers_find_each_other_by_tf_config() -> None:
    spec = WorkerSpec(("10.0.0.1:5000", "10.0.0.2:5001"), 1)

    assert json.loads(spec.to_tf_config()) == {
        "cluster": {"worker": ["10.0.0.1:5000", "10.0.0.2:5001"]},
        "task": {"type": "worker", "index": 1},
    }
