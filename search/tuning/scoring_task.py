"""The scoring at the end of a run: one process on the cluster, with what a trial gets.

It never makes a run fail that has finished: what goes wrong is a warning, with the command that
does the same later.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray

from data_pipeline.config import SYNTHETIC
from data_pipeline.stores.store import Store
from results.records.study import load_study
from search.cluster.capacity import Capacity
from search.cluster.connection import ray_address
from search.cluster.inspector import free_memory
from search.config.schema import StudyConfig
from search.config.trial import TrialConfig
from search.interfaces.observers import Observer
from search.process.resources import WorkerResources
from search.process.stop import Stop
from search.scoring.pictures import are_drawn, facts_of
from search.scoring.study import (
    MODEL,
    SPLIT,
    ScoredModel,
    models_of,
    scored_before,
)
from search.storage.mirror import StudyCopy
from search.storage.object_store import RemoteFolder
from search.study.trials import TrialManager
from search.tuning.scoring_worker import ScoringWorker

START_SECONDS = 120.0
POLL_SECONDS = 0.5
SILENT_MINUTES = 30.0  # without a beat, where resources.trial_timeout_minutes is not set
STANDBY_MEMORY = 3e9  # bytes that are free: what an idle process and the trials' growth take
_NAME = "scoring"
_log = logging.getLogger(__name__)


class NotScoredError(RuntimeError):
    """A scoring that came to nothing; the message says why."""


def score_at_end(
    config: StudyConfig,
    manager: TrialManager,
    store: Store,
    capacity: Capacity,
    observer: Observer,
    copy: StudyCopy | None,
    standby: Standby,
) -> None:
    """Score a study's incumbent and baselines, where its run came to an end of its own.

    Args:
        config: The study.
        manager: Its trials, none of them running.
        store: The prepared data.
        capacity: Gives the task its share.
        observer: Warned where something is not scored, or not at the images' own size.
        copy: The driver's copy of a study that is kept in an object store.
        standby: A process that may be ready for it.
    """
    if (
        not config.search.score_at_end
        or manager.stop.reason
        or manager.no_progress
        or manager.proposer.stuck
    ):
        return
    try:
        if copy is not None:
            copy.push()
            copy.refresh()
        models = _to_score(config, store)
        if models:
            observer.note("scoring the best trial and the baselines, image by image")
            for note in _scored(config, models, store, capacity, manager.stop, standby):
                observer.warn(note)
    except Exception as error:  # Ray's, the storage's, the records': none is worth a finished run
        why = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
        observer.warn(
            f"the models are not scored for the report: {why or error}; "
            f"do it by: flexunet-search score {config.origin or config.directory}"
        )


def _to_score(config: StudyConfig, store: Store) -> list[ScoredModel]:
    """Return the models that a report shows, the incumbent first; none where all are scored."""
    study = load_study(config.directory)
    if study.incumbent is None:
        return []
    if config.origin is None:
        models = models_of(study)
    else:  # the models are in the store alone
        there = {entry.name for entry in RemoteFolder(config.origin).list()}
        models = models_of(
            study, has_model=lambda trial: f"trials/{trial.path.name}/{MODEL}" in there
        )
    flips = config.search.score_flips
    done = [
        scored_before(config.directory, model, SPLIT, store.fingerprint, flips) for model in models
    ]
    scored = [found for found in done if found is not None]
    if len(scored) < len(models) or not scored:
        return models
    return [] if are_drawn(config.directory, facts_of(scored)) else models


class Standby:
    """A process that waits to score, with TensorFlow imported while the last trials still train.

    Only on a Ray that is this run's own, without GPUs and with memory to spare: it reserves
    nothing, so it must not take from anybody else.

    Args:
        config: The study.
    """

    def __init__(self, config: StudyConfig) -> None:
        self._config = config
        self._worker: Any = None
        self._decided = False

    def start(self) -> None:
        """Begin the process, once; called where a slot has nothing left to train."""
        if self._decided:
            return
        self._decided = True
        wanted = self._config.search.score_at_end and ray_address(self._config.resources) is None
        try:
            if wanted and not ray.cluster_resources().get("GPU") and _memory_to_spare():
                resources = WorkerResources.of(self._config.resources, 0)
                self._worker = ray.remote(ScoringWorker).options(num_cpus=0).remote(resources)
        except Exception:  # the trials go on without it
            _log.warning("no process stands by to score", exc_info=True)

    def take(self) -> Any:
        """Return the process, which is the caller's from now on; None where there is none."""
        worker, self._worker = self._worker, None
        return worker

    def close(self) -> None:
        """End the process where nobody took it."""
        if self._worker is not None:
            ray.kill(self._worker)


def _scored(
    config: StudyConfig,
    models: Sequence[ScoredModel],
    store: Store,
    capacity: Capacity,
    stop: Stop,
    standby: Standby,
) -> list[str]:
    """Let a process score; return what there is to warn of."""
    ready = standby.take()
    try:
        if ready is not None:
            return _scored_by(ready, config, store, stop)
    except ray.exceptions.RayActorError as error:  # it died while it stood by, or at work
        _log.warning("the process that stood by to score is gone: %s", error)
    try:
        return _scored_by(_worker(config, models, capacity), config, store, stop)
    finally:
        capacity.free(_NAME)


def _scored_by(worker: Any, config: StudyConfig, store: Store, stop: Stop) -> list[str]:
    score = worker.score.options(num_returns="streaming")
    try:
        said = score.remote(_portable(config), str(store.path))
        _expect(said, stop, START_SECONDS)
        return _notes(said, stop, 60 * (config.resources.trial_timeout_minutes or SILENT_MINUTES))
    finally:
        ray.kill(worker)  # one that hangs would not hear of anything else


def _memory_to_spare() -> bool:
    return free_memory() > STANDBY_MEMORY


def _worker(config: StudyConfig, models: Sequence[ScoredModel], capacity: Capacity) -> Any:
    """Begin a process with what the largest model's trial gets."""
    bundle = capacity.place(_NAME, _largest(config, models, capacity))
    options = {
        "num_cpus": bundle["CPU"],
        "num_gpus": bundle.get("GPU", 0),
        "memory": bundle.get("memory"),
    }
    resources = WorkerResources.of(config.resources, bundle.get("GPU", 0))
    return ray.remote(ScoringWorker).options(**options).remote(resources)


def _largest(config: StudyConfig, models: Sequence[ScoredModel], capacity: Capacity) -> TrialConfig:
    """Return the model whose trial reserves most: the task has room for each of them."""

    def size(constants: TrialConfig) -> tuple[float, ...]:
        bundle = capacity.place(_NAME, constants)
        capacity.free(_NAME)
        return tuple(bundle.get(name, 0) for name in ("GPU", "memory", "CPU"))

    return max((config.at(dict(model.trial.params)) for model in models), key=size)


def _notes(said: Any, stop: Stop, seconds: float) -> list[str]:
    """Wait for what there is to warn of, while the task beats.

    Raises:
        NotScoredError: where it falls silent, or the run is asked to end.
    """
    silent = f"it said nothing for {seconds:g} s"
    while isinstance(told := _expect(said, stop, seconds, silent), str):
        pass
    notes: list[str] = told
    return notes


def _expect(said: Any, stop: Stop, seconds: float, late: str = "") -> Any:
    """Wait for the next that the task says; leave it where the run is asked to end.

    Args:
        said: By the task, a stream.
        stop: Of the run.
        seconds: To wait.
        late: What is wrong where it does not come in time.

    Raises:
        NotScoredError: where it does not come.
        ray.exceptions.RayError: what the task raised.
    """
    deadline = time.monotonic() + seconds
    while not ray.wait([said], timeout=POLL_SECONDS)[0]:
        why = stop.reason
        if time.monotonic() > deadline:
            why = late or f"the cluster had no room for it within {seconds:g} s"
        if why is not None:
            raise NotScoredError(why)
    return ray.get(next(said))


def _portable(config: StudyConfig) -> dict[str, Any]:
    """Return the config for a process with another working directory."""
    tree = config.to_tree()
    if config.data.source != SYNTHETIC:
        tree["data"]["source"] = str(Path(config.data.source).expanduser().absolute())
    if config.origin is None:
        tree["study"]["storage_path"] = str(config.directory.parent)
    return tree
