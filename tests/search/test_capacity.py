"""What fits on a real Ray: nodes asked, sizes mixed, worker processes handed on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from optuna.trial import TrialState
from ray import tune

import search.runner
from model.cost import MemoryEstimate
from search.book import TrialBook
from search.bridge import Packed
from search.capacity import Capacity, Nodes, ask_gpu_memory
from search.config import TrialConfig
from search.placement import GB
from search.settings import ResourceSettings
from search.study import open_study
from tests.search.books import Heard, config_in, result

pytestmark = pytest.mark.cluster


SIZES = [GB, GB, GB, GB, 2 * GB, 2 * GB]


def in_turn() -> Callable[[TrialConfig], MemoryEstimate]:
    """Predict the next of SIZES for each config."""
    sizes: dict[float, int] = {}
    left = iter(SIZES)

    def estimate(config: TrialConfig) -> MemoryEstimate:
        rate = config.train.learning_rate
        if rate not in sizes:
            sizes[rate] = next(left)
        return MemoryEstimate(0, 0, 0, base=sizes[rate])

    return estimate


class Worker(tune.Trainable):  # type: ignore[misc]
    """Notes its process and what it was given; trains nothing."""

    def setup(self, config: dict[str, Any]) -> None:
        self.folder = Path(config["trial"]["folder"])
        self.folder.mkdir(parents=True, exist_ok=True)
        memory = ray.get_runtime_context().get_assigned_resources()["memory"]
        (self.folder / "note").write_text(f"{os.getpid()} {int(memory)}")

    def reset_config(self, config: dict[str, Any]) -> bool:
        self.setup(config)
        return True

    def step(self) -> dict[str, Any]:
        return {"result": Packed(result([0.5], done=True)), "epoch": 1, "done": True}


def test_trials_of_different_sizes_share_a_node_and_like_ones_share_processes(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "1000")
    monkeypatch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")
    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "0")
    config = config_in(tmp_path, num_trials=len(SIZES), sampler="random")
    resources = ResourceSettings(memory_per_trial="auto")
    config = config.model_copy(update={"resources": resources})
    (config.directory / "trials").mkdir(parents=True)
    (config.directory / "study.yaml").touch()
    capacity = Capacity(resources, in_turn())
    study = open_study(config)
    book = TrialBook(study, config, tmp_path, capacity, Heard(), placer=capacity)

    search.runner._fit(config, book, Worker)

    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * len(SIZES)
    notes = [path.read_text().split() for path in config.directory.glob("trials/*/note")]
    assert sorted(int(memory) for _, memory in notes) == SIZES
    processes = {pid for pid, _ in notes}
    assert len(processes) < len(SIZES)
    # A process never changes its size.
    assert len({(pid, memory) for pid, memory in notes}) == len(processes)
    assert capacity() == 1  # none runs, one more would fit


def place_all(capacity: Callable[[], int], place: Callable[[str], object]) -> int:
    """Propose while there is room, as the book does; return how many that were."""
    running = 0
    while running < capacity():
        place(str(running))
        running += 1
    return running


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({}, 2),
        ({"cpus_per_trial": 0.5}, 4),
        ({"cpus_per_trial": 0.5, "max_concurrent": 3}, 3),
        ({"cpus_per_trial": 3}, 0),
        ({"gpus_per_trial": "auto"}, 2),
        ({"gpus_per_trial": 1}, 0),
    ],
)
def test_as_many_trials_run_as_fit(ray_session: None, values: dict, count: int) -> None:
    capacity = Capacity(ResourceSettings(**values))
    config = config_in(Path("unused")).at(PARAMS, 0)

    assert place_all(capacity, lambda name: capacity.place(name, config)) == count
    if count:
        capacity.free("0")
        assert capacity() == count


PARAMS = {
    "model.num_layers": 4,
    "model.base_filters": 8,
    "model.base_kernel": 3,
    "model.dropout_rate": 0.0,
    "train.learning_rate": 0.01,
}


def test_a_trial_that_fits_nowhere_is_a_problem_and_cannot_grow(ray_session: None) -> None:
    resources = ResourceSettings(memory_per_trial="auto")
    config = config_in(Path("unused")).at(PARAMS, 0)
    too_large = Capacity(resources, lambda _: MemoryEstimate(10**14, 0, 0))
    fitting = Capacity(resources, lambda _: MemoryEstimate(0, 0, 0))

    assert "predicted to need" in (too_large.problem(config) or "")
    assert not too_large.can_grow(config)
    assert fitting.problem(config) is None
    assert fitting.can_grow(config)


def test_a_node_is_asked_for_its_gpus_without_one_to_spare(ray_session: None) -> None:
    (node,) = [node for node in ray.nodes() if node["Alive"]]
    (known,) = Nodes(ResourceSettings(gpus_per_trial="auto"))()

    assert known.resources["CPU"] == 2
    if not known.resources.get("GPU"):
        assert ask_gpu_memory(node["NodeID"]) is None
        assert known.gpu_memory is None
