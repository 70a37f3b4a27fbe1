"""One process a study; the processes of the tests are real ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from search.errors import RunError
from search.process.stop import Stop
from search.storage import lock
from search.storage.lock import study_lock

HOLD = """
import sys, time
from pathlib import Path
from search.storage.lock import study_lock
from search.process.stop import Stop
with study_lock(Path(sys.argv[1]), Stop()):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.1)


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    with process:
        yield process
        process.kill()


def test_a_study_left_in_order_is_free(tmp_path: Path) -> None:
    for _ in range(2):
        with study_lock(tmp_path, Stop()):
            assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()
        assert (tmp_path / "run.lock").read_text() == ""


def test_a_killed_holder_of_this_machine_needs_no_take_over(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    holder.kill()
    holder.wait()
    with study_lock(tmp_path, Stop()):
        pass


@pytest.mark.parametrize("take_over", [False, True])
def test_a_living_holder_is_named_and_kept(
    tmp_path: Path,
    holder: subprocess.Popen[str],
    take_over: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 2.0)  # the holder's
    with (
        pytest.raises(RunError, match=f"process {holder.pid} on .*, which is alive"),
        study_lock(tmp_path, Stop(), take_over),
    ):
        pass


def of_another_machine(folder: Path) -> None:
    (folder / "run.lock").write_text(json.dumps({"host": "elsewhere", "pid": 7, "run": "r"}))


def test_a_holder_on_another_machine_that_gives_no_sign_is_taken_over_on_request(
    tmp_path: Path,
) -> None:
    of_another_machine(tmp_path)
    with (
        pytest.raises(RunError, match=r"process 7 on elsewhere.*--take-over"),
        study_lock(tmp_path, Stop()),
    ):
        pass
    with study_lock(tmp_path, Stop(), take_over=True):
        pass


def test_a_holder_on_another_machine_whose_heart_beats_is_kept(tmp_path: Path) -> None:
    of_another_machine(tmp_path)
    beat = "import os, sys, time\nwhile True: os.utime(sys.argv[1]); time.sleep(0.02)"
    with subprocess.Popen([sys.executable, "-c", beat, str(tmp_path / "run.lock")]) as process:
        try:
            time.sleep(0.5)
            with (
                pytest.raises(RunError, match="elsewhere, which is alive"),
                study_lock(tmp_path, Stop(), take_over=True),
            ):
                pass
        finally:
            process.kill()


def test_who_finds_the_study_taken_over_ends_and_leaves_the_lock_alone(tmp_path: Path) -> None:
    stop = Stop()
    with study_lock(tmp_path, stop):
        os.unlink(tmp_path / "run.lock")
        of_another_machine(tmp_path)
        end = time.monotonic() + 5
        while not stop.superseded and time.monotonic() < end:
            time.sleep(0.05)

    assert stop.reason == "another process has taken the study over: process 7 on elsewhere"
    assert "elsewhere" in (tmp_path / "run.lock").read_text()
