"""The machine that a process runs on: for the study's record, and what TensorFlow finds on it."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from collections.abc import Mapping, Set
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from results.records.epochs import Worker

_CPU_FILE = Path("/proc/cpuinfo")
_GPU_SECONDS = 10.0

# Vector instructions by the flag that Linux gives a processor, from the widest.
_INSTRUCTIONS = {"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX"}
# TensorFlow on Linux takes oneDNN's kernels by itself where a processor has one of these, and its
# own otherwise, also on AVX-512 without them (IsMklEnabled in xla/tsl/util/util.cc, 2.21).
_ONEDNN_FLAGS = frozenset(
    {"avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"}
)
_ON, _OFF = {"1", "true"}, {"0", "false"}


@dataclass(frozen=True)
class Processor:
    """What of a node's processor decides how fast TensorFlow trains there, and in what memory.

    Processors are ordered by speed: ``max`` is the fastest.

    Attributes:
        kernels: Whose convolutions TensorFlow uses: oneDNN's, or its own (Eigen's), which are
            slower and hold more memory.
        instructions: The widest vector instructions that they may use; "unknown" where Linux does
            not say.
    """

    kernels: Literal["onednn", "eigen"]
    instructions: str

    def __lt__(self, other: Processor) -> bool:
        return self._speed < other._speed

    @property
    def _speed(self) -> tuple[bool, int]:
        names = [*_INSTRUCTIONS.values(), "SSE", self.instructions]
        return self.kernels == "onednn", -names.index(self.instructions)

    def __str__(self) -> str:
        kernels = "oneDNN kernels" if self.kernels == "onednn" else "no oneDNN kernels"
        return f"{self.instructions}, {kernels}"


def this_processor(
    file: Path = _CPU_FILE, environment: Mapping[str, str] = os.environ
) -> Processor:
    """Return what TensorFlow will find here, without loading it.

    Args:
        file: Linux' account of the processor.
        environment: TF_ENABLE_ONEDNN_OPTS and ONEDNN_MAX_CPU_ISA in it are heeded, as TensorFlow
            and oneDNN do.
    """
    flags = frozenset((_cpu_field("flags", file) or "").split())
    return Processor(_kernels(flags, environment), _instructions(flags, environment))


def this_worker() -> Worker:
    """Return what tells where something is trained."""
    processor = this_processor()
    return Worker(platform.node(), os.getpid(), processor.kernels, processor.instructions)


def _kernels(flags: Set[str], environment: Mapping[str, str]) -> Literal["onednn", "eigen"]:
    asked = environment.get("TF_ENABLE_ONEDNN_OPTS", "").lower()
    on = asked in _ON or (asked not in _OFF and bool(flags & _ONEDNN_FLAGS))
    return "onednn" if on else "eigen"


def _instructions(flags: Set[str], environment: Mapping[str, str]) -> str:
    there = [name for flag, name in _INSTRUCTIONS.items() if flag in flags]
    # Such as AVX2, AVX2_VNNI, AVX512_CORE; ALL and DEFAULT limit nothing.
    limit = environment.get("ONEDNN_MAX_CPU_ISA", "").upper().partition("_")[0]
    allowed = {"SSE41": (), "AVX": ("AVX",), "AVX2": ("AVX", "AVX2")}.get(limit, there)
    return next((name for name in there if name in allowed), "unknown" if not flags else "SSE")


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


def _cpu_model(file: Path = _CPU_FILE) -> str | None:
    return _cpu_field("model name", file) or platform.processor() or platform.machine() or None


def _cpu_field(field: str, file: Path) -> str | None:
    """Return a field of the first core; None where Linux' account has none."""
    with contextlib.suppress(OSError):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == field:
                return value.strip()
    return None


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
