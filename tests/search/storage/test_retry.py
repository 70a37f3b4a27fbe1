"""Storage that is away, full or stays away, under a manager over a real journal."""

from __future__ import annotations

import errno
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from search.config.schema import StudyConfig
from search.interfaces.messages import TrialReport
from tests.search.managers import (
    config_in,
    open_manager,
    proposal_of,
    result,
    trials,
)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.storage.retry.RETRY_SECONDS", 0.2)


def test_a_study_directory_that_is_gone_for_a_while_pauses_the_search(
    config: StudyConfig, impatient: None
) -> None:
    manager = open_manager(config)
    manager.propose("a")
    away = config.directory.with_name("away")
    config.directory.rename(away)
    back = threading.Timer(0.5, lambda: away.rename(config.directory))
    back.start()
    manager.report("a", result([0.5]))
    manager.finish("a", result([0.5], done=True), error=False)
    back.join()

    assert [trial.value for trial in trials(open_manager(config))] == [0.5]
    assert manager.trouble is None
    first, second = manager.observer.warnings  # type: ignore[attr-defined]
    assert "the storage is gone" in first
    assert "the search pauses" in first
    assert "writing again" in second


def test_a_storage_that_stays_away_ends_the_run_and_nothing_is_begun_in_its_place(
    tmp_path: Path, impatient: None
) -> None:
    config = config_in(tmp_path, resources={"storage_patience_minutes": 0.005})
    manager = open_manager(config)
    manager.propose("a")
    away = config.directory.with_name("away")
    config.directory.rename(away)
    manager.report("a", result([0.5]))
    manager.finish("a", result([0.5], done=True), error=False)

    assert "the storage is gone" in str(manager.trouble)
    assert (manager.stop.asked, manager.stop.exit_code) == (True, 75)
    assert not config.directory.exists()
    away.rename(config.directory)
    assert proposal_of(open_manager(config)).number == 0  # RUNNING, goes on


def test_a_full_disk_under_the_journal_tears_no_line_and_loses_no_trial(
    config: StudyConfig, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from search.storage.journal import StudyJournal

    manager = open_manager(config)
    append, left = StudyJournal.append_logs, [3]

    def full(self: StudyJournal, logs: list[dict[str, Any]]) -> None:
        if left[0] == 0:
            return append(self, logs)
        left[0] -= 1
        with open(config.directory / "optuna.journal", "a") as file:
            file.write('{"op_code": 4, "worker')  # what the disk still took
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(StudyJournal, "append_logs", full)
    first = proposal_of(manager)
    (ray_id,) = manager._live
    left[0] = 2
    manager.report(ray_id, result([0.5]))
    left[0] = 2
    manager.finish(ray_id, result([0.5], done=True), error=False)

    assert first.number == 0
    again = trials(open_manager(config))
    assert [(t.state, t.value) for t in again] == [(TrialState.COMPLETE, 0.5)]
    assert again[0].intermediate_values == {1: 0.5}


def test_a_worker_that_waits_for_its_storage_is_said_and_in_the_end_replaced(
    tmp_path: Path,
) -> None:
    config = config_in(tmp_path, resources={"storage_patience_minutes": 0.002})
    manager = open_manager(config)
    manager.propose("a")
    waiting = TrialReport(waiting="the storage is full")
    assert not manager.report("a", waiting)
    time.sleep(0.2)
    assert manager.report("a", waiting)
    manager.finish("a", waiting, error=False)

    assert manager.observer.warnings[0] == "trial 0 waits: the storage is full"  # type: ignore[attr-defined]
    assert trials(manager)[0].user_attrs["failures"][0]["reason"] == "the storage is full"
    assert proposal_of(manager).number == 0
