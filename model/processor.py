"""The processor that a process computes on, and whose kernels TensorFlow uses there.

Nothing here loads TensorFlow.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kernels = Literal["onednn", "eigen"]
"""Whose convolutions TensorFlow uses on a CPU: oneDNN's, or its own, from Eigen."""

CPU_FILE = Path("/proc/cpuinfo")

_VARIABLE = "TF_ENABLE_ONEDNN_OPTS"
# Vector instructions by the flag that Linux gives a processor, from the widest.
_INSTRUCTIONS = {"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX"}
# TensorFlow on Linux takes oneDNN's kernels by itself where a processor has one of these, and its
# own otherwise, also on AVX-512 without them (IsMklEnabled in xla/tsl/util/util.cc, 2.21). With
# AVX2 alone oneDNN's train a FlexUNet 1.7 to 3.0 times as fast and hold less memory
# (benchmarks/README.md), so our processes ask for them there.
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

    kernels: Kernels
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


def this_processor(file: Path = CPU_FILE, environment: Mapping[str, str] = os.environ) -> Processor:
    """Return what TensorFlow uses in a process that called :func:`use_onednn`, without loading it.

    Args:
        file: Linux' account of the processor.
        environment: TF_ENABLE_ONEDNN_OPTS and ONEDNN_MAX_CPU_ISA in it are heeded, as TensorFlow
            and oneDNN do.
    """
    flags = frozenset((cpu_field("flags", file) or "").split())
    return Processor(_kernels(flags, environment), _instructions(flags, environment))


def use_onednn() -> None:
    """Let TensorFlow use oneDNN's kernels from AVX2 on; call it before TensorFlow is imported.

    A value of TF_ENABLE_ONEDNN_OPTS that is there stays.
    """
    if this_processor().kernels == "onednn":
        os.environ.setdefault(_VARIABLE, "1")


def _kernels(flags: Set[str], environment: Mapping[str, str]) -> Kernels:
    asked = environment.get(_VARIABLE)
    if asked is None:
        on = "avx2" in flags
    else:
        on = asked.lower() in _ON or (asked.lower() not in _OFF and bool(flags & _ONEDNN_FLAGS))
    return "onednn" if on else "eigen"


def _instructions(flags: Set[str], environment: Mapping[str, str]) -> str:
    there = [name for flag, name in _INSTRUCTIONS.items() if flag in flags]
    # Such as AVX2, AVX2_VNNI, AVX512_CORE; ALL and DEFAULT limit nothing.
    limit = environment.get("ONEDNN_MAX_CPU_ISA", "").upper().partition("_")[0]
    allowed = {"SSE41": (), "AVX": ("AVX",), "AVX2": ("AVX", "AVX2")}.get(limit, there)
    return next((name for name in there if name in allowed), "unknown" if not flags else "SSE")


def cpu_field(field: str, file: Path) -> str | None:
    """Return a field of the first core; None where Linux' account has none."""
    with contextlib.suppress(OSError):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == field:
                return value.strip()
    return None
