from __future__ import annotations

import itertools
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from search.process import hardware
from search.process.hardware import Processor

pytestmark = pytest.mark.processor


def test_the_machine_is_described() -> None:
    told = hardware.describe_machine()
    assert told["host"] == platform.node()
    assert 1 <= told["cores"] <= (os.cpu_count() or 1)
    assert told["memory_gb"] is None or told["memory_gb"] > 0.1
    assert told["processor"] == str(hardware.this_processor())
    assert set(told) == {"host", "os", "cpu", "processor", "cores", "memory_gb", "gpus"}


def test_the_cpu_has_the_name_that_linux_gives_it(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: Another\n")
    assert hardware._cpu_model(file) == "Some CPU @ 2 GHz"
    assert hardware._cpu_model(tmp_path / "none") != "Some CPU @ 2 GHz"


def test_gpus_are_listed_where_nvidia_smi_lists_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA A, 81559 MiB'\necho 'NVIDIA B, 24576 MiB'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert hardware._gpus() == ["NVIDIA A, 81559 MiB", "NVIDIA B, 24576 MiB"]
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert hardware._gpus() == []


HASWELL = "fpu sse4_2 avx avx2 fma"  # and Zen 1 to 3
SKYLAKE_X = f"{HASWELL} avx512f avx512bw"
CASCADE_LAKE = f"{SKYLAKE_X} avx512_vnni"
ALDER_LAKE = f"{HASWELL} avx_vnni"


@pytest.mark.parametrize(
    ("flags", "environment", "kernels", "instructions"),
    [
        (CASCADE_LAKE, {}, "onednn", "AVX-512"),
        (ALDER_LAKE, {}, "onednn", "AVX2"),
        # AVX-512 alone is not enough for TensorFlow to take oneDNN by itself.
        (SKYLAKE_X, {}, "eigen", "AVX-512"),
        (HASWELL, {}, "eigen", "AVX2"),
        (HASWELL, {"TF_ENABLE_ONEDNN_OPTS": "1"}, "onednn", "AVX2"),
        (CASCADE_LAKE, {"TF_ENABLE_ONEDNN_OPTS": "0"}, "eigen", "AVX-512"),
        (CASCADE_LAKE, {"TF_ENABLE_ONEDNN_OPTS": "what"}, "onednn", "AVX-512"),
        # oneDNN is limited, and TensorFlow takes it all the same.
        (CASCADE_LAKE, {"ONEDNN_MAX_CPU_ISA": "AVX2"}, "onednn", "AVX2"),
        (CASCADE_LAKE, {"ONEDNN_MAX_CPU_ISA": "avx512_core"}, "onednn", "AVX-512"),
        (HASWELL, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, "eigen", "AVX2"),
        (CASCADE_LAKE, {"ONEDNN_MAX_CPU_ISA": "SSE41"}, "onednn", "SSE"),
        ("fpu sse4_2", {}, "eigen", "SSE"),
    ],
)
def test_a_processor_is_known_by_its_flags(
    tmp_path: Path, flags: str, environment: dict[str, str], kernels: str, instructions: str
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: none\n")

    found = hardware.this_processor(file, environment)

    assert (found.kernels, found.instructions) == (kernels, instructions)


def test_of_a_system_that_is_not_linux_nothing_is_known(tmp_path: Path) -> None:
    found = hardware.this_processor(tmp_path / "none", {})

    assert found == Processor("eigen", "unknown")
    assert str(found) == "unknown, no oneDNN kernels"


@pytest.mark.parametrize("asked", [None, "0"])
def test_tensorflow_takes_the_kernels_that_are_told(asked: str | None) -> None:
    code = (
        "from tensorflow.python.util import _pywrap_util_port as port; "
        "from search.process.hardware import this_processor; "
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
