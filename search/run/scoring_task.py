"""The scoring at the end of a run: one task on the cluster, with what a trial gets.

It never makes a run fail that has finished: what goes wrong is a warning, with the command that
does the same later.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import ray

from data_pipeline.config import SYNTHETIC
from data_pipeline.stores.store import Store
from results.records.evaluation import FOLDER
from results.records.study import TrialRecord, load_study
from search.cluster.capacity import Capacity
from search.config.schema import StudyConfig, TrialConfig
from search.data.store_transfer import store_here
from search.process.stop import Stop
from search.run.worker import set_up_process, threads_of
from search.scoring.pictures import are_drawn, facts_of
from search.scoring.study import (
    MODEL,
    SPLIT,
    Model,
    models_of,
    score_study,
    scored_before,
    scored_models,
)
from search.storage.mirror import StudyCopy
from search.storage.object_store import RemoteFolder, copy_of, fetch
from search.study.observers import Observer
from search.study.trials import TrialBook

START_SECONDS = 120.0
POLL_SECONDS = 0.5
SILENT_MINUTES = 30.0  # without a beat, where resources.trial_timeout_minutes is not set
BEAT_SECONDS = 5.0
BEGUN = "begun"
BEAT = "beat"
_NAME = "scoring"

T = TypeVar("T")


class NotScoredError(RuntimeError):
    """A scoring that came to nothing; the message says why."""


def score_at_end(
    config: StudyConfig,
    book: TrialBook,
    store: Store,
    capacity: Capacity,
    observer: Observer,
    copy: StudyCopy | None,
) -> None:
    """Score a study's incumbent and baselines, where its run came to an end of its own.

    Args:
        config: The study.
        book: Its trials, none of them running.
        store: The prepared data.
        capacity: Gives the task its share.
        observer: Warned where something is not scored, or not at the images' own size.
        copy: The driver's copy of a study that is kept in an object store.
    """
    if not config.search.score_at_end or book.stop.reason or book.hopeless or book.proposer.stuck:
        return
    try:
        if copy is not None:
            copy.push()
            copy.refresh()
        models = _to_score(config, store)
        if models:
            observer.note("scoring the best trial and the baselines, image by image")
            for note in _scored(config, models, store, capacity, book.stop):
                observer.warn(note)
    except Exception as error:  # Ray's, the storage's, the records': none is worth a finished run
        why = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
        observer.warn(
            f"the models are not scored for the report: {why or error}; "
            f"do it by: flexunet-search score {config.origin or config.directory}"
        )


def _to_score(config: StudyConfig, store: Store) -> list[Model]:
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
    done = [scored_before(config.directory, model, SPLIT, store.fingerprint) for model in models]
    scored = [found for found in done if found is not None]
    if len(scored) < len(models) or not scored:
        return models
    return [] if are_drawn(config.directory, facts_of(scored)) else models


def _scored(
    config: StudyConfig, models: Sequence[Model], store: Store, capacity: Capacity, stop: Stop
) -> list[str]:
    """Run the task; return what there is to warn of."""
    bundle = capacity.place(_NAME, _largest(config, models, capacity))
    resources = config.resources.model_dump(mode="json")
    resources["gpus_per_trial"] = bundle.get("GPU", 0)
    task = ray.remote(_score_here).options(
        num_cpus=bundle["CPU"],
        num_gpus=bundle.get("GPU", 0),
        memory=bundle.get("memory"),
        num_returns="streaming",
        max_retries=0,
    )
    try:
        said = task.remote(_portable(config), str(store.path), resources)
        _expect(said, stop, START_SECONDS)
        return _notes(said, stop, 60 * (config.resources.trial_timeout_minutes or SILENT_MINUTES))
    finally:
        capacity.free(_NAME)


def _largest(config: StudyConfig, models: Sequence[Model], capacity: Capacity) -> TrialConfig:
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
            ray.cancel(said, force=True)  # one that hangs would not hear of it
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


def _score_here(tree: Mapping[str, Any], store: str, resources: Mapping[str, Any]) -> Iterator[Any]:
    """Say that it has begun, that it goes on, and at last what there is to warn of."""
    yield BEGUN
    set_up_process(resources)
    config = StudyConfig.from_tree(tree)
    yield from beating(lambda beat: _score(config, Path(store), threads_of(resources), beat))


def beating(work: Callable[[Callable[[], None]], T]) -> Iterator[str | T]:
    """Do a work that calls ``beat`` as it goes on; yield a beat each few seconds, then its result.

    The work has a thread of its own, as it cannot yield from within.
    """
    said: SimpleQueue[str] = SimpleQueue()
    last = float("-inf")

    def beat() -> None:
        nonlocal last
        if time.monotonic() - last >= BEAT_SECONDS:
            last = time.monotonic()
            said.put(BEAT)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work, beat)
        done.add_done_callback(lambda _: said.put(""))
        while told := said.get():
            yield told
        yield done.result()


def _score(config: StudyConfig, store: Path, threads: int, beat: Callable[[], None]) -> list[str]:
    """Score the study; return what there is to warn of."""
    notes: list[str] = []

    def score(directory: Path) -> tuple[str, ...]:
        here = Store.open(store_here(store))
        return score_study(
            directory, config, here, threads=threads, warn=notes.append, beat=beat
        ).files

    if config.origin is None:
        score(config.directory)
        return notes
    with _own_copy(config) as copy:
        for name in score(copy):
            RemoteFolder(config.origin).upload(copy / name, name)
            beat()
    return notes


@contextlib.contextmanager
def _own_copy(config: StudyConfig) -> Iterator[Path]:
    """Fetch a study from its object store, with the models that are to be scored; then drop it."""
    study = config.study
    # Not the driver's own copy, which may be on this machine, too.
    copy = copy_of(study.storage_path, study.name, study.cache_path)
    copy = copy.with_name(f"{copy.name}.{FOLDER}")
    try:
        _fetch_scored(RemoteFolder(config.origin or ""), copy)
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _fetch_scored(origin: RemoteFolder, copy: Path) -> None:
    """Fetch a study, the models that are to be scored, and those that pictures keep."""
    fetch(origin, copy)
    there = {entry.name for entry in origin.list()}
    record = load_study(copy)

    def has_model(trial: TrialRecord) -> bool:
        return f"trials/{trial.path.name}/{MODEL}" in there

    wanted = models_of(record, has_model=has_model)
    wanted += [m for m, _ in scored_models(record, record.data_fingerprint, has_model)]
    for name in {f"trials/{model.trial.path.name}/{MODEL}" for model in wanted}:
        origin.download(name, copy / name)
