"""A whole study: data prepared, config checked, Ray started, trials run, all of it resumable."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from ray import tune

from data_pipeline.prepare import prepare
from data_pipeline.store import Store
from search.book import Observer, TrialBook
from search.bridge import PrunerScheduler, StudySearcher
from search.cluster import Capacity, RunError, placement, ray_cluster
from search.config import StudyConfig
from search.doctor import check_cluster
from search.preflight import check_data
from search.record import record_study
from search.study import REASON, mirror_study, open_study, started_trials
from search.worker import TrialWorker


@dataclass(frozen=True)
class Summary:
    """How a run ended.

    Attributes:
        directory: The study directory.
        states: Number of trials by state, RUNNING being those a further run would resume.
        finished: Whether the study has all the trials it was asked for.
        seconds: Wall time of this run.
    """

    directory: Path
    states: dict[str, int]
    finished: bool
    seconds: float


def run_study(config: StudyConfig, observer: Observer, progress: Any = None) -> Summary:
    """Run a study, or continue it where it stands.

    Args:
        config: The study.
        observer: Told of every start, epoch and end.
        progress: Called with (images done, images in all) while the data are prepared.

    Returns:
        The states of its trials after this run.

    Raises:
        ConfigError: where the config does not fit the data or the study that is continued.
        data_pipeline.problems.DataError: listing every bad file.
        search.cluster.RunError: where no node of the cluster can hold a trial, another process
            runs the study, or the first trials all fail without one epoch.
    """
    started = time.time()
    store = prepare(config.data, progress=progress)
    check_data(config, store)
    with study_lock(config.directory):
        recorded = record_study(config, store)
        for leak in recorded.leaks:
            observer.warn(f"the splits leak, so scores will be too good: {leak}")
        with log_to_file(config.directory / "run.log"):
            study = open_study(config, recorded.identity)
            book = _run_trials(config, study, store, observer, started)
    if book.hopeless:
        reasons = [t.user_attrs.get(REASON) for t in started_trials(study)]
        raise RunError(
            f"stopped: every trial fails before its first epoch, the last one with: {reasons[-1]}; "
            f"see {config.directory / 'trials'}/*/error.txt and worker.log"
        )
    states = Counter(trial.state.name for trial in started_trials(study))
    limit = config.search.num_trials
    finished = not states["RUNNING"] and (limit is None or states.total() >= limit)
    return Summary(config.directory, dict(sorted(states.items())), finished, time.time() - started)


def _run_trials(
    config: StudyConfig, study: optuna.Study, store: Store, observer: Observer, started: float
) -> TrialBook:
    mirror_study(config.directory, study)
    observer.study_opened(started_trials(study))
    budget = config.search.time_budget_minutes
    deadline = started + 60 * budget if budget else None
    with ray_cluster(config.resources):
        check_cluster(config, store, observer.warn)
        book = TrialBook(
            study,
            config,
            store.path,
            capacity=Capacity(config.resources),
            observer=observer,
            deadline=deadline,
        )
        if not book.exhausted:
            _fit(config, book, deadline)
    return book


@contextlib.contextmanager
def study_lock(directory: Path) -> Iterator[None]:
    """Hold a study against a second driver; the lock goes with the process, however that ends.

    Raises:
        RunError: naming the process that holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "run.lock", "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise RunError(f"{directory} is being run by {holder}") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _fit(config: StudyConfig, book: TrialBook, deadline: float | None) -> None:
    tuner = tune.Tuner(
        tune.with_resources(TrialWorker, placement(config.resources)),
        tune_config=tune.TuneConfig(
            search_alg=StudySearcher(book),
            scheduler=PrunerScheduler(book),
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=".ray",
            storage_path=str(config.directory),
            stop=Deadline(deadline),
            # The trial keeps its own checkpoints, in its folder, where a later run finds them.
            checkpoint_config=tune.CheckpointConfig(
                checkpoint_frequency=0, checkpoint_at_end=False
            ),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    finally:
        # Tune's bookkeeping; the study and the trials' folders hold all that is needed.
        shutil.rmtree(config.directory / ".ray", ignore_errors=True)


def _trial_name(trial: Any) -> str:
    number = trial.config.get("trial", {}).get("number", 0)
    return f"{number:05d}_{trial.trial_id}"


class Deadline(tune.Stopper):  # type: ignore[misc]
    """Stops the whole run at a time; running trials stay RUNNING in the study, to be resumed."""

    def __init__(self, deadline: float | None) -> None:
        self._deadline = deadline

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: no single trial is stopped by the clock."""
        return False

    def stop_all(self) -> bool:
        """Return whether the time is over."""
        return self._deadline is not None and time.time() >= self._deadline


@contextlib.contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Send what Ray, Optuna and Python's warnings say to a file instead of the terminal."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    # At the root: Ray takes handlers off its own loggers as it starts.
    logging.root.addHandler(handler)
    loggers = [logging.getLogger(name) for name in _noisy_loggers()]
    before = [(logger, logger.handlers, logger.propagate) for logger in loggers]
    optuna.logging.set_verbosity(optuna.logging.INFO)
    for logger in loggers:
        logger.handlers, logger.propagate = [], True
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
        logging.root.removeHandler(handler)
        handler.close()


def _noisy_loggers() -> list[str]:
    """Return the loggers to divert: Ray gives several of its packages handlers of their own."""
    known = logging.root.manager.loggerDict
    ray_loggers = [name for name in known if name.startswith("ray.")]
    return ["ray", "optuna", *(n for n in ray_loggers if logging.getLogger(n).handlers)]
