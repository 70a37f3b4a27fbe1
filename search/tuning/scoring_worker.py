"""The scoring at the end of a run, as its process does it: begun, beating, and what it warns of."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from data_pipeline.stores.store import Store
from results.records.evaluation import FOLDER
from results.records.study import TrialRecord, load_study
from search.config.loading import config_from_tree
from search.config.locations import copy_of
from search.config.schema import StudyConfig
from search.data.store_transfer import store_here
from search.process.resources import WorkerResources
from search.process.setup import set_up_process
from search.scoring.study import MODEL, models_of, score_study, scored_models
from search.storage.object_store import RemoteFolder, fetch

BEAT_SECONDS = 5.0
BEGUN = "begun"
BEAT = "beat"
T = TypeVar("T")


class ScoringWorker:
    """A process that scores a study.

    It imports TensorFlow as it begins: begun ahead of time, it is ready when the trials have ended.

    Args:
        resources: What the process may take.
    """

    def __init__(self, resources: WorkerResources) -> None:
        self._threads = resources.threads
        set_up_process(resources)

    def score(self, tree: Mapping[str, Any], store: str) -> Iterator[Any]:
        """Say that it has begun, that it goes on, and at last what there is to warn of."""
        yield BEGUN
        config = config_from_tree(tree)
        yield from beating(lambda beat: _score(config, Path(store), self._threads, beat))


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
