"""A run through Ray Client (``ray://``): the whole of it on the cluster, its display here.

Ray Tune would pickle our searcher to the cluster, whose state is the study. So everything runs in
one task of no CPUs on the cluster's head, and what happens there is reported here.
"""

from __future__ import annotations

import _thread
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import ray

from search.cluster.connection import CLIENT, connect, ray_address
from search.cluster.doctor import DoctorFinding
from search.config.loading import config_from_tree
from search.config.schema import StudyConfig
from search.errors import RunError
from search.interfaces.observers import Observer
from search.tuning.runner import RunSummary, run_and_describe

POLL_SECONDS = 0.3
HEAD = {"node:__internal_head__": 0.001}


def is_ray_client(config: StudyConfig) -> bool:
    """Return whether the study is to run through Ray Client."""
    return (ray_address(config.resources) or "").startswith(CLIENT)


def run_remotely(
    config: StudyConfig,
    observer: Observer,
    progress: Callable[[int, int], None],
    take_over: bool = False,
) -> RunSummary:
    """Run a study on the cluster's head; Ctrl-C here ends it there as it would here.

    Args:
        config: The study; its paths are the cluster's.
        observer: Told here of what happens there.
        progress: Called with (images done, images in all) while the data are prepared.
        take_over: As :func:`search.tuning.runner.run_study` takes it.

    Raises:
        RunError: where there is no such cluster, or a path is relative; and what
            :func:`search.tuning.runner.run_study` raises there.
    """

    def hear(name: str, arguments: tuple[Any, ...]) -> None:
        (progress if name == "progress" else getattr(observer, name))(*arguments)

    return cast(RunSummary, _on_head(config, _run, hear, take_over))


def examine_remotely(config: StudyConfig, seconds: float) -> list[DoctorFinding]:
    """Return :func:`search.cluster.doctor.examine`'s findings, asked from the cluster's head."""

    def ignore(name: str, arguments: tuple[Any, ...]) -> None:
        """Progress of the preparation is not shown."""

    return cast("list[DoctorFinding]", _on_head(config, _examine, ignore, seconds))


def _on_head(
    config: StudyConfig,
    function: Callable[..., Any],
    hear: Callable[[str, tuple[Any, ...]], None],
    *arguments: Any,
) -> Any:
    tree = _tree_for_the_cluster(config)
    with _client(ray_address(config.resources) or ""):
        mailbox = ray.remote(Mailbox).options(num_cpus=0, resources=HEAD).remote()
        task = ray.remote(function).options(num_cpus=0, resources=HEAD, max_retries=0)
        running = task.remote(tree, mailbox, *arguments)
        try:
            _follow(running, mailbox, hear)
            return ray.get(running)
        except ray.exceptions.TaskCancelledError:
            raise KeyboardInterrupt from None
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None


def _tree_for_the_cluster(config: StudyConfig) -> dict[str, Any]:
    """Return the config as mappings, for a process that is on the cluster already.

    Raises:
        RunError: naming each relative path: there is no working directory that both sides share.
    """
    tree = config.to_tree()
    # to_tree hides passwords.
    tree["study"] |= {"storage": config.study.storage, "mlflow": config.study.mlflow}
    tree["resources"]["ray_address"] = None
    paths = {f: tree[f.split(".")[0]][f.split(".")[1]] for f in _PATHS}
    relative = [
        f"{name}: expected an absolute path on the cluster, received {path!r}"
        for name, path in paths.items()
        if path not in (None, "synthetic") and not path.startswith("/") and ":/" not in path
    ]
    if relative:
        raise RunError("\n".join([f"{CLIENT} runs the study on the cluster's head:", *relative]))
    return tree


_PATHS = ("study.storage_path", "data.source", "data.store_path")


@contextlib.contextmanager
def _client(address: str) -> Iterator[None]:
    connect(address)
    try:
        yield
    finally:
        ray.shutdown()


def _follow(running: Any, mailbox: Any, hear: Callable[[str, tuple[Any, ...]], None]) -> None:
    """Hear of everything until the task ends; the first Ctrl-C asks it to, the second leaves."""
    with _interrupts() as asked:
        told = False
        done = False
        while not done:
            done = bool(ray.wait([running], timeout=POLL_SECONDS)[0])
            for name, arguments in ray.get(mailbox.take.remote()):
                hear(name, arguments)
            if asked and not told:
                told = True
                ray.get(mailbox.stop.remote())


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Yield a list to which the first SIGINT or SIGTERM is added; the second ends the process.

    Raised in the middle of a call, KeyboardInterrupt leaves Ray Client waiting for ever.
    """
    asked: list[int] = []

    def note(number: int, frame: Any) -> None:
        if asked:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        asked.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Mailbox:
    """Messages for the other side, in order; an actor on the cluster's head."""

    def __init__(self) -> None:
        self._letters: list[tuple[str, tuple[Any, ...]]] = []
        self._stopping = False

    def put(self, name: str, arguments: tuple[Any, ...]) -> None:
        self._letters.append((name, arguments))

    def take(self) -> list[tuple[str, tuple[Any, ...]]]:
        """Return what has come since the last time."""
        letters, self._letters = self._letters, []
        return letters

    def stop(self) -> None:
        self._stopping = True

    def stopping(self) -> bool:
        """Return whether the run is asked to end."""
        return self._stopping


class _Sender:
    """An observer that posts every call."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)
        # Waited for: an end must have arrived before the task's own.
        return lambda *arguments: ray.get(self._mailbox.put.remote(name, arguments))


def _run(tree: dict[str, Any], mailbox: Any, take_over: bool) -> RunSummary:
    """Run a study here, on the head."""
    sender = _Sender(mailbox)
    threading.Thread(target=_interrupt_when_asked, args=(mailbox,), daemon=True).start()
    config = config_from_tree(tree)
    return run_and_describe(config, cast(Observer, sender), sender.progress, take_over)


def _interrupt_when_asked(mailbox: Any) -> None:
    """Do to this process' main thread what Ctrl-C does in a terminal.

    Not by ``ray.cancel``: it forgets what the task returns.
    """
    while not ray.get(mailbox.stopping.remote()):
        time.sleep(POLL_SECONDS)
    _thread.interrupt_main()


def _examine(tree: dict[str, Any], mailbox: Any, seconds: float) -> list[DoctorFinding]:
    """Look at the cluster from here, its head."""
    from search.cluster.doctor import examine
    from search.data.preparing import prepare_study

    config = config_from_tree(tree)
    return examine(config, prepare_study(config), seconds)
