"""The machine that a study is driven from, as its record tells it."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

_CPU_FILE = Path("/proc/cpuinfo")
_GPU_SECONDS = 10.0


def describe_machine() -> dict[str, Any]:
    """Describe this machine.

    Returns:
        host, os, cpu (its model; None where unknown), cores (that this process may use),
        memory_gb (10**9 bytes; None where unknown), gpus (names with their memory, as nvidia-smi
        tells them; empty without one).
    """
    return {
        "host": platform.node(),
        "os": platform.platform(terse=True),
        "cpu": _cpu_model(),
        "cores": _cores(),
        "memory_gb": _memory_gb(),
        "gpus": _gpus(),
    }


def _cores() -> int | None:
    # A container or a job of a cluster may be given fewer than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _cpu_model(file: Path = _CPU_FILE) -> str | None:
    with contextlib.suppress(OSError):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine() or None


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
