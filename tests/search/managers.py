"""A manager over a real Optuna journal, and what workers and Ray tell it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from model.cost import MemoryEstimate
from model.processor import Processor
from results.records.epochs import Epoch, best_of
from search.config.loading import config_from_tree
from search.config.schema import StudyConfig
from search.config.trial import TrialConfig
from search.interfaces.messages import TrialJob, TrialReport
from search.interfaces.observers import Placer
from search.process.stop import Stop
from search.storage.files import trial_folder
from search.study.opening import open_study
from search.study.trials import TrialManager


class Log:
    """Records what an observer receives."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.epochs: list[tuple[int, int]] = []
        self.ended: list[FrozenTrial] = []
        self.opened: list[int] = []
        self.warnings: list[str] = []

    def note(self, message: str) -> None:
        pass

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def study_opened(self, trials: Sequence[FrozenTrial]) -> None:
        self.opened = [trial.number for trial in trials]

    def trial_started(self, number: int, params: Mapping[str, Any], baseline: str | None) -> None:
        self.started.append(number)

    def epoch_ended(self, number: int, epoch: Epoch) -> None:
        self.epochs.append((number, epoch.epoch))

    def trial_ended(self, trial: FrozenTrial) -> None:
        self.ended.append(trial)


def config_in(
    folder: Path, resources: Mapping[str, Any] | None = None, **search: Any
) -> StudyConfig:
    return config_from_tree(
        {
            "study": {"storage_path": str(folder), "seed": 3},
            "search": {"grace_epochs": 1, "reduction_factor": 2, "num_trials": 8, **search},
            "resources": dict(resources or {}),
        }
    )


def open_manager(
    config: StudyConfig,
    capacity: Callable[[], int] = lambda: 4,
    stop: Stop | None = None,
    placer: Placer | None = None,
) -> TrialManager:
    config.directory.mkdir(parents=True, exist_ok=True)
    (config.directory / "study.yaml").touch()
    (config.directory / "trials").mkdir(exist_ok=True)
    study = open_study(config)
    return TrialManager(study, config, Path("store"), capacity, Log(), stop, placer=placer)


def result(
    values: list[float | None], *, done: bool = False, pruning: list[float | None] | None = None
) -> TrialReport:
    """What a worker reports after epochs of these objective values."""
    shown = values if pruning is None else pruning
    epochs = tuple(
        Epoch(epoch=number, dice={}, objective=value, pruning_value=seen)
        for number, (value, seen) in enumerate(zip(values, shown, strict=True), start=1)
    )
    costs = {"parameters": 10, "flops": 20, "activation_bytes": 30}
    return TrialReport(done, epochs, best_of(epochs), costs)


def proposal_of(manager: TrialManager) -> TrialJob:
    """Let a further worker have a trial, whatever Ray calls it."""
    job = manager.propose(str(uuid.uuid4()))
    assert job is not None
    return job


def mirrored(config: StudyConfig, number: int) -> dict:
    path = trial_folder(config.directory, number) / "trial.json"
    return json.loads(path.read_text(encoding="utf-8"))


def trials(manager: TrialManager) -> list[FrozenTrial]:
    return manager.study.get_trials()


def lose(manager: TrialManager, ray_id: str, reason: str = "its node was lost") -> None:
    """What the adapters do when Ray gives a worker up."""
    manager.note_lost(ray_id, reason)
    manager.finish(ray_id, None, error=True)


class Places:
    """Notes who has a place."""

    def __init__(self, deepest: int = 4, memory: int = 10**9) -> None:
        self.held: list[str] = []
        self.learned: list[tuple[TrialConfig, int]] = []
        self.deepest = deepest
        self.memory = memory

    def place(self, name: str, config: TrialConfig, factor: float = 1.0) -> dict[str, float]:
        self.held.append(name)
        return {"CPU": factor}

    def free(self, name: str) -> None:
        self.held.remove(name)

    def can_grow(self, config: TrialConfig) -> bool:
        return True

    def problem(self, config: TrialConfig) -> str | None:
        return "too large for any node" if config.model.num_layers > self.deepest else None

    def estimate(self, config: TrialConfig) -> MemoryEstimate:
        return MemoryEstimate(0, 0, 0, base=self.memory)

    def learn(self, config: TrialConfig, epoch: Epoch) -> None:
        self.learned.append((config, epoch.epoch))

    def processors(self) -> set[Processor]:
        return set()


def several(folder: Path, **search: Any) -> StudyConfig:
    return config_in(folder, pruner="none", minimize=["parameters", "latency_ms"], **search)


def with_cost(values: list[float | None], latency: float, **kwargs: Any) -> TrialReport:
    cost = {"parameters": 10, "flops": 2e9, "activation_bytes": 30, "latency_ms": latency}
    return replace(result(values, **kwargs), costs=cost)
