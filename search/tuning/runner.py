"""A whole study: data prepared, config checked, Ray started, trials run, all of it resumable."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from ray import tune
from ray._private import worker as ray_worker

from data_pipeline.stores.store import Store
from results.records import file_names
from results.records.proposals import load_untrained
from results.records.study import load_study
from search.cluster.capacity import Capacity, placement
from search.cluster.connection import ray_cluster
from search.cluster.doctor import check_cluster
from search.cluster.forecast import MemoryForecast
from search.config.schema import StudyConfig
from search.data.preflight import check_folds
from search.data.preparing import prepare_folds
from search.data.sharing import decide, shared_pipeline
from search.data.store_transfer import serving
from search.errors import TRY_AGAIN, RunError
from search.interfaces.messages import TrialJob
from search.interfaces.observers import Observer, OwnPipelines, Pipeline
from search.process.memory import tune_survives_out_of_memory
from search.process.stop import Stop
from search.storage.database import trouble_ends_run
from search.storage.mirror import StudyCopy, hold_study
from search.study.attributes import REASON
from search.study.opening import free_journal, mirror_study, open_study, started_trials
from search.study.record import record_study
from search.study.samplers import check_installed
from search.study.throughput import InputLog
from search.study.trials import TrialManager
from search.study.warm_start import Earlier, bring_in, read_earlier
from search.terminal.progress import describe_best
from search.tuning.bridge import EarlyEnd, PrunerScheduler, StudySearcher, Watch
from search.tuning.logs import LoggedObserver, logged
from search.tuning.scoring_task import Standby, score_at_end
from search.tuning.worker import TrialWorker

CONTINUE = "the same command continues the study"


@dataclass(frozen=True)
class RunSummary:
    """How a run ended.

    Attributes:
        directory: The study directory.
        states: Number of trials by state, RUNNING being those a further run would resume.
        finished: Whether the study has all the trials it was asked for.
        seconds: Wall time of this run.
        stopped: What ended the run early, such as a signal's name; None for its own end or the
            time budget's.
        exit_code: What a command is to end with.
        notes: Why the search ended, and what was proposed and not trained.
        best: The best trial so far, in lines; of :func:`run_and_describe` alone.
    """

    directory: Path
    states: dict[str, int]
    finished: bool
    seconds: float
    stopped: str | None = None
    exit_code: int = 0
    notes: tuple[str, ...] = ()
    best: tuple[str, ...] = ()


def run_study(
    config: StudyConfig,
    observer: Observer,
    progress: Any = None,
    take_over: bool = False,
    worker: type[TrialWorker] = TrialWorker,
) -> RunSummary:
    """Run a study, or continue it from its last epochs.

    Args:
        config: The study.
        observer: Told of every start, epoch and end.
        progress: Called with (images done, images in all) while the data are prepared.
        take_over: Whether to take the study from a process that gives no sign of life.
        worker: What trains a trial.

    Returns:
        The states of its trials after this run. SIGINT and SIGTERM end it in order, too.

    Raises:
        ConfigError: where the config does not fit the data or the study that is continued.
        data_pipeline.problems.DataError: listing every bad file.
        search.errors.RunError: where no node of the cluster can hold a trial, another
            process runs the study or takes it over, the storage stays out of reach, the first
            trials all fail without one epoch, or every proposal is refused.
    """
    started = time.time()
    check_installed(config)
    stores = prepare_folds(config, progress, observer.warn)
    store = stores[0]
    check_folds(config, stores)
    earlier = read_earlier(config, store.classes, store.fingerprint)
    budget = config.search.time_budget_minutes
    stop = Stop(started + 60 * budget if budget else None, config.resources.stop_grace_seconds)
    with hold_study(config, stop, take_over) as copy:
        with trouble_ends_run(config.directory, CONTINUE):
            recorded = record_study(config, store)
        for leak in recorded.leaks:
            observer.warn(f"the splits leak, so scores will be too good: {leak}")
        with log_to_file(config.directory / file_names.RUN_LOG):
            with trouble_ends_run(config.directory, CONTINUE):
                free_journal(config.directory)
                study = open_study(config, recorded.identity)
                brought = _bring_in(study, earlier, observer)
            with logged(config, observer, recorded.identity) as told:
                manager = _run_trials(config, study, stores, told, stop, worker, copy)
    _check_end(config, manager)
    return _summary(config, manager, brought, time.time() - started)


def run_and_describe(
    config: StudyConfig, observer: Observer, progress: Any, take_over: bool
) -> RunSummary:
    """Run as :func:`run_study`, and describe the best trial."""
    summary = run_study(config, observer, progress, take_over)
    return replace(summary, best=describe_best(load_study(summary.directory)))


def _check_end(config: StudyConfig, manager: TrialManager) -> None:
    """Raise RunError where the run came to no end of its own."""
    if manager.trouble or manager.stop.superseded:
        raise RunError(f"stopped: {manager.stop.reason}; {CONTINUE}", TRY_AGAIN)
    if manager.no_progress:
        reasons = [t.user_attrs.get(REASON) for t in started_trials(manager.study)]
        raise RunError(
            f"stopped: every trial fails before its first epoch, the last one with: {reasons[-1]}; "
            f"see {config.directory / 'trials'}/*/error.txt and worker.log"
        )
    if manager.proposer.stuck:
        raise RunError(manager.proposer.stuck)


def _summary(
    config: StudyConfig, manager: TrialManager, brought: list[str], seconds: float
) -> RunSummary:
    states = Counter(trial.state.name for trial in started_trials(manager.study))
    limit = config.search.num_trials
    enough = limit is None or states.total() >= limit or manager.proposer.over
    finished = not states["RUNNING"] and enough
    return RunSummary(
        config.directory,
        dict(sorted(states.items())),
        finished,
        seconds,
        manager.stop.reason,
        0 if finished else manager.stop.exit_code,
        (*brought, *manager.proposer.sentences(), *load_untrained(config.directory).sentences()),
    )


def _bring_in(study: optuna.Study, earlier: list[Earlier], observer: Observer) -> list[str]:
    """Add the trials of earlier studies; return what there is to say of it."""
    if not earlier:
        return []
    for note in (note for one in earlier for note in one.notes):
        observer.warn(note)
    added = bring_in(study, earlier)
    total = sum(len(one.trials) for one in earlier)
    return [f"{total} trials of earlier studies, {added} of them new"]


def _run_trials(
    config: StudyConfig,
    study: optuna.Study,
    stores: tuple[Store, ...],
    observer: Observer,
    stop: Stop,
    worker: type[TrialWorker],
    copy: StudyCopy | None = None,
) -> TrialManager:
    store = stores[0]
    mirror_study(config.directory, study)
    if copy is not None:
        copy.push()
    observer.study_opened(started_trials(study))
    # Ray sets handlers of its own as it starts, hence in this order.
    with ray_cluster(config.resources), stop.signals(), contextlib.ExitStack() as stack:
        for each in stores:
            stack.enter_context(serving(each))
        check_cluster(config, store, observer.warn)
        plan = decide(config)
        for warning in plan.warnings:
            observer.warn(warning)
        log = InputLog(config.directory, "service" if plan.shares else "local", plan.why)
        observer = stack.enter_context(LoggedObserver(observer, [log], config.directory))
        pipeline: Pipeline = OwnPipelines()
        if plan.shares:
            pipeline = stack.enter_context(shared_pipeline(config, store, observer))
        standby = stack.enter_context(contextlib.closing(Standby(config)))
        capacity = Capacity(
            config.resources,
            MemoryForecast(store.image_shape, len(store.classes)),
            pipeline.held,
        )
        manager = TrialManager(
            study,
            config,
            store.path,
            capacity,
            observer,
            stop,
            num_classes=len(store.classes),
            placer=capacity,
            keep=copy.push if copy is not None else None,
            pipeline=pipeline,
            idle=standby.start,
            folds=tuple(each.path for each in stores) if config.search.folds else (),
        )
        if not manager.exhausted:
            _fit(config, manager, worker)
        score_at_end(config, manager, store, capacity, observer, copy, standby)
    return manager


def _fit(config: StudyConfig, manager: TrialManager, worker: type[TrialWorker]) -> None:
    # Tune's own bookkeeping: the study and the trials' folders hold all that is needed.
    own = tempfile.TemporaryDirectory(prefix="flexunet-search-", ignore_cleanup_errors=True)
    with own as folder, tune_survives_out_of_memory():
        tune.Tuner(
            tune.with_resources(worker, placement),
            tune_config=tune.TuneConfig(
                search_alg=StudySearcher(manager),
                scheduler=PrunerScheduler(manager),
                num_samples=-1,
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=folder,
                stop=EarlyEnd(manager),
                callbacks=[Watch(manager)],
                # The trial keeps its own checkpoints, in its folder, where a later run finds them.
                checkpoint_config=tune.CheckpointConfig(
                    checkpoint_frequency=0, checkpoint_at_end=False
                ),
                verbose=0,
            ),
        ).fit()


def _trial_name(trial: Any) -> str:
    job: TrialJob | None = trial.config.get("trial")  # None of one that Tune only plans
    return f"{0 if job is None else job.number:05d}_{trial.trial_id}"


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
    # Ray writes the cluster's own errors, a lost node's last log lines, over the live table.
    prints = ray_worker.print_to_stdstream
    ray_worker.print_to_stdstream = _log_cluster_error
    try:
        yield
    finally:
        ray_worker.print_to_stdstream = prints
        logging.captureWarnings(False)
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
        logging.root.removeHandler(handler)
        handler.close()


def _log_cluster_error(data: Mapping[str, Any], ignore_prefix: bool) -> None:
    logging.getLogger("ray").warning("%s", "\n".join(data["lines"]))


def _noisy_loggers() -> list[str]:
    """Return the loggers to divert: Ray gives several of its packages handlers of their own."""
    known = logging.root.manager.loggerDict
    ray_loggers = [name for name in known if name.startswith("ray.")]
    return ["ray", "optuna", *(n for n in ray_loggers if logging.getLogger(n).handlers)]
