from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.processor import Processor, this_processor

pytestmark = pytest.mark.processor

SANDY_BRIDGE = "fpu sse4_2 avx"
HASWELL = f"{SANDY_BRIDGE} avx2 fma"  # and Zen 1 to 3
SKYLAKE_X = f"{HASWELL} avx512f avx512bw"
CASCADE_LAKE = f"{SKYLAKE_X} avx512_vnni"
ALDER_LAKE = f"{HASWELL} avx_vnni"


@pytest.mark.parametrize(
    ("flags", "environment", "kernels", "instructions"),
    [
        (CASCADE_LAKE, {}, "onednn", "AVX-512"),
        (ALDER_LAKE, {}, "onednn", "AVX2"),
        # TensorFlow would not take oneDNN by itself; our processes ask for it.
        (SKYLAKE_X, {}, "onednn", "AVX-512"),
        (HASWELL, {}, "onednn", "AVX2"),
        (SANDY_BRIDGE, {}, "eigen", "AVX"),
        # What the user asks for stays; of a value that TensorFlow does not know, it takes none.
        (HASWELL, {"TF_ENABLE_ONEDNN_OPTS": "0"}, "eigen", "AVX2"),
        (HASWELL, {"TF_ENABLE_ONEDNN_OPTS": "what"}, "eigen", "AVX2"),
        (HASWELL, {"TF_ENABLE_ONEDNN_OPTS": "1"}, "onednn", "AVX2"),
        (CASCADE_LAKE, {"TF_ENABLE_ONEDNN_OPTS": "0"}, "eigen", "AVX-512"),
        (CASCADE_LAKE, {"TF_ENABLE_ONEDNN_OPTS": "what"}, "onednn", "AVX-512"),
        # oneDNN is limited, and TensorFlow takes it all the same.
        (CASCADE_LAKE, {"ONEDNN_MAX_CPU_ISA": "AVX2"}, "onednn", "AVX2"),
        (CASCADE_LAKE, {"ONEDNN_MAX_CPU_ISA": "avx512_core"}, "onednn", "AVX-512"),
        (HASWELL, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, "onednn", "AVX2"),
        (CASCADE_LAKE, {"ONEDNN_MAX_CPU_ISA": "SSE41"}, "onednn", "SSE"),
        ("fpu sse4_2", {}, "eigen", "SSE"),
    ],
)
def test_a_processor_is_known_by_its_flags(
    tmp_path: Path, flags: str, environment: dict[str, str], kernels: str, instructions: str
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: none\n")

    found = this_processor(file, environment)

    assert (found.kernels, found.instructions) == (kernels, instructions)


def test_of_a_system_that_is_not_linux_nothing_is_known(tmp_path: Path) -> None:
    found = this_processor(tmp_path / "none", {})

    assert found == Processor("eigen", "unknown")
    assert str(found) == "unknown, no oneDNN kernels"


@pytest.mark.parametrize("asked", [None, "0"])
def test_tensorflow_takes_the_kernels_that_are_told(asked: str | None) -> None:
    code = (
        "from tensorflow.python.util import _pywrap_util_port as port; "
        "from model.processor import this_processor; "
        "print(port.IsMklEnabled(), this_processor().kernels == 'onednn')"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TF_ENABLE_ONEDNN_OPTS"}
    if asked is not None:
        environment["TF_ENABLE_ONEDNN_OPTS"] = asked
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )

    assert done.stdout.split() in (["True", "True"], ["False", "False"])


def test_processors_are_ordered_by_speed() -> None:
    ordered = [
        Processor("eigen", "unknown"),
        Processor("eigen", "SSE"),
        Processor("eigen", "AVX2"),
        Processor("eigen", "AVX-512"),
        Processor("onednn", "AVX2"),
        Processor("onednn", "AVX-512"),
    ]

    assert all(slower < faster for slower, faster in itertools.combinations(ordered, 2))
    assert not any(faster < slower for slower, faster in itertools.combinations(ordered, 2))
    assert not any(each < each for each in ordered)
