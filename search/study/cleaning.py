"""What a study, and this program on this machine, have left that nothing needs any more."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import optuna

from data_pipeline.config import SYNTHETIC
from data_pipeline.stores.prepare import find_prepared
from results.records import file_names
from results.records.study import StudyRecord, load_study
from search.cluster.connection import RAY_MARK
from search.cluster.inspector import cache_folder
from search.config.errors import ConfigError
from search.config.loading import config_from_record
from search.config.settings import SearchSettings
from search.errors import RunError
from search.process.stop import Stop
from search.storage.files import trial_folder
from search.storage.journal import StudyJournal, StudyStorage
from search.storage.lock import LOCK, remote_lock, study_lock
from search.storage.object_store import RemoteFolder, origin_of
from search.study.retention import CHECKPOINTS, EndedTrial, is_scored, unneeded

RAY_FOLDER = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray"
PROCESSES = Path("/proc")
# A copy that was read since may be in use on another machine that shares this folder.
IDLE_SECONDS = 2 * 24 * 3600.0

CHECKPOINTS_OF_ENDED = "checkpoints of ended trials"
MODELS_OF_STOPPED = "models of trials that were stopped early or failed"
PREPARED = "prepared data"
COPIES = "copies of data and studies that lie elsewhere"
RAY_FOLDERS = "Ray's folders of searches that ended"


@dataclass(frozen=True)
class Leftover:
    """Something that can be removed.

    Attributes:
        path: A file or a folder; of a study in an object store, within the study.
        bytes: Its size.
        kind: What it is, in the plural.
        remove: Removes it; raises OSError where it cannot, RunError where it is in use.
    """

    path: Path
    bytes: int
    kind: str
    remove: Callable[[], None]


def leftovers_of_study(directory: Path) -> list[Leftover]:
    """List files of ended trials that neither resuming nor any command needs.

    A trial has ended where its trial.json and the study's journal both say so: after a power cut
    the journal may lack an end, and the trial is trained on.

    Args:
        directory: A study directory, or a copy of one in an object store.

    Raises:
        results.records.study.RecordError: where it is no study.
        search.storage.object_store.RemoteTroubleError: where the store does not answer.
    """
    study = load_study(directory)
    origin = origin_of(directory)
    names = _unneeded(study, _ended_in_journal(study))
    if origin is not None:
        sizes = {entry.name: entry.size for entry in origin.list()}
        return [
            Leftover(Path(name), sizes[name], kind, _from_store(origin, name))
            for name, kind in names
            if name in sizes
        ]
    return [
        Leftover(directory / name, (directory / name).stat().st_size, kind, _file(directory / name))
        for name, kind in names
        if (directory / name).is_file()
    ]


def _unneeded(study: StudyRecord, ended: set[int] | None) -> Iterator[tuple[str, str]]:
    """Yield the name, within the study, and the kind of every file that can go, there or not."""
    default = SearchSettings.model_fields["keep_models"].default  # of a study of before
    keep = study.config.get("search", {}).get("keep_models", default)
    trials = [
        EndedTrial.recorded(trial)
        for trial in study.trials
        if trial.state != "RUNNING" and (ended is None or trial.number in ended)
    ]
    for number, file in unneeded(trials, keep, study.folds):
        name = f"{trial_folder(Path(), number)}/{file}"
        if Path(file).name in CHECKPOINTS:
            yield name, CHECKPOINTS_OF_ENDED
        elif not is_scored(study.path, number):
            yield name, MODELS_OF_STOPPED


def _ended_in_journal(study: StudyRecord) -> set[int] | None:
    """Return the numbers of the trials that have ended by the journal; None without a journal."""
    path = study.path / file_names.JOURNAL
    if not path.is_file():
        return None
    with contextlib.suppress(OSError), open(path, "rb") as file:
        os.fsync(file.fileno())  # what it says is to outlast what is removed for it
    storage = StudyStorage(StudyJournal(str(path)))
    try:
        found = optuna.load_study(study_name=study.name, storage=storage)
    except KeyError:  # of a journal that has lost its beginning nothing is known to have ended
        return set()
    return {t.number for t in found.get_trials(deepcopy=False) if t.state.is_finished()}


def holding(directory: Path) -> AbstractContextManager[None]:
    """Hold a study while its files are removed.

    Raises:
        RunError: where a run is at work on it.
    """
    origin = origin_of(directory)
    return study_lock(directory, Stop()) if origin is None else remote_lock(origin.url, Stop())


def prepared_data(directory: Path) -> list[Leftover]:
    """Return the prepared data of a study; empty where there are none.

    Raises:
        ConfigError: where the images that they were made of are out of reach.
    """
    study = load_study(directory)
    where = str(directory / file_names.STUDY)
    config = config_from_record(study.config, where)
    source = config.data.source
    if source != SYNTHETIC and not Path(source).expanduser().exists():
        problem = f"data.source: expected the images, found none at {source}"
        raise ConfigError(where, [f"{problem}: the prepared data could not be made again"])
    store = find_prepared(config.data, study.data_fingerprint)
    return [] if store is None else [_folder(store.path, PREPARED)]


def leftovers_of_machine() -> list[Leftover]:
    """List this machine's copies of data and studies, and Ray's folders of searches that ended.

    Copies that were used in the last two days are left out; so are those of a study that is held,
    when it comes to removing them. Ask :func:`may_be_in_use` first.
    """
    idle = time.time() - IDLE_SECONDS
    copies = [*cache_folder().glob("stores/*"), *cache_folder().glob("studies/*/*")]
    found = [_folder(copy, COPIES) for copy in sorted(copies) if _last_use(copy) < idle]
    sessions = [mark.parent for mark in RAY_FOLDER.glob(f"session_*/{RAY_MARK}")]
    return found + [_folder(s, RAY_FOLDERS) for s in sorted(sessions) if not s.is_symlink()]


def may_be_in_use(processes: Path = PROCESSES) -> bool:
    """Tell whether a Ray node may run on this machine: its searches use what lies here."""
    if not processes.is_dir():  # not Linux: unknown
        return True
    for name in processes.glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if name.read_text().strip() == "raylet":
                return True
    return False


def _from_store(origin: RemoteFolder, name: str) -> Callable[[], None]:
    return lambda: origin.remove(name)


def _file(path: Path) -> Callable[[], None]:
    return lambda: path.unlink(missing_ok=True)


def _folder(path: Path, kind: str) -> Leftover:
    def remove() -> None:
        if not (path / LOCK).exists():
            shutil.rmtree(path)
            return
        with study_lock(path, Stop()):  # a copy of a study that a driver may be at work on
            shutil.rmtree(path)

    return Leftover(path, sum(each.st_size for each in _stats(path)), kind, remove)


def _last_use(folder: Path) -> float:
    return max((max(each.st_atime, each.st_mtime) for each in _stats(folder)), default=0.0)


def _stats(path: Path) -> Iterator[os.stat_result]:
    for folder, _, files in os.walk(path):
        for name in files:
            with contextlib.suppress(OSError):
                yield os.lstat(Path(folder) / name)


def remove_all(found: Iterable[Leftover]) -> Iterator[tuple[Leftover, str]]:
    """Remove what was found; yield what could not be, with the reason."""
    for each in found:
        try:
            each.remove()
        except (OSError, RunError) as error:
            yield each, str(error)


def totals(found: Iterable[Leftover]) -> dict[str, tuple[int, int]]:
    """Return number and bytes by kind, in order."""
    sums: dict[str, tuple[int, int]] = {}
    for each in found:
        count, size = sums.get(each.kind, (0, 0))
        sums[each.kind] = (count + 1, size + each.bytes)
    return sums
