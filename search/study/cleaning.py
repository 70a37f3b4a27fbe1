"""What a study, and this program on this machine, have left that nothing needs any more."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_pipeline.stores.prepare import find_prepared
from results.analysis.confirmation import EVALUATION
from results.records import file_names
from results.records.study import StudyRecord, load_study
from search.cluster.connection import RAY_MARK
from search.cluster.inspector import cache_folder
from search.config.loading import config_from_record
from search.process.stop import Stop
from search.storage.files import trial_folder
from search.storage.lock import remote_lock, study_lock
from search.storage.object_store import RemoteFolder, origin_of
from search.study.retention import CHECKPOINTS, EndedTrial, is_scored, unneeded

RAY_FOLDER = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray"
_PROCESSES = Path("/proc")


@dataclass(frozen=True)
class Leftover:
    """Something that can go.

    Attributes:
        path: A file or a folder; of a study in an object store, within the study.
        bytes: How much it takes.
        kind: What it is, in the plural.
        remove: Removes it.
    """

    path: Path
    bytes: int
    kind: str
    remove: Callable[[], None]


def leftovers_of_study(directory: Path) -> list[Leftover]:
    """List files of ended trials that neither resuming nor any command needs.

    Args:
        directory: A study directory, or a copy of one in an object store.

    Raises:
        results.records.study.RecordError: where it is no study.
        search.storage.object_store.RemoteTroubleError: where the store does not answer.
    """
    study = load_study(directory)
    origin = origin_of(directory)
    if origin is None:
        return [
            Leftover(directory / name, (directory / name).stat().st_size, kind, remover)
            for name, kind in _unneeded(study)
            if (directory / name).is_file()
            for remover in [(directory / name).unlink]
        ]
    sizes = {entry.name: entry.size for entry in origin.list()}
    return [
        Leftover(Path(name), sizes[name], kind, _from_store(origin, name))
        for name, kind in _unneeded(study, sizes)
        if name in sizes
    ]


def _from_store(origin: RemoteFolder, name: str) -> Callable[[], None]:
    return lambda: origin.remove(name)


def _unneeded(study: StudyRecord, there: Iterable[str] = ()) -> Iterator[tuple[str, str]]:
    """Yield the name, within the study, and the kind of every file that can go, there or not."""
    keep = study.config.get("search", {}).get("keep_models", 5)
    ended = [EndedTrial.recorded(each) for each in study.trials if each.state != "RUNNING"]
    for number, file in unneeded(ended, keep):
        folder = trial_folder(Path(), number)
        if file in CHECKPOINTS:
            yield f"{folder}/{file}", "checkpoints of ended trials"
        elif not is_scored(study.path, number):
            yield f"{folder}/{file}", "models of trials that were stopped early"
    runs = {path.parent for path in (study.path / "confirm" / "runs").glob(f"*/{EVALUATION}")}
    for run in sorted(runs):
        for file in CHECKPOINTS:
            name = (run / file).relative_to(study.path).as_posix()
            yield name, "checkpoints of ended confirmation trainings"


def holding(directory: Path) -> AbstractContextManager[None]:
    """Hold a study while its files are removed.

    Raises:
        search.errors.RunError: where a run is at work on it.
    """
    origin = origin_of(directory)
    return study_lock(directory, Stop()) if origin is None else remote_lock(origin.url, Stop())


def prepared_data(directory: Path) -> list[Leftover]:
    """Return the prepared data of a study, which its next run prepares again; empty without."""
    study = load_study(directory)
    config = config_from_record(study.config, str(directory / file_names.STUDY))
    store = find_prepared(config.data, study.data_fingerprint)
    return [] if store is None else [_folder(store.path, "prepared data, made again when needed")]


def leftovers_of_machine() -> list[Leftover]:
    """List this machine's copies of data and studies, and Ray's folders of searches that ended.

    Ask :func:`machine_in_use` first.
    """
    found = [
        _folder(folder, "copies of data and studies that lie elsewhere")
        for name in ("stores", "studies")
        for folder in sorted((cache_folder() / name).glob("*"))
    ]
    for mark in sorted(RAY_FOLDER.glob(f"session_*/{RAY_MARK}")):
        found.append(_folder(mark.parent, "Ray's folders of searches that ended"))
    return found


def machine_in_use(processes: Path = _PROCESSES) -> bool:
    """Tell whether a Ray node runs on this machine: its searches may use what lies here."""
    for name in processes.glob("[0-9]*/comm"):
        with suppress(OSError):  # it has ended meanwhile
            if name.read_text().strip() == "raylet":
                return True
    return False


def _folder(path: Path, kind: str) -> Leftover:
    def remove() -> None:
        shutil.rmtree(path)

    return Leftover(path, sum(_sizes(path)), kind, remove)


def _sizes(path: Path) -> Iterator[int]:
    for folder, _, files in os.walk(path):
        for name in files:
            with suppress(OSError):
                yield os.lstat(Path(folder) / name).st_size


def totals(found: Iterable[Leftover]) -> dict[str, tuple[int, int]]:
    """Return number and bytes by kind, in order."""
    sums: dict[str, Any] = {}
    for each in found:
        count, size = sums.get(each.kind, (0, 0))
        sums[each.kind] = (count + 1, size + each.bytes)
    return sums
