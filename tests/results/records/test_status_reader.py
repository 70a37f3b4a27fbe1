from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from results.records.status_reader import StudyWatch, holder_of, seconds_of
from results.records.study import RecordError
from tests.results.simulated_study import Simulation, write_study


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path / "study", Simulation(trials=24))


def test_a_study_is_read_with_its_best_its_workers_and_its_failures(study: Path) -> None:
    running = study / "trials" / "00023"
    (running / "worker.json").write_text('{"host": "node7", "pid": 41}', encoding="utf-8")
    now = StudyWatch(study).status(time.time())

    assert sum(now.states.values()) == 24
    assert now.driver.state == "none"
    assert now.best is not None
    assert now.best.state == "COMPLETE"
    assert set(now.best.dice) == set(now.classes)
    worker = now.running[-1]
    assert (worker.number, worker.host, worker.pid) == (23, "node7", 41)
    assert worker.epoch == len((running / "metrics.jsonl").read_text().splitlines())
    assert worker.silent_seconds is not None
    assert worker.silent_seconds < 60
    assert now.failures[0] == (11, "ResourceExhaustedError: out of memory")
    json.dumps(now.to_json(), allow_nan=False)


def test_a_later_look_reads_what_has_changed_and_only_that(study: Path) -> None:
    watch = StudyWatch(study)
    first = watch.status(time.time())
    path = study / "trials" / "00023" / "metrics.jsonl"
    line = json.loads(path.read_text().splitlines()[-1])
    line.update(epoch=line["epoch"] + 1, objective=0.99)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    # A trial that has ended is not read again: not even when its file is gone.
    (study / "trials" / "00000" / "trial.json").unlink()
    second = watch.status(time.time())

    assert second.running[-1].value == 0.99
    assert second.running[-1].epoch == first.running[-1].epoch + 1
    assert second.states == first.states


def test_torn_lines_and_trials_about_to_begin_are_no_problem(study: Path) -> None:
    (study / "trials" / "00024").mkdir()
    with open(study / "trials" / "00023" / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"epoch": 9')

    assert sum(StudyWatch(study).status(time.time()).states.values()) == 24


def test_what_is_no_study_is_said(tmp_path: Path, study: Path) -> None:
    with pytest.raises(RecordError, match=r"study\.yaml"):
        StudyWatch(tmp_path).status(0.0)
    (study / "trials" / "00003" / "trial.json").write_text("{", encoding="utf-8")
    with pytest.raises(RecordError, match=r"00003/trial\.json: expected JSON"):
        StudyWatch(study).status(0.0)
    shutil.rmtree(study / "trials")
    assert StudyWatch(study).status(0.0).states == {}


def test_a_lease_tells_the_living_from_the_gone(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    assert holder_of(path) is None
    path.write_text("", encoding="utf-8")
    assert holder_of(path) is None

    process = subprocess.Popen(["sleep", "60"])
    holder = {
        "host": socket.gethostname(),
        "pid": process.pid,
        "since": "2026-01-01T00:00:00+00:00",
    }
    path.write_text(json.dumps(holder), encoding="utf-8")
    os.utime(path, (5.0, 5.0))
    found = holder_of(path)
    assert found is not None
    assert (found.pid, found.beat, found.gone) == (process.pid, 5.0, False)
    assert found.since == seconds_of("2026-01-01T01:00:00+01:00")

    process.kill()
    process.wait()
    found = holder_of(path)
    assert found is not None
    assert found.gone
    path.write_text(json.dumps({**holder, "host": "elsewhere"}), encoding="utf-8")
    found = holder_of(path)
    assert found is not None
    assert not found.gone
