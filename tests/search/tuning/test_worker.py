from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from data_pipeline.stores.prepare import prepare
from search.config.schema import StudyConfig
from search.data.store_transfer import StoreTransferError
from search.interfaces.messages import TrialJob, TrialReport
from search.process.resources import WorkerResources
from search.process.setup import limit_gpu_memory, reason_of
from search.tuning.worker import TrialWorker
from tests.search.tiny import PARAMS, tiny_study


class ResourceExhaustedError(Exception):
    """Named as TensorFlow's."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("bad shape\nmore"), "ValueError: bad shape"),
        (ValueError(), "ValueError: "),
        (MemoryError("3 GB"), "out of memory: 3 GB"),
        (ResourceExhaustedError("OOM when allocating"), "out of memory: OOM when allocating"),
    ],
)
def test_a_reason_is_one_line_and_names_memory(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason


@pytest.mark.parametrize(("cpus", "threads"), [(0.5, 1), (1, 1), (3.0, 3), (2.5, 2)])
def test_threads_follow_from_the_cpus(cpus: float, threads: int) -> None:
    assert WorkerResources(cpus).threads == threads


def test_a_process_is_limited_to_its_threads() -> None:
    code = (
        "from search.tuning.worker import set_up_process\n"
        "from search.process.resources import WorkerResources\n"
        "set_up_process(WorkerResources(cpus=1))\n"
        "import os, tensorflow as tf\n"
        "print(os.environ['OMP_NUM_THREADS'],\n"
        "      tf.config.threading.get_intra_op_parallelism_threads())"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout

    assert output.split() == ["1", "1"]


class Recorder:
    """Stands where TensorFlow's config does: this machine may have no GPU to configure."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []
        self.config = self
        self.experimental = self

    def set_memory_growth(self, gpu: str, on: bool) -> None:
        self.calls.append(("growth", gpu, on))

    def LogicalDeviceConfiguration(self, memory_limit: int) -> int:  # noqa: N802
        return memory_limit

    def set_logical_device_configuration(self, gpu: str, limits: list[int]) -> None:
        self.calls.append(("limit", gpu, limits))


def test_a_share_of_a_gpu_is_a_share_of_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    tf = Recorder()
    monkeypatch.setattr("search.process.setup._gpu_memory_mib", lambda: 16000)
    limit_gpu_memory(tf, "gpu", 0.25)
    limit_gpu_memory(tf, "gpu", 1)
    monkeypatch.setattr("search.process.setup._gpu_memory_mib", lambda: None)
    limit_gpu_memory(tf, "gpu", 0.25)

    assert tf.calls == [("limit", "gpu", [3400]), ("growth", "gpu", True), ("growth", "gpu", True)]


class FakeRun:
    """A training that fails at its first epoch."""

    done = False

    def __init__(self, error: Exception) -> None:
        self.error, self.closed = error, False

    def step(self) -> None:
        raise self.error

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def worker(tmp_path: Path) -> TrialWorker:
    folder = tmp_path / "study" / "trials" / "00000"
    folder.mkdir(parents=True)
    (folder.parents[1] / "study.yaml").touch()
    worker = object.__new__(TrialWorker)
    config = StudyConfig().at(PARAMS)
    worker._job = TrialJob(0, folder, tmp_path, "me", config, {}, {})
    return worker


def test_a_trial_that_fails_lets_go_of_its_data_at_once(worker: TrialWorker) -> None:
    run = FakeRun(ValueError("no"))
    worker._run = run  # type: ignore[assignment]
    assert worker.step()["report"] == TrialReport(done=True, failed="ValueError: no")
    assert run.closed
    assert worker._run is None


def test_a_node_that_cannot_hold_the_data_is_waited_for(
    worker: TrialWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.tuning.worker.RETRY_SECONDS", 0)
    worker._run = FakeRun(StoreTransferError("n cannot hold the store"))  # type: ignore[assignment]
    assert worker.step()["report"] == TrialReport(waiting="n cannot hold the store")


def test_a_worker_that_trains_has_loaded_nothing_of_the_study(
    ray_session: None, tmp_path: Path, synthetic_folder: Path
) -> None:
    import ray

    config = tiny_study(tmp_path, synthetic_folder)
    store = prepare(config.data)
    folder = tmp_path / "tiny" / "trials" / "00000"
    folder.mkdir(parents=True)
    (folder.parents[1] / "study.yaml").touch()
    trial = config.at(
        {"model.num_layers": 1, "model.base_filters": 2, "train.learning_rate": 0.01}, seed=1
    )
    job = TrialJob(0, folder, store.path, "me", trial, WorkerResources(cpus=1), {"CPU": 1})
    worker = ray.remote(num_cpus=1)(TrialWorker).remote({"trial": job})
    try:
        result = ray.get(worker.train.remote())
        loaded = ray.get(worker.__ray_call__.remote(lambda _: sorted(sys.modules)))
    finally:
        ray.kill(worker)

    assert [epoch.epoch for epoch in result["report"].epochs] == [1]
    assert "tensorflow" in loaded
    study = ("optuna", "sqlalchemy", "search.study")
    assert not [name for name in loaded if name.split(".")[0] in study or name.startswith(study[2])]
