"""Prepares a data set: every image decoded, resized and labelled once, in parallel."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_pipeline.config import SYNTHETIC, DataConfig
from data_pipeline.datasets.sources import Dataset, find_dataset, resolve_source
from data_pipeline.problems import DataError, Problem, describe_problems
from data_pipeline.stores.assembling import PATIENCE_SECONDS, assemble_store
from data_pipeline.stores.fingerprint import fingerprint_of
from data_pipeline.stores.shards import Across, ShardTask, make_shard, make_shards, shard_tasks
from data_pipeline.stores.store import MANIFEST, Store
from data_pipeline.stores.survey import Progress

_log = logging.getLogger(__name__)
_TOKEN_SECONDS = 3600.0


def prepare(
    config: DataConfig,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    across: Across | None = None,
) -> Store:
    """Open the prepared store of a data set, making it first where it is not there.

    A store lies in `<store root>/<first 16 digits of its fingerprint>`, made under another name
    and renamed when it is whole: an interrupted preparation leaves nothing that could be taken
    for a store. What it leaves are finished shards, which the next preparation of the same data
    goes on from, and the one of other data removes. Of two processes that prepare the same data at
    once, one works and the other waits for its result.

    Args:
        config: The data set and its settings.
        workers: Threads; None for one a core.
        progress: Called with images done and images in all; not at all where the store is there.
        across: Makes shards on several machines, where it can; None: in this process.

    Raises:
        DataError: listing every bad file (with `on_bad: skip` they are logged as a warning and
            kept in `Store.skipped`), or an empty split, or a store folder that cannot be written.
    """
    dataset = find_dataset(config)
    root = store_root(config, dataset.root)
    _make_root(root)
    fingerprint = fingerprint_of(dataset, config, root, workers)
    path = root / fingerprint[:16]
    if (path / MANIFEST).is_file() and (store := try_open(path)) is not None:
        return store
    with exclusive(root, path.name) as locked:
        store = try_open(path)  # the process waited for may have made it
        work = work_folder(path, locked)
        _remove_leftovers(root, path.name if locked else None, work if store is None else None)
        if store is None:
            tasks = shard_tasks(dataset, config, work, fingerprint)
            with _workplace(work, keep=locked):
                elsewhere = _make(tasks, workers or os.cpu_count() or 1, progress, across)
                _assemble(dataset, config, tasks, work / "store", elsewhere)
                publish(work / "store", path)
            store = Store.open(path)
    return store


def store_root(config: DataConfig, source: Path) -> Path:
    """Return the folder that holds the stores of a data set, which lies at `source`."""
    if config.store_path is not None:
        return config.store_path.expanduser().absolute()  # for processes that run elsewhere
    return source.resolve().with_name(f"{source.resolve().name}.prepared")


def find_prepared(config: DataConfig, fingerprint: str | None) -> Store | None:
    """Return the prepared store of a fingerprint where it lies on the disk, though the source be
    gone.

    Nothing is prepared. None where there is none, or it is damaged.
    """
    synthetic = config.source == SYNTHETIC
    try:
        source = resolve_source(config) if synthetic else Path(config.source).expanduser()
        store = Store.open(store_root(config, source) / (fingerprint or "none")[:16])
    except (DataError, OSError):
        return None
    return store if store.fingerprint == fingerprint else None


def _make(
    tasks: Sequence[ShardTask], workers: int, progress: Progress | None, across: Across | None
) -> bool:
    """Make the shards that are not there; returns whether other machines made any."""
    done, total = 0, sum(len(task.items) for task in tasks)

    def tick(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    elsewhere = across(make_shard, tasks) if across is not None else None
    found = 0
    # Closed at once where it is left by an exception, not when that has been dealt with.
    with contextlib.closing(elsewhere or make_shards(tasks, workers, tick)) as shards:
        for shard in shards:
            found += not shard.made
            if elsewhere is not None:
                tick(shard.count)
    if found:
        _log.info("of %d shards %d were there from an interrupted preparation", len(tasks), found)
    return elsewhere is not None


def _assemble(
    dataset: Dataset,
    config: DataConfig,
    tasks: Sequence[ShardTask],
    folder: Path,
    elsewhere: bool,
) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # a half one, of a preparation that was killed here
    folder.mkdir()
    patience = PATIENCE_SECONDS if elsewhere else 0.0
    skipped = assemble_store(folder, dataset, config, tasks, patience)
    if skipped:
        _log.warning("%s", describe_problems(skipped, "bad files are left out"))


# The folder of stores


def _make_root(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not os.access(root, os.W_OK):
            raise PermissionError(errno.EACCES, "not writable")
    except OSError as error:
        message = f"cannot hold the prepared store ({error.strerror}); set data.store_path"
        raise DataError([Problem(str(root), message)]) from None


def try_open(path: Path) -> Store | None:
    """Return a store that is there and whole, else None: a damaged one is to be made again."""
    if not path.is_dir():
        return None
    try:
        return Store.open(path)
    except DataError as error:
        _log.warning("%s; it is made again", error)
        return None


@contextlib.contextmanager
def exclusive(root: Path, name: str) -> Iterator[bool]:
    """Hold the lock of a store; yields False where the file system knows no locks.

    The lock goes with the process that holds it, however that ends.
    """
    with (root / f".{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True


def work_folder(path: Path, locked: bool) -> Path:
    """Return where the shards of a store are made: the next process finds them where a lock keeps
    others out meanwhile; without one, two processes must not meet.
    """
    owner = "work" if locked else f"{socket.gethostname()}-{os.getpid()}"
    return path.with_name(f"{path.name}.tmp-{owner}")


@contextlib.contextmanager
def _workplace(folder: Path, keep: bool) -> Iterator[None]:
    """Make the folder of the work, and removes it in the end.

    Args:
        folder: Its place.
        keep: Whether an interrupted preparation, which would find it again, leaves it behind where
            it holds finished shards. After bad data it goes in any case: mended data have another
            fingerprint.
    """
    folder.mkdir(exist_ok=True)
    for part in folder.glob(".*.part-*"):
        shutil.rmtree(part, ignore_errors=True)
    try:
        yield
    except BaseException as error:
        useful = keep and not isinstance(error, DataError)
        if not (useful and any(folder.glob("*.facts.npz"))):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers(root: Path, locked: str | None, kept: Path | None) -> None:
    """Remove what interrupted preparations left: of stores whose lock nobody holds.

    Args:
        root: The folder of stores.
        locked: Name of the store whose lock this process holds, if any.
        kept: The folder that this process goes on from, if any.
    """
    for token in root.glob(".token-*"):  # of a driver that was killed while it asked its nodes
        if time.time() - token.stat().st_mtime > _TOKEN_SECONDS:
            shutil.rmtree(token, ignore_errors=True)
    for leftover in root.glob("*.tmp-*"):
        name = leftover.name.split(".tmp-")[0]
        if leftover == kept:
            continue
        if name == locked:
            shutil.rmtree(leftover, ignore_errors=True)
            continue
        with (root / f".{name}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            shutil.rmtree(leftover, ignore_errors=True)


def publish(temporary: Path, path: Path) -> None:
    """Give a finished store its name; one that is there already is replaced."""
    if path.exists():  # damaged, or another process was first on a file system without locks
        old = path.with_name(f"{path.name}.tmp-old-{os.getpid()}")
        os.replace(path, old)
        shutil.rmtree(old, ignore_errors=True)
    os.replace(temporary, path)
