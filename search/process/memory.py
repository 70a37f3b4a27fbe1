"""Memory at run time: what a process holds, giving it back, and telling that it ran out."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray.exceptions import OutOfMemoryError, RayActorError

# What those say who find it out: Ray's memory monitor, TensorFlow's allocators, CUDA, Python.
# Not among them: "killed by the OOM killer", which Ray lists among the possible causes of every
# SIGKILL.
_SAID = (
    "low on memory",
    "killed due to memory pressure",
    "out of memory",
    "out_of_memory",
    "oom when allocating",
    "resourceexhaustederror",
    "failed to allocate",
    "unable to allocate",
    "memoryerror",
    "bad_alloc",
)
# TensorFlow's ResourceExhaustedError also stands for a full disk.
_NOT_MEMORY = ("no space left",)


def is_out_of_memory(error: BaseException | str | None) -> bool:
    """Tell whether an error, or the text of one, says that memory ran out.

    Known are Python's MemoryError (and NumPy's), TensorFlow's ResourceExhaustedError, CUDA's failed
    allocations and Ray's memory monitor. A process that the kernel's OOM killer ended cannot be
    told from any other SIGKILL by what Ray says of it, and counts as a lost worker.
    """
    if error is None:
        return False
    if isinstance(error, MemoryError | OutOfMemoryError):
        return True
    if isinstance(error, BaseException):
        return is_out_of_memory(f"{type(error).__name__}: {error}")
    text = error.lower()
    return any(said in text for said in _SAID) and not any(said in text for said in _NOT_MEMORY)


def out_of_memory_line(error: BaseException | str) -> str:
    """Return the first line of an error that says so; its first one where none does."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if is_out_of_memory(line)), lines[0] if lines else "")


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes, as the kernel counts it (Linux)."""
    return _statm()[1] * os.sysconf("SC_PAGE_SIZE")


def own_bytes() -> int:
    """Return the resident memory that this process shares with none, in bytes (Linux).

    Without the mapped files, such as the prepared data: all trials of a node share those.
    """
    _, resident, shared, *_ = _statm()
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


class MemoryMeter:
    """The most memory that this process holds from here on (Linux).

    Like :func:`own_bytes`, without mapped files: the prepared data are mapped, and whatever of them
    was read counts as resident. Linux keeps the most of all pages together, so the most that was
    seen to be mapped is taken off: a process whose mappings were fewer at its peak seems to have
    held less by as much.

    Attributes:
        before: Bytes that the process held at the start.
    """

    def __init__(self) -> None:
        self.before = own_bytes()
        self._mapped = 0
        self._works = _reset_peak()

    def peak(self) -> int | None:
        """Return the most bytes held from the start on; None where Linux does not tell."""
        if not self._works:
            return None
        kilobytes = _status()
        mapped = kilobytes.get("RssFile", 0) + kilobytes.get("RssShmem", 0)
        self._mapped = max(self._mapped, mapped)
        return max(self.before, own_bytes(), 1024 * (kilobytes["VmHWM"] - self._mapped))


def _reset_peak() -> bool:
    """Reset the most resident memory of this process (proc(5), clear_refs)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return "VmHWM" in _status()


def _status() -> dict[str, int]:
    """Return the fields of /proc/self/status that are in kB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines()
    fields = (line.split() for line in lines if line.endswith(" kB"))
    return {name.rstrip(":"): int(value) for name, value, *_ in fields}


def _statm() -> list[int]:
    with open("/proc/self/statm", encoding="ascii") as file:
        return [int(pages) for pages in file.read().split()]


def give_back_free_memory() -> None:
    """Let the C library return freed memory to the system, where it can (glibc)."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # another C library: it keeps what it keeps
        return


# glibc's settings for one heap of all threads, by their variables and by their numbers in malloc.h:
# heaps; free memory that goes back by itself (none: only by malloc_trim); the size from which an
# allocation is mapped by itself (the most that glibc takes).
_ONE_HEAP = {
    ("MALLOC_ARENA_MAX", -8): 1,
    ("MALLOC_TRIM_THRESHOLD_", -1): 2**31 - 1,
    ("MALLOC_MMAP_THRESHOLD_", -3): 32 * 2**20,
}
ONE_HEAP_VARIABLES = {name: str(value) for (name, _), value in _ONE_HEAP.items()}


def use_one_heap() -> None:
    """Let the threads that this process starts allocate from one heap, where it can be (glibc).

    TensorFlow's own kernels take each tensor from the C library; oneDNN's come with a pool. By
    default glibc gives each thread a heap, and what one has freed is of no use to the others: some
    trainings held more, a different amount each time, and none was faster (benchmarks/README.md).
    What is freed stays in the heap until ``give_back_free_memory``.

    Threads that run already keep their heaps, and of many heaps glibc goes on using all: a process
    of Ray's, which begins with dozens of threads, is started with :data:`ONE_HEAP_VARIABLES`.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    for (_, option), value in _ONE_HEAP.items():
        mallopt(option, value)


def gpu_memory(index: str | None = None) -> int | None:
    """Return the memory of a GPU of this node in bytes, as nvidia-smi tells it.

    Args:
        index: The card, as in CUDA_VISIBLE_DEVICES. None: the smallest of all.
    """
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    if index is not None:
        command += ["-i", index]
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
        return min(int(line) for line in output.stdout.split()) * 2**20
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


@contextlib.contextmanager
def tune_survives_out_of_memory() -> Iterator[None]:
    """Let Tune take a worker that Ray's memory monitor killed as the failure of its trial.

    Ray reports such a death as OutOfMemoryError, which is no RayActorError. Tune's actor manager
    (Ray 2.60) knows only that one and ends the whole run with "Caught unexpected exception"; so it
    is shown one, with the monitor's text.
    """
    name = "_actor_task_failed"
    try:
        from ray.air.execution._internal.actor_manager import RayActorManager

        before = getattr(RayActorManager, name)
    except (ImportError, AttributeError):  # a Ray that does it otherwise
        yield
        return

    def actor_task_failed(*args: Any, **kwargs: Any) -> None:
        before(*map(_as_actor_error, args), **{k: _as_actor_error(v) for k, v in kwargs.items()})

    setattr(RayActorManager, name, actor_task_failed)
    try:
        yield
    finally:
        setattr(RayActorManager, name, before)


def _as_actor_error(value: Any) -> Any:
    return RayActorError(error_msg=str(value)) if isinstance(value, OutOfMemoryError) else value


# Each process that uses a GPU holds one beside what TensorFlow allocates; the worker leaves this
# room when it caps TensorFlow (search/tuning/worker.py).
CUDA_CONTEXT = 600 * 2**20


OUT_OF_MEMORY = "out of memory"
