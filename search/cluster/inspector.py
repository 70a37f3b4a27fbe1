"""What ``doctor`` runs on each node: one process that looks at its node and answers.

It imports neither TensorFlow nor modules of the project that need more than the standard library,
so that a node which lacks a dependency can still say so.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import platform
import shutil
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

from foundation.files import read_json
from model.processor import this_processor

PACKAGES = ("data_pipeline", "model", "results", "search", "foundation")
DISTRIBUTIONS = ("ray", "tensorflow", "keras", "optuna")
CONNECT_SECONDS = 3.0
# A network file system may show a new file to the other nodes some seconds late.
SHARED_SECONDS = 5.0


class Inspector:
    """A node's answers; one of them runs on every node, on 0 CPUs.

    Nothing is raised for what is wrong with a node: it is said in the answers.
    """

    def __init__(self) -> None:
        self._listener: socket.socket | None = None

    def look(self, store: str, places: Mapping[str, str]) -> dict[str, object]:
        """Return versions, processor, fingerprint of the prepared data, free disk and memory.

        Args:
            store: Folder of the prepared data.
            places: Name to folder whose disk is looked at; the first that exists on the way up.
                "": the folder of this node's Ray.

        Returns:
            ``versions`` (name to version, "not installed" where it is not), ``processor`` (a
            :class:`search.process.hardware.Processor`), ``fingerprint`` (or None), ``room`` (free
            bytes where a copy of the data could lie), ``disk`` (name to free bytes, or None) and
            ``memory`` (free bytes).
        """
        return {
            "versions": versions(),
            "processor": this_processor(),
            "fingerprint": fingerprint_of(Path(store)),
            "room": max(free_disk(Path(store)) or 0, free_disk(cache_folder()) or 0),
            "disk": {n: free_disk(Path(path or ray_folder())) for n, path in places.items()},
            "memory": free_memory(),
        }

    def clock(self) -> float:
        """Return this node's time, seconds since 1970."""
        return time.time()

    def write(self, folder: str, name: str) -> str | None:
        """Write a file that holds its own name, and return what hindered it, or None."""
        return write_token(Path(folder), name)

    def read(self, folder: str, names: Sequence[str]) -> dict[str, str]:
        """Return, of the files that other nodes wrote, those that cannot be read here, and why."""
        deadline = time.monotonic() + SHARED_SECONDS
        found = {name: _read_token(Path(folder) / name, name, deadline) for name in names}
        return {name: problem for name, problem in found.items() if problem is not None}

    def listen(self, address: str) -> int:
        """Listen on a free port of the node's address until :meth:`close`, and return the port."""
        self._listener = socket.create_server((address, 0))
        threading.Thread(target=_greet, args=(self._listener,), daemon=True).start()
        return int(self._listener.getsockname()[1])

    def reach(self, targets: Sequence[tuple[str, int]]) -> dict[str, str]:
        """Open a connection to each (address, port); return those that fail, and why."""
        with ThreadPoolExecutor(max_workers=32) as pool:
            answers = pool.map(_connect, targets)
        pairs = zip(targets, answers, strict=True)
        return {f"{host}:{port}": problem for (host, port), problem in pairs if problem}

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()


def seen_gpus() -> list[str]:
    """Return the GPUs that TensorFlow sees in this process; run where Ray grants one."""
    import tensorflow as tf

    return [device.name for device in tf.config.list_physical_devices("GPU")]


def versions() -> dict[str, str]:
    """Return the versions that must be equal everywhere, this project's by its code."""
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found | {"flexunet-search": code_digest()}


def code_digest() -> str:
    """Return 12 hexadecimal digits of the sha256 over this project's source files."""
    digest = hashlib.sha256()
    for folder in package_folders():
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder.parent).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def package_folders() -> list[Path]:
    """Return where this project's packages lie; what Ray brings lies in a folder for each."""
    folders = []
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations:
            folders.append(Path(spec.submodule_search_locations[0]))
    return folders


def fingerprint_of(store: Path) -> str | None:
    """Return the fingerprint of a prepared store; None where it cannot be read."""
    fingerprint = read_json(store / "manifest.json").get("fingerprint")
    return None if fingerprint is None else str(fingerprint)


def cache_folder() -> Path:
    """Return this node's folder for copies of what lies elsewhere."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "flexunet-search"


def free_disk(path: Path) -> int | None:
    """Return the free bytes of the disk on which a folder lies, or will; None: unknown."""
    for folder in (path, *path.parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(folder).free
    return None


def free_memory() -> int:
    """Return the free bytes of memory, a container's limit counted."""
    from ray._private.utils import estimate_available_memory

    return int(estimate_available_memory())


def ray_folder() -> str:
    """Return the folder of Ray's session on this node, where it spills and logs."""
    import ray

    node = ray._private.worker._global_node
    return str(node.get_session_dir_path()) if node is not None else "/tmp/ray"


def write_token(folder: Path, name: str) -> str | None:
    """Write a file that holds its own name, durably; return what hindered it, or None."""
    try:
        with open(folder / name, "w", encoding="utf-8") as file:
            file.write(name)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    return None


def _read_token(path: Path, name: str, deadline: float) -> str | None:
    while True:
        try:
            if path.read_text(encoding="utf-8") == name:
                return None
            problem = "holds something else"
        except (OSError, UnicodeDecodeError) as error:
            problem = f"{type(error).__name__}: {error}"
        if time.monotonic() >= deadline:
            return problem
        time.sleep(0.2)


def _greet(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed
        while True:
            listener.accept()[0].close()


def _connect(target: tuple[str, int]) -> str | None:
    try:
        with socket.create_connection(target, timeout=CONNECT_SECONDS):
            return None
    except OSError as error:
        return f"{type(error).__name__}: {error}"
