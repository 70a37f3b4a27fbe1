"""The scoring at the end of a run: one task on the cluster, with what a trial gets.

It never makes a run fail that has finished: what goes wrong is a warning, with the command that
does the same later.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ray

from data_pipeline.config import SYNTHETIC
from data_pipeline.store import Store
from results.evaluation import FOLDER
from results.records import TrialRecord, load_study
from search.book import TrialBook
from search.capacity import Capacity
from search.config import StudyConfig
from search.live import Observer
from search.pictures import are_drawn, facts_of
from search.remote_store import RemoteFolder, copy_of, fetch
from search.remote_study import StudyCopy
from search.stop import Stop
from search.store_transfer import store_here
from search.study_scoring import (
    MODEL,
    SPLIT,
    Model,
    models_of,
    score_study,
    scored_before,
    scored_models,
)
from search.worker import set_up_process, threads_of

START_SECONDS = 120.0
POLL_SECONDS = 0.5
BEGUN = "begun"
_NAME = "scoring"


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
            for note in _scored(config, models[0], store, capacity, book.stop):
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
    config: StudyConfig, best: Model, store: Store, capacity: Capacity, stop: Stop
) -> list[str]:
    """Run the task; return what there is to warn of."""
    bundle = capacity.place(_NAME, config.at(dict(best.trial.params)))
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
        notes: list[str] = _expect(said, stop, None)
        return notes
    finally:
        capacity.free(_NAME)


def _expect(said: Any, stop: Stop, seconds: float | None) -> Any:
    """Wait for the next that the task says; leave it where the run is asked to end.

    Raises:
        NotScoredError: where it does not come.
        ray.exceptions.RayError: what the task raised.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    while not ray.wait([said], timeout=POLL_SECONDS)[0]:
        why = stop.reason
        if deadline is not None and time.monotonic() > deadline:
            why = f"the cluster had no room for it within {seconds:g} s"
        if why is not None:
            ray.cancel(said)
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
    """Say that it has begun, score the study, and say what there is to warn of."""
    yield BEGUN
    set_up_process(resources)
    config = StudyConfig.from_tree(tree)
    directory = config.directory if config.origin is None else _own_copy(config)
    notes: list[str] = []
    found = score_study(
        directory,
        config,
        Store.open(store_here(Path(store))),
        threads=threads_of(resources),
        warn=notes.append,
    )
    if config.origin is not None:
        for name in found.files:
            RemoteFolder(config.origin).upload(directory / name, name)
    yield notes


def _own_copy(config: StudyConfig) -> Path:
    """Fetch a study from its object store, with the models that are to be scored."""
    study = config.study
    # Not the driver's own copy, which may be on this machine, too.
    copy = copy_of(study.storage_path, study.name, study.cache_path)
    copy = copy.with_name(f"{copy.name}.{FOLDER}")
    origin = RemoteFolder(config.origin or "")
    fetch(origin, copy)
    there = {entry.name for entry in origin.list()}
    record = load_study(copy)

    def has_model(trial: TrialRecord) -> bool:
        return f"trials/{trial.path.name}/{MODEL}" in there

    wanted = models_of(record, has_model=has_model)
    wanted += [m for m, _ in scored_models(record, record.data_fingerprint, has_model)]
    for name in {f"trials/{model.trial.path.name}/{MODEL}" for model in wanted}:
        origin.download(name, copy / name)
    return copy
