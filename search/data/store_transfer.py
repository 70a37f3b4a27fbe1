"""The prepared store on nodes that do not see it: copied there once, through Ray's object store.

A process on the driver's node reads it in pieces; a trial's worker that finds no store at the path
asks for them, so nodes that join later are served too. Each file is held to its sha256, the whole
to its fingerprint, and gets its name when it is whole. A copy that was interrupted is gone on with.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from data_pipeline.stores.store import Store
from foundation.errors import last_line
from search.cluster.inspector import cache_folder, fingerprint_of
from search.cluster.nodes import has_own_ray

# Two are under way at once: bounds what a copy takes of the object store on either side.
PIECE_BYTES = 32 * 2**20
_SLACK_BYTES = 10**8


class StoreTransferError(RuntimeError):
    """A store that could not be copied to this node; the message says what was expected."""


@dataclass(frozen=True)
class Listing:
    """What a store consists of.

    Attributes:
        fingerprint: The store's.
        sizes: File name to bytes.
    """

    fingerprint: str
    sizes: dict[str, int]


class StoreSource:
    """Reads a store for those who copy it; an actor where the store is."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._digests: dict[str, str] = {}

    def listing(self) -> Listing:
        """Return the store's fingerprint and files."""
        files = sorted(path for path in self._path.iterdir() if path.is_file())
        sizes = {path.name: path.stat().st_size for path in files}
        return Listing(fingerprint_of(self._path) or "", sizes)

    def piece(self, name: str, offset: int, size: int) -> NDArray[np.uint8]:
        """Return bytes of a file, uint8 [size]; fewer at its end."""
        return np.fromfile(self._path / name, np.uint8, size, offset=offset)

    def digest(self, name: str) -> str:
        """Return the sha256 of a file, hexadecimal."""
        if name not in self._digests:
            self._digests[name] = sha256_of(self._path / name)
        return self._digests[name]


@contextlib.contextmanager
def serving(store: Store) -> Iterator[None]:
    """Let nodes copy a store for as long as this lasts; on a Ray of its own nobody needs to."""
    if has_own_ray():
        yield
        return
    here = ray.get_runtime_context().get_node_id()
    source = (
        ray.remote(StoreSource)
        .options(
            name=_actor_name(store.path),
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=-1,
            max_concurrency=4,
            get_if_exists=True,
            scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
        )
        .remote(str(store.path))
    )
    try:
        yield
    finally:
        ray.kill(source)


def store_here(path: Path) -> Path:
    """Return where this node has a prepared store, copied first where it has none.

    Args:
        path: Where the driver sees it; its name is the beginning of its fingerprint.

    Returns:
        The path itself where the store is seen there or could be copied there, else a folder of
        this node's cache. The path as it is where nobody serves the store: opening it then says
        what is wrong.

    Raises:
        StoreTransferError: where there is no room for a copy, it is not what was served, or the
            driver's node cannot be reached.
    """
    for place in (path, cached(path)):
        if holds(place, path.name):
            return place
    source = _find_source(path)
    if source is None:
        return path
    try:
        return _copied(source, path)
    except ray.exceptions.RayError as error:
        raise StoreTransferError(f"{path}: expected a copy of it, {last_line(error)}") from error


def _copied(source: Any, path: Path) -> Path:
    listing: Listing = ray.get(source.listing.remote())
    place = _choose(path, sum(listing.sizes.values()))
    with _locked(place):
        if not holds(place, path.name):  # another worker of this node may have copied it
            _copy(source, listing, place)
    return place


def cached(path: Path) -> Path:
    """Return where this node keeps a copy of a store that cannot lie at its own path."""
    return cache_folder() / "stores" / path.name


def holds(place: Path, name: str) -> bool:
    """Return whether a folder holds the store whose fingerprint begins with a name."""
    fingerprint = fingerprint_of(place)
    # Folders that are not named by a fingerprint are no copies of ours to judge.
    return fingerprint is not None and (not _is_digits(name) or fingerprint.startswith(name))


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_digits(name: str) -> bool:
    return re.fullmatch("[0-9a-f]{16}", name) is not None


def _actor_name(path: Path) -> str:
    return f"flexunet-store-{path.name}"


def _find_source(path: Path) -> Any:
    if not _is_digits(path.name) or not ray.is_initialized():
        return None
    try:
        return ray.get_actor(_actor_name(path))
    except ValueError:
        return None


def _choose(path: Path, size: int) -> Path:
    """Return the first place that can be written and has room.

    Raises:
        StoreTransferError: saying of each place why not.
    """
    why = []
    for place in (path, cached(path)):
        problem = _problem(place, size)
        if problem is None:
            return place
        why.append(f"  - {place}: {problem}")
    raise StoreTransferError("\n".join([f"{os.uname().nodename} cannot hold the store:", *why]))


def _problem(place: Path, size: int) -> str | None:
    """Say why a store cannot be copied to a place, of whose parents some may be missing."""
    if holds(place, place.name):  # since it was last looked at
        return None
    if place.exists():
        return "expected no folder, or the store; received something else"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(place.parent, os.W_OK):
            return "not writable"
        free = shutil.disk_usage(place.parent).free + _held(_half(place))
    except OSError as error:
        return f"{type(error).__name__}: {error.strerror}"
    if free < size + _SLACK_BYTES:
        return f"expected {(size + _SLACK_BYTES) / 1e9:.1f} GB free, received {free / 1e9:.1f} GB"
    return None


def _half(place: Path) -> Path:
    return place.with_name(f"{place.name}.copy")


def _held(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*")) if folder.is_dir() else 0


@contextlib.contextmanager
def _locked(place: Path) -> Iterator[None]:
    """Let one process of the node copy; the lock goes with it, however it ends."""
    with (place.parent / f".{place.name}.copy.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _copy(source: Any, listing: Listing, place: Path) -> None:
    half = _half(place)
    half.mkdir(exist_ok=True)
    for path in half.iterdir():
        if path.name not in listing.sizes:  # a file that was under way
            path.unlink()
    for name, size in listing.sizes.items():
        digest: str = ray.get(source.digest.remote(name))
        there = half / name
        if there.is_file() and there.stat().st_size == size and sha256_of(there) == digest:
            continue
        _fetch(source, name, size, digest, there)
    fingerprint = Store.open(half).fingerprint
    if fingerprint != listing.fingerprint:
        raise StoreTransferError(
            f"{half}: expected the fingerprint {listing.fingerprint[:16]}, received "
            f"{fingerprint[:16]}"
        )
    try:
        os.replace(half, place)
    except OSError:  # a network file system showed late that it was there all the time
        if not holds(place, place.name):
            raise
        shutil.rmtree(half, ignore_errors=True)


def _fetch(source: Any, name: str, size: int, digest: str, path: Path) -> None:
    """Fetch a file, piece by piece, the next one on its way while one is written."""
    under_way = path.with_name(f"{name}.part")
    found = hashlib.sha256()
    offsets = iter(range(0, size, PIECE_BYTES))
    coming = [source.piece.remote(name, offset, PIECE_BYTES) for offset in islice(offsets, 2)]
    with under_way.open("wb") as file:
        while coming:
            piece = ray.get(coming.pop(0))
            coming += [source.piece.remote(name, o, PIECE_BYTES) for o in islice(offsets, 1)]
            file.write(piece)
            found.update(piece)
        file.flush()
        os.fsync(file.fileno())
    if found.hexdigest() != digest:
        raise StoreTransferError(
            f"{path}: expected sha256 {digest[:16]}, received {found.hexdigest()[:16]}"
        )
    os.replace(under_way, path)
