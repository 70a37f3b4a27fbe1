"""The Optuna study: the one source of truth about trials, opened or continued.

Its storage is the file ``optuna.journal`` in the study directory, or a database URL. Each trial's
state is mirrored to ``trials/<number>/trial.json``, from which the report reads without Optuna.
"""

from __future__ import annotations

import logging
import os
from datetime import datetime
from pathlib import Path

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from foundation.files import read_json, write_json
from results.records import file_names
from search.config.errors import ConfigError
from search.config.schema import StudyConfig
from search.storage.database import open_database
from search.storage.files import trial_folder
from search.storage.journal import StudyJournal, StudyStorage
from search.study import attributes
from search.study.attributes import derive_seed, is_own
from search.study.samplers import check_installed, make_pruner, make_sampler

_log = logging.getLogger(__name__)


def open_storage(config: StudyConfig) -> BaseStorage:
    """Open the study's storage: the journal in its directory, or the URL of the config.

    Raises:
        ConfigError: for a URL that cannot be opened.
    """
    if config.study.storage is None:
        path = config.directory / file_names.JOURNAL
        mend_journal(path)
        return StudyStorage(StudyJournal(str(path)))
    return open_database(config.study.storage, config.study.name)


def mend_journal(path: Path) -> None:
    """Cut an unfinished last line off a journal: Optuna would append to it and not read on.

    A full disk or a power cut leaves such a line. What it said was never acknowledged.

    Only for who holds the study, or nobody else is to write it.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        _log.warning("%s: cut an unfinished last line of %d bytes", path, len(content) - whole)
        os.truncate(path, whole)


def free_journal(directory: Path) -> None:
    """Take away the lock that a driver killed while it wrote has left on the journal.

    Optuna would wait half a minute for it. Only for who holds the study
    (``search/storage/lock.py``).
    """
    (directory / "optuna.journal.lock").unlink(missing_ok=True)


def open_study(config: StudyConfig, identity: str | None = None) -> optuna.Study:
    """Create the study or continue it, with the baselines that it has not seen enqueued first.

    Args:
        config: The study.
        identity: What study.yaml calls it; None: not compared.

    Raises:
        ConfigError: where the storage holds another study of this name, or the sampler's
            libraries are not installed.
    """
    check_installed(config)
    minimized = [StudyDirection.MINIMIZE] * len(config.search.minimize)
    study = optuna.create_study(
        study_name=config.study.name,
        storage=open_storage(config),
        directions=[StudyDirection.MAXIMIZE, *minimized],
        pruner=make_pruner(config),
        load_if_exists=True,
    )
    trials = study.get_trials(deepcopy=False)
    _check_identity(study, identity, bool(trials))
    # A continued study must not draw again what its first run drew.
    study.sampler = make_sampler(config, derive_seed(config.study.seed, len(trials)))
    known = {trial.user_attrs.get(attributes.BASELINE) for trial in trials}
    for baseline in config.search.baselines:
        if baseline.name not in known:
            params = {k: v for k, v in baseline.params.items() if k in config.space}
            study.enqueue_trial(params, user_attrs={attributes.BASELINE: baseline.name})
    return study


def _check_identity(study: optuna.Study, identity: str | None, begun: bool) -> None:
    known = study.user_attrs.get(attributes.IDENTITY)
    if identity is None or known == identity:
        return
    if begun or known is not None:
        problem = (
            f"study.name: expected a name that the storage does not hold yet, received "
            f"{study.study_name!r}, which is there and belongs to another study directory"
        )
        raise ConfigError(study.study_name, [problem])
    study.set_user_attr(attributes.IDENTITY, identity)


def mirror_trial(directory: Path, trial: FrozenTrial) -> None:
    """Write a trial's state to its ``trial.json``, atomically."""
    known = trial.user_attrs
    record = {
        "number": trial.number,
        "state": trial.state.name,
        "value": known.get(attributes.BEST_VALUE),
        "best_epoch": known.get(attributes.BEST_EPOCH),
        "epochs": known.get(attributes.EPOCHS, 0),
        "params": trial.params,
        "baseline": known.get(attributes.BASELINE),
        "repeat_of": known.get(attributes.REPEAT_OF),
        "reason": known.get(attributes.REASON) or known.get(attributes.LIMIT),
        "failures": known.get(attributes.FAILURES, []),
        "started": _zoned(trial.datetime_start),
        "finished": _zoned(trial.datetime_complete),
        "seed": known.get(attributes.SEED),
        "cost": known.get(attributes.COST),
        "values": known.get(attributes.VALUES),
    }
    folder = trial_folder(directory, trial.number)
    folder.mkdir(exist_ok=True)
    # Not waited for: after a power cut it is written again from the study, see mirror_study().
    write_json(folder / file_names.TRIAL, record, durable=False)


def _zoned(time: datetime | None) -> str | None:
    """Return an ISO time with its zone: Optuna's has none and is this machine's."""
    return None if time is None else time.astimezone().isoformat(timespec="seconds")


def mirror_study(directory: Path, study: optuna.Study) -> None:
    """Bring every ``trial.json`` up to date: a killed driver may have left one behind the study."""
    for trial in started_trials(study):
        path = trial_folder(directory, trial.number) / file_names.TRIAL
        if read_json(path).get("state") != trial.state.name:
            mirror_trial(directory, trial)


_STARTED = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def started_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that are trained here: those that count, and have a folder.

    Left out are enqueued ones that nobody has begun, refused proposals, duplicates, and what
    came from earlier studies.
    """
    trials = study.get_trials(deepcopy=False, states=_STARTED)
    return [trial for trial in trials if is_own(trial)]
