"""The machine that a process runs on: for the study's record, and what TensorFlow finds on it."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from model.processor import CPU_FILE, cpu_field, this_processor
from results.records.epochs import Worker

_GPU_SECONDS = 10.0


def this_worker() -> Worker:
    """Return what tells where something is trained."""
    processor = this_processor()
    return Worker(platform.node(), os.getpid(), processor.kernels, processor.instructions)


def describe_machine() -> dict[str, Any]:
    """Describe this machine.

    Returns:
        host, os, cpu (its model; None where unknown), processor (its vector instructions and whose
        kernels TensorFlow uses), cores (that this process may use), memory_gb (10**9 bytes; None
        where unknown), gpus (names with their memory, as nvidia-smi tells them; empty without one).
    """
    return {
        "host": platform.node(),
        "os": platform.platform(terse=True),
        "cpu": _cpu_model(),
        "processor": str(this_processor()),
        "cores": _cores(),
        "memory_gb": _memory_gb(),
        "gpus": _gpus(),
    }


def _cores() -> int | None:
    # A container or a job of a cluster may be given fewer than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _cpu_model(file: Path = CPU_FILE) -> str | None:
    return cpu_field("model name", file) or platform.processor() or platform.machine() or None


def _memory_gb() -> float | None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    return None


def _gpus() -> list[str]:
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=_GPU_SECONDS
        )
        return [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return []


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    names = ("flexunet-search", "tensorflow", "keras", "ray", "optuna", "numpy")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}


def git_revision() -> str | None:
    """Return the revision of the code that runs, or None where it is not run from a checkout."""
    root = Path(__file__).resolve().parents[2]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        # Installed inside another project's checkout, git would name that one's revision.
        if Path(_git(root, "rev-parse", "--show-toplevel")) == root:
            return _git(root, "describe", "--always", "--dirty")
    return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
