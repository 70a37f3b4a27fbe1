from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from search.process import hardware


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
