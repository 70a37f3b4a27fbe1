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

import search.tuning.runner
from model.cost import Kernels, MemoryEstimate
from model.processor import Processor
from search.cluster.capacity import Capacity
from search.cluster.forecast import MemoryForecast, MemoryUse
from search.cluster.placement import GB, Node
from search.config.settings import ResourceSettings
from search.config.trial import TrialConfig
from search.study.opening import open_study
from search.study.trials import TrialManager
from tests.epochs import epoch_of
from tests.search.managers import Log, config_in, result

pytestmark = pytest.mark.cluster


SIZES = [GB, GB, GB, GB, 2 * GB, 2 * GB]


class InTurn:
    """Predicts the next of SIZES for each config."""

    def __init__(self) -> None:
        self._sizes: dict[float, int] = {}
        self._left = iter(SIZES)

    def __call__(self, config: TrialConfig, kernels: Kernels) -> MemoryEstimate:
        rate = config.train.learning_rate
        if rate not in self._sizes:
            self._sizes[rate] = next(self._left)
        return MemoryEstimate(0, 0, 0, base=self._sizes[rate])

    def learn(self, config: TrialConfig, use: MemoryUse) -> None:
        pass


class Always(InTurn):
    """Predicts the same for every config."""

    def __init__(self, estimate: MemoryEstimate) -> None:
        self._estimate = estimate

    def __call__(self, config: TrialConfig, kernels: Kernels) -> MemoryEstimate:
        return self._estimate


class Worker(tune.Trainable):  # type: ignore[misc]
    """Notes its process and what it was given; trains nothing."""

    def setup(self, config: dict[str, Any]) -> None:
        self.folder = config["trial"].folder
        self.folder.mkdir(parents=True, exist_ok=True)
        memory = ray.get_runtime_context().get_assigned_resources()["memory"]
        (self.folder / "note").write_text(f"{os.getpid()} {int(memory)}")

    def reset_config(self, config: dict[str, Any]) -> bool:
        self.setup(config)
        return True

    def step(self) -> dict[str, Any]:
        return {"report": result([0.5], done=True), "epoch": 1, "done": True}


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
    capacity = Capacity(resources, InTurn())
    study = open_study(config)
    manager = TrialManager(study, config, tmp_path, capacity, Log(), placer=capacity)

    search.tuning.runner._fit(config, manager, Worker)

    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * len(SIZES)
    notes = [path.read_text().split() for path in config.directory.glob("trials/*/note")]
    assert sorted(int(memory) for _, memory in notes) == SIZES
    processes = {pid for pid, _ in notes}
    assert len(processes) < len(SIZES)
    # A process never changes its size.
    assert len({(pid, memory) for pid, memory in notes}) == len(processes)
    assert capacity() == 1  # none runs, one more would fit


def place_all(capacity: Callable[[], int], place: Callable[[str], object]) -> int:
    """Propose while there is room, as the manager does; return how many that were."""
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
    too_large = Capacity(resources, Always(MemoryEstimate(10**14, 0, 0)))
    fitting = Capacity(resources, Always(MemoryEstimate(0, 0, 0)))

    assert "predicted to need" in (too_large.problem(config) or "")
    assert not too_large.can_grow(config)
    assert fitting.problem(config) is None
    assert fitting.can_grow(config)


ONEDNN, EIGEN = Processor("onednn", "AVX-512"), Processor("eigen", "AVX2")


def capacity_on(*processors: Processor | None, **values: Any) -> Capacity:
    """A capacity on nodes of 64 GB."""
    resources = ResourceSettings(memory_per_trial="auto", **values)
    capacity = Capacity(resources, MemoryForecast((128, 128, 1), 6))
    nodes = tuple(Node({"CPU": 4, "memory": 64 * GB}, None, each) for each in processors)
    capacity._nodes = lambda: nodes  # type: ignore[assignment, method-assign]
    return capacity


def test_the_most_demanding_of_unequal_nodes_decides() -> None:
    config = config_in(Path("unused")).at(PARAMS, 0)
    fast, slow, mixed, unknown = (
        capacity_on(*nodes).estimate(config).total
        for nodes in ([ONEDNN], [EIGEN], [ONEDNN, EIGEN], [ONEDNN, None])
    )

    assert fast < slow == mixed == unknown


def test_a_node_without_the_cpus_for_a_trial_does_not_count() -> None:
    config = config_in(Path("unused")).at(PARAMS, 0)
    capacity = capacity_on(ONEDNN)
    head = Node({"CPU": 0, "memory": 64 * GB}, None, EIGEN)
    nodes = (*capacity._nodes(), head)
    alone = capacity.estimate(config)
    capacity._nodes = lambda: nodes  # type: ignore[assignment, method-assign]

    assert capacity.estimate(config) == alone
    assert capacity.processors() == {ONEDNN}


def test_trials_on_cards_are_not_sized_by_the_processors_kernels() -> None:
    config = config_in(Path("unused")).at(PARAMS, 0)

    def sized(processor: Processor) -> MemoryEstimate:
        capacity = capacity_on(processor, gpus_per_trial="auto")
        nodes = (Node({"CPU": 4, "GPU": 1, "memory": 64 * GB}, 16 * GB, processor),)
        capacity._nodes = lambda: nodes  # type: ignore[assignment, method-assign]
        assert capacity.processors() == set(), "nor is their time"
        return capacity.estimate(config)

    assert sized(ONEDNN) == sized(EIGEN) == capacity_on(ONEDNN).estimate(config)


def test_what_a_trial_held_corrects_the_predictions_for_its_kind_of_node() -> None:
    config = config_in(Path("unused")).at(PARAMS, 0)
    capacity = capacity_on(ONEDNN, EIGEN)
    before = capacity.place("0", config)["memory"]
    epoch = epoch_of(
        memory={"before": 340_000_000, "peak": 3 * GB},
        worker={"host": "a", "pid": 1, "kernels": "eigen", "instructions": "AVX2"},
    )

    capacity.learn(config, epoch_of())  # of an older version: says nothing
    assert capacity.place("1", config)["memory"] == before
    capacity.learn(config, epoch)

    assert capacity.place("2", config)["memory"] > before + 0.3 * GB
    assert capacity_on(ONEDNN).place("0", config)["memory"] <= before
