"""Confirming a study: its top configs trained again over seeds, and scored on untouched images.

The plan and what each training has left in its folder are all the state there is: whatever moment
the driver dies at, running again goes on from there.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from data_pipeline.quality.audit import audit_store
from data_pipeline.stores.cross_validation import FEWEST_FOLDS, fold_store
from data_pipeline.stores.store import Store
from results.analysis.confirmation import (
    FOLDER,
    Confirmation,
    ConfirmationPlan,
    load_confirmation,
    load_plan,
)
from results.records import file_names
from results.records.study import RecordError, StudyRecord, load_study
from search.cluster.capacity import Capacity
from search.cluster.connection import CLIENT, ray_address, ray_cluster
from search.cluster.doctor import check_cluster
from search.cluster.forecast import MemoryForecast
from search.config.errors import ConfigError
from search.config.schema import StudyConfig
from search.confirm.plan import (
    check_test_split,
    make_plan,
    recorded_config,
    training_config,
    write_plan,
)
from search.confirm.tasks import ConfirmObserver, Place, TrainingQueue, Work
from search.confirm.worker import train_and_score
from search.data.preflight import check_folds
from search.data.preparing import prepare_study
from search.data.store_transfer import serving
from search.errors import TRY_AGAIN, RunError
from search.process.stop import Stop
from search.storage.database import trouble_ends_run
from search.storage.lock import study_lock
from search.tuning.runner import log_to_file

CONTINUE = "the same command goes on where it stopped"


@dataclass(frozen=True)
class ConfirmationSummary:
    """How confirming ended.

    Attributes:
        confirmation: What is known now.
        seconds: Wall time of this run.
        stopped: What ended it early; None for its own end.
        exit_code: What a command is to end with.
    """

    confirmation: Confirmation
    seconds: float
    stopped: str | None
    exit_code: int


@dataclass(frozen=True)
class ConfirmOptions:
    """What is asked for; see :func:`search.confirm.plan.make_plan`.

    Attributes:
        overrides: See :func:`search.confirm.plan.recorded_config`.
        take_over: Whether to take the confirmation from a process that gives no sign of life.
    """

    top: int | None = None
    seeds: int | None = None
    folds: int | None = None
    overrides: tuple[str, ...] = ()
    take_over: bool = False


def confirm_study(
    study_dir: Path,
    options: ConfirmOptions,
    observer: ConfirmObserver,
    progress: Callable[[int, int], None] | None = None,
    work: Work = train_and_score,
) -> ConfirmationSummary:
    """Confirm a study, or go on with it: what is trained and scored stays.

    Args:
        study_dir: The study directory; on a cluster one that every node sees.
        options: What is asked for.
        observer: Told of every start, epoch and end.
        progress: Called with (images done, images in all) while the data are prepared.
        work: What trains and scores, in a process of Ray.

    Returns:
        What is known at its end. SIGINT and SIGTERM end it in order, too.

    Raises:
        ConfigError: listing what is wrong with the options, or with the data, which must be the
            study's.
        data_pipeline.problems.DataError: listing every bad file, or too few groups for the folds.
        results.records.study.RecordError: for a study or a plan that cannot be read.
        search.errors.RunError: where no node can hold a training, another process
            confirms the study, the storage is out of reach, or every training fails before its
            first epoch.
    """
    started = time.monotonic()
    study = load_study(study_dir)
    config = recorded_config(study, options.overrides)
    _refuse_client(config)
    _plan(study, study_dir, options)  # what is wrong with it is told before the data are read
    store = prepare_study(config, progress, observer.warn)
    _check_data_are_the_studys(study, store)
    stop = Stop(grace=config.resources.stop_grace_seconds)
    with (
        trouble_ends_run(study_dir, CONTINUE),
        study_lock(study_dir / FOLDER, stop, options.take_over),
    ):
        plan = _plan(study, study_dir, options)
        stores = _stores(config, plan, store)
        for warning in _warnings(config, plan, store, stores):
            observer.warn(warning)
        write_plan(study_dir, plan)
        with log_to_file(study_dir / FOLDER / file_names.RUN_LOG):
            crew = _confirm(study_dir, study, config, plan, stores, observer, stop, work)
    if crew.trouble or stop.superseded:
        raise RunError(f"stopped: {stop.reason}; {CONTINUE}", TRY_AGAIN)
    if crew.no_progress:
        raise RunError(crew.no_progress)
    found = _known(study_dir, study)
    return ConfirmationSummary(
        found, time.monotonic() - started, stop.reason, _exit_code(found, stop)
    )


def _exit_code(found: Confirmation, stop: Stop) -> int:
    """0 only for what is confirmed: scores that compare with none are missing without a stop."""
    if found.missing:
        return stop.exit_code or 1
    return int(found.incumbent is None)


def _refuse_client(config: StudyConfig) -> None:
    address = ray_address(config.resources) or ""
    if address.startswith(CLIENT):
        raise RunError(
            f"expected auto or HOST:PORT, received {address!r}: a study is confirmed from a "
            "machine of the cluster, such as its head, or by a submitted job (ray job submit)"
        )


def _plan(study: StudyRecord, study_dir: Path, options: ConfirmOptions) -> ConfirmationPlan:
    return make_plan(
        study,
        load_plan(study_dir),
        top=options.top,
        seeds=options.seeds,
        folds=options.folds,
    )


def _check_data_are_the_studys(study: StudyRecord, store: Store) -> None:
    if study.data_fingerprint != store.fingerprint:
        raise ConfigError(
            str(study.path),
            [
                f"data: expected the study's, of fingerprint {str(study.data_fingerprint)[:16]}, "
                f"received {store.fingerprint[:16]} from {store.source}; the files or their "
                "preparation changed (--set data.source=... where they lie elsewhere now)"
            ],
        )


def _stores(config: StudyConfig, plan: ConfirmationPlan, store: Store) -> dict[int | None, Store]:
    """Return what is trained on by fold; None is the study's own data.

    Raises:
        ConfigError: listing what a fold cannot serve, such as a class that it does not train.
    """
    if plan.folds is None:
        return {None: store}
    # One dealing for all seeds of training, so that a seed is what differs between them.
    seed = config.data.split.seed
    stores = [
        fold_store(store, plan.folds, fold, seed, store.path.parent) for fold in range(plan.folds)
    ]
    try:
        check_folds(config, stores)
    except ConfigError as error:
        rare = _rare_classes(store)
        if not rare:
            raise
        told = f"every fold trains on a class that 3 groups show; fewer show {rare}"
        raise ConfigError(config.data.source, [*error.problems, told]) from None
    return dict(enumerate(stores))


def _rare_classes(store: Store) -> str:
    """Say which foreground classes fewer groups show, as prepared, than train, choose and score."""
    shown: dict[str, set[str]] = {name: set() for name in store.classes[1:]}
    for split in store.splits.values():
        for group, pixels in zip(split.groups, split.pixels, strict=True):
            for name, count in zip(store.classes, pixels, strict=True):
                if name in shown and count:
                    shown[name].add(group)
    rare = {name: len(groups) for name, groups in shown.items() if len(groups) < FEWEST_FOLDS}
    return ", ".join(f"{name} in {count}" for name, count in rare.items())


def _warnings(
    config: StudyConfig, plan: ConfirmationPlan, store: Store, stores: Mapping[int | None, Store]
) -> Iterator[str]:
    yield from check_test_split(config, plan, store)
    findings = [finding for each in stores.values() for finding in audit_store(each).findings]
    for leak in dict.fromkeys(f.message for f in findings if f.severity == "leak"):
        yield f"the splits leak, so scores will be too good: {leak}"


def _known(study_dir: Path, study: StudyRecord) -> Confirmation:
    found = load_confirmation(study_dir, study)
    if found is None:
        raise RecordError(study_dir, [f"{FOLDER}/: expected the plan, which is gone"])
    return found


def _confirm(
    study_dir: Path,
    study: StudyRecord,
    config: StudyConfig,
    plan: ConfirmationPlan,
    stores: Mapping[int | None, Store],
    observer: ConfirmObserver,
    stop: Stop,
    work: Work,
) -> TrainingQueue:
    known = _known(study_dir, study)
    planned = {each.trial: each for each in plan.configs}
    configs = {run: training_config(config, planned[run.trial], run) for run in plan.runs}
    observer.opened(
        {run: each.train.epochs for run, each in configs.items()},
        [run for run in plan.runs if run not in known.missing],
    )
    place = Place(study_dir, config, plan.split, plan.flips, {f: s.path for f, s in stores.items()})
    store = next(iter(stores.values()))
    with contextlib.ExitStack() as stack:
        if known.missing:
            # Ray sets handlers of its own as it starts, hence in this order.
            stack.enter_context(ray_cluster(config.resources))
            stack.enter_context(stop.signals())
            for each in stores.values():
                stack.enter_context(serving(each))
            check_cluster(config, store, observer.warn)
        capacity = Capacity(config.resources, MemoryForecast(store.image_shape, len(store.classes)))
        crew = TrainingQueue(
            place, configs, capacity, observer, stop, work, bool(known.evaluations)
        )
        crew.run(known.missing)
    return crew
