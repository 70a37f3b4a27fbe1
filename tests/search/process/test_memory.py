"""Memory at run time: its end told from other failures, measured, given back, survived."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import tensorflow as tf

from search.process.memory import (
    MemoryMeter,
    gpu_memory,
    is_out_of_memory,
    out_of_memory_line,
)
from tests.search.heaps import heaps_of_threads

KILLED_BY_RAY = """Traceback (most recent call last):
  File "worker.py", line 1055, in get_objects
    raise value
ray.exceptions.RayActorError: 1 worker(s) were killed due to the node running low on memory. Memory
OOM kill reason: Memory usage 3476881408B exceeded threshold of 3457825536B
Refer to the documentation on how to address the out of memory issue: https://docs.ray.io
"""
# What Ray says of every worker that ended without a word.
KILLED_BY_SOMEBODY = """The actor is dead because its worker process has died. Worker exit type:
SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with a connection error code 2. End of
file. Some common causes include: (1) the process was killed by the OOM killer due to high memory
usage, (2) ray stop --force was called, or (3) the worker crashed unexpectedly due to SIGSEGV"""


def numpy_error() -> BaseException:
    with pytest.raises(MemoryError) as caught:
        np.empty(2**60, np.uint8)
    return caught.value


def tensorflow_error(message: str) -> BaseException:
    return tf.errors.ResourceExhaustedError(None, None, message)


@pytest.mark.parametrize(
    ("error", "out"),
    [
        (MemoryError(), True),
        (numpy_error(), True),
        (tensorflow_error("OOM when allocating tensor with shape[16,64,256,256]"), True),
        (tensorflow_error("checkpoint.npz; No space left on device"), False),
        (ray.exceptions.OutOfMemoryError("1 worker(s) were killed"), True),
        (ray.exceptions.RayActorError(error_msg=KILLED_BY_RAY), True),
        (ray.exceptions.RayActorError(error_msg=KILLED_BY_SOMEBODY), False),
        (KILLED_BY_RAY, True),
        (KILLED_BY_SOMEBODY, False),
        ("failed to allocate 2.00GiB from device: CUDA_ERROR_OUT_OF_MEMORY: out of memory", True),
        (OSError(28, "No space left on device"), False),
        (ValueError("expected a finite loss"), False),
        (None, False),
    ],
    ids=lambda value: str(value)[:40],
)
def test_running_out_of_memory_is_told_from_other_failures(error: Any, out: bool) -> None:
    assert is_out_of_memory(error) is out


def test_the_line_that_says_so_is_found() -> None:
    assert "killed due to the node running low on memory" in out_of_memory_line(KILLED_BY_RAY)
    assert out_of_memory_line("first\nlast") == "first"
    assert out_of_memory_line("") == ""


HOLDING = """
import numpy as np
from search.process.memory import give_back_free_memory, own_bytes, resident_bytes
before = resident_bytes()
# In pieces below the size from which the C library asks the system for each by itself.
held = [np.ones(50_000, np.uint8) for _ in range(2000)]
full = resident_bytes()
del held
give_back_free_memory()
print(before, full, resident_bytes(), own_bytes())
"""


def test_resident_memory_follows_what_is_held_and_given_back() -> None:
    # In a process of its own: one that has worked before hands out what it had let go.
    command = [sys.executable, "-c", HOLDING]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    before, full, after, own = map(int, output.split())

    assert full - before == pytest.approx(100_000_000, rel=0.2)
    assert after < before + 0.3 * (full - before)
    assert 0 < own < after


MEASURED = """
import mmap, sys
import numpy as np
from search.process.memory import MemoryMeter
with open(sys.argv[1], "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    sum(mapped[::4096])
first = MemoryMeter()
held = np.ones(100_000_000, np.uint8)
del held
peak = first.peak()
second = MemoryMeter()
print(first.before, peak, second.peak())
"""


def test_the_peak_is_of_this_process_alone_and_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(bytes(80_000_000))
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "data")]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    before, peak, later = map(int, output.split())

    assert before < 80_000_000, "the mapped file does not count"
    assert peak - before == pytest.approx(100_000_000, rel=0.1)
    assert later < before + 10_000_000


def test_where_linux_does_not_begin_anew_the_peak_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> int:
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refuse)

    assert MemoryMeter().peak() is None


HEAPS = """
import sys
from search.process.memory import use_one_heap
from tests.search.heaps import heaps_of_threads
if sys.argv[1] == "one":
    use_one_heap()
print(heaps_of_threads())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heaps")
def test_threads_share_one_heap() -> None:
    def heaps(how: str) -> int:
        command = [sys.executable, "-c", HEAPS, how]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    one, many = heaps("one"), heaps("each its own")

    # What the imports have started before keeps its own.
    assert one < many
    assert many >= 8


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heaps")
def test_a_process_of_ray_begins_with_one_heap(ray_session: None) -> None:
    assert ray.get(ray.remote(heaps_of_threads).options(num_cpus=0).remote()) == 0


def test_without_a_gpu_its_memory_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert gpu_memory() is None


def test_the_smallest_gpu_of_a_node_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\necho 81920\necho 16384\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    assert gpu_memory() == 16 * 2**30


# A study whose first trial eats memory until Ray's monitor kills it, in a Ray of its own whose
# limit lies a little above what the machine uses now.
OUT_OF_MEMORY_STUDY = """
import json, os, sys, time
from pathlib import Path
from ray import tune

total, available = (
    1024 * int(line.split()[1])
    for line in open("/proc/meminfo")
    if line.startswith(("MemTotal", "MemAvailable"))
)
os.environ["RAY_memory_usage_threshold"] = str((total - available + 1.5e9) / total)
os.environ["RAY_memory_monitor_refresh_ms"] = "50"

import search.tuning.runner
from search.cluster.capacity import Capacity
from search.cluster.connection import ray_cluster
from search.study.opening import open_study
from search.study.trials import TrialManager
from tests.search.managers import Log, config_in, result

class Worker(tune.Trainable):
    def setup(self, config):
        self.number = config["trial"].number

    def reset_config(self, config):
        self.setup(config)
        return True

    def step(self):
        eaten = []
        while self.number == 0 and len(eaten) < 80:
            eaten.append(bytearray(b"x") * 50_000_000)
            time.sleep(0.02)
        told = result([0.5], done=True)
        return {"report": told, "epoch": 1, "done": True}

config = config_in(Path(sys.argv[1]), num_trials=2)
config = config.model_copy(
    update={"resources": config.resources.model_copy(update={"num_cpus": 1})}
)
(config.directory / "trials").mkdir(parents=True)
(config.directory / "study.yaml").touch()
with ray_cluster(config.resources):
    capacity = Capacity(config.resources)
    study = open_study(config)
    manager = TrialManager(study, config, Path("store"), capacity, Log(), placer=capacity)
    search.tuning.runner._fit(config, manager, Worker)
trials = [(t.state.name, t.user_attrs.get("reason"), t.constraints) for t in manager.study.trials]
print(json.dumps(trials))
"""


@pytest.mark.cluster
def test_a_worker_that_rays_memory_monitor_kills_fails_its_trial_and_the_search_goes_on(
    tmp_path: Path,
) -> None:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    available = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    if available < 6e6:
        pytest.skip("less than 6 GB of memory is free, and the test eats up to 4")
    finished = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY_STUDY, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    eater, other = json.loads(finished.stdout.splitlines()[-1])

    assert eater[0] == "FAIL"
    assert eater[1].startswith("out of memory: ")
    assert "low on memory" in eater[1]
    assert eater[2] == {"memory": 1.0}
    assert other[0] == "COMPLETE"
