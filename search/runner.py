"""A whole study: data prepared, config checked, Ray started, trials run, all of it resumable."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import optuna
import ray
import yaml
from optuna.trial import TrialState
from ray import tune
from ray._private import ray_constants

from data_pipeline.audit import audit_store, describe
from data_pipeline.prepare import prepare
from data_pipeline.store import Store
from search.bridge import Observer, PrunerScheduler, StudySearcher, TrialBook
from search.config import ConfigError, ResourceSettings, StudyConfig
from search.preflight import check_data
from search.study import mirror_study, open_study, started_trials, write_json, write_text
from search.worker import TrialWorker

# What may differ when a study is continued: none of it changes what a trial's value means.
CONTINUABLE = {
    "study.storage_path",
    "search.num_trials",
    "search.time_budget_minutes",
    "search.baselines",
    "resources",
    "provenance",
    "data.source",  # the fingerprint tells whether the data are the same
    "data.store_path",
}


LOOPBACK = "127.0.0.1"


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


class RunError(RuntimeError):
    """A study that cannot run here; the message says what was expected."""


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
        RunError: where no node of the cluster can hold a trial.
    """
    started = time.time()
    store = prepare(config.data, progress=progress)
    check_data(config, store)
    record_study(config, store)
    with log_to_file(config.directory / "run.log"), ray_cluster(config.resources):
        study = open_study(config)
        mirror_study(config.directory, study)
        observer.study_opened(started_trials(study))
        budget = config.search.time_budget_minutes
        deadline = started + 60 * budget if budget else None
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
    states = _count_states(study)
    return Summary(
        config.directory,
        states,
        finished="RUNNING" not in states and _is_complete(config, study),
        seconds=time.time() - started,
    )


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


def bundle_of(resources: ResourceSettings) -> dict[str, float]:
    """Return what one trial reserves, in Ray's terms (memory in bytes)."""
    bundle = {"CPU": resources.cpus_per_trial}
    if resources.gpus_per_trial:
        bundle["GPU"] = resources.gpus_per_trial
    if resources.memory_per_trial_gb:
        bundle["memory"] = int(resources.memory_per_trial_gb * 1e9)
    return bundle


def placement(resources: ResourceSettings) -> tune.PlacementGroupFactory:
    """Return Tune's placement of one trial: one bundle on one node."""
    return tune.PlacementGroupFactory([bundle_of(resources)])


class Capacity:
    """How many trials fit on the cluster now, node by node; asked anew every two seconds."""

    def __init__(self, resources: ResourceSettings) -> None:
        self._bundle = bundle_of(resources)
        self._limit = resources.max_concurrent
        self._asked = float("-inf")
        self._slots = 0

    def __call__(self) -> int:
        """Return the number of slots, at most ``max_concurrent``."""
        if time.monotonic() - self._asked > 2:
            self._slots = sum(
                self._slots_of(node["Resources"]) for node in ray.nodes() if node["Alive"]
            )
            self._asked = time.monotonic()
        return self._slots if self._limit is None else min(self._slots, self._limit)

    def _slots_of(self, node: Mapping[str, float]) -> int:
        return int(min(node.get(name, 0) / amount for name, amount in self._bundle.items()) + 1e-9)


@contextlib.contextmanager
def ray_cluster(resources: ResourceSettings) -> Iterator[None]:
    """Connect to Ray, or start one on loopback, for the time of a study.

    Raises:
        RunError: where no node can hold a trial.
    """
    os.environ.update(
        # Start as many trials as fit: Capacity holds back what does not.
        TUNE_MAX_PENDING_TRIALS_PG="1000",
        TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
        # Nothing is restored from Tune's snapshots, so they need not be frequent.
        TUNE_GLOBAL_CHECKPOINT_S="3600",
        RAY_CHDIR_TO_TRIAL_DIR="0",
        # Tune's newer output prints failures at any verbosity; the table says them already.
        RAY_AIR_NEW_OUTPUT="0",
        RAY_USAGE_STATS_ENABLED="0",
    )
    own = not ray.is_initialized()
    if own:
        start_ray(resources)
    try:
        if Capacity(resources)() < 1:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            raise RunError(
                f"resources: expected a node with {bundle_of(resources)} for one trial, received "
                f"{[{k: n.get(k, 0) for k in bundle_of(resources)} for n in nodes]}"
            )
        yield
    finally:
        if own:
            ray.shutdown()


def start_ray(resources: ResourceSettings) -> None:
    """Initialise Ray quietly: on the given address, or locally with no port beyond loopback."""
    quiet = {"log_to_driver": False, "configure_logging": False, "logging_level": logging.WARNING}
    if resources.ray_address is not None:
        ray.init(address=resources.ray_address, **quiet)
        return
    with _loopback():
        ray.init(
            num_cpus=resources.num_cpus,
            include_dashboard=False,
            _node_ip_address=LOOPBACK,
            **quiet,
        )


@contextlib.contextmanager
def _loopback() -> Iterator[None]:
    """Let Ray bind to loopback, as it does on macOS and Windows.

    On Linux it would turn a loopback address into the machine's own and listen on every
    interface; whoever reaches a Ray port can run code.
    """
    name = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # read by Ray's own processes, hence a variable
    before = os.environ.get(name), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[name], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before[1]
        if before[0] is None:
            del os.environ[name]
        else:
            os.environ[name] = before[0]


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


def record_study(config: StudyConfig, store: Store) -> None:
    """Write study.yaml and data.json, or check that the study continues with the same ones.

    Raises:
        ConfigError: naming every field that differs from the study's.
    """
    path = config.directory / "study.yaml"
    report = audit_store(store)
    if path.exists():
        _check_continues(yaml.safe_load(path.read_text(encoding="utf-8")), config, store)
    record = {
        "format": 1,
        "name": config.study.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "objective": config.search.objective,
        "pruning_metric": config.search.pruning_metric,
        "classes": list(store.classes),
        "data_fingerprint": store.fingerprint,
        "versions": versions(),
        "git_revision": git_revision(),
        "config": config.to_tree(),
    }
    if path.exists():
        before = yaml.safe_load(path.read_text(encoding="utf-8"))
        record["created"] = before["created"]
    write_text(path, yaml.safe_dump(record, sort_keys=False, allow_unicode=True))
    write_json(config.directory / "data.json", describe(store, report))


def _check_continues(before: Mapping[str, Any], config: StudyConfig, store: Store) -> None:
    old, new = _flat(before["config"]), _flat(config.to_tree())
    problems = [
        f"{name}: expected {old.get(name)!r} as in the study, received {new.get(name)!r}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and not {name, name.split(".")[0]} & CONTINUABLE
    ]
    if before["data_fingerprint"] != store.fingerprint:
        problems.append(
            f"data: expected the data of fingerprint {before['data_fingerprint'][:16]}, received "
            f"{store.fingerprint[:16]}; the files or their preparation changed"
        )
    if problems:
        problems.append("choose another study.name for another study")
        raise ConfigError(str(config.directory), problems)


def _flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return {section.field: value} of a config tree."""
    return {
        f"{section}.{name}": value
        for section, fields in tree.items()
        if isinstance(fields, dict)
        for name, value in fields.items()
    }


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    names = ("flexunet-search", "tensorflow", "keras", "ray", "optuna", "numpy")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}


def git_revision() -> str | None:
    """Return the revision of the code that runs, or None where it is not run from a checkout."""
    root = Path(__file__).resolve().parents[1]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        # Installed inside another project's checkout, git would name that one's revision.
        if Path(_git(root, "rev-parse", "--show-toplevel")) == root:
            return _git(root, "describe", "--always", "--dirty")
    return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _count_states(study: optuna.Study) -> dict[str, int]:
    states = [trial.state.name for trial in started_trials(study)]
    return {state: states.count(state) for state in sorted(set(states))}


def _is_complete(config: StudyConfig, study: optuna.Study) -> bool:
    limit = config.search.num_trials
    if limit is None:
        return True
    return len(started_trials(study)) >= limit and not study.get_trials(
        states=(TrialState.RUNNING,)
    )
