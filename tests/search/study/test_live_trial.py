"""Trials whose workers are lost, silent, recycled or short of memory, over a real journal."""

from __future__ import annotations

import time
from pathlib import Path

from optuna.trial import TrialState

from search.config.schema import StudyConfig
from search.interfaces.messages import TrialReport
from search.tuning.bridge import StudySearcher
from tests.epochs import epoch_of
from tests.search.managers import (
    Places,
    config_in,
    lose,
    mirrored,
    open_manager,
    proposal_of,
    result,
    trials,
)


def test_a_trial_that_lost_its_worker_goes_on_and_the_loss_is_counted_in_the_study(
    config: StudyConfig,
) -> None:
    manager = open_manager(config)
    number = proposal_of(manager).number
    (ray_id,) = manager._live
    manager.report(ray_id, result([0.1, 0.2]))
    lose(manager, ray_id)

    assert proposal_of(manager).number == number
    (trial,) = trials(manager)
    assert trial.state is TrialState.RUNNING
    assert trial.user_attrs["failures"] == [{"epoch": 2, "reason": "its node was lost"}]
    assert mirrored(config, 0)["failures"] == trial.user_attrs["failures"]


def test_losses_in_a_row_end_in_fail_also_over_several_runs(tmp_path: Path) -> None:
    config = config_in(tmp_path, resources={"max_failures": 2})
    for run in range(3):
        manager = open_manager(config)  # counted in the study, not in the driver's memory
        manager.propose(str(run))
        lose(manager, str(run), "its worker process died")

    (trial,) = trials(manager)
    assert trial.state is TrialState.FAIL
    assert len(trial.user_attrs["failures"]) == 3
    assert mirrored(config, 0)["reason"] == (
        "its worker process died; failure 3 in a row after epoch 0"
    )


def test_a_trial_that_ends_badly_at_once_keeps_what_its_earlier_workers_found(
    tmp_path: Path,
) -> None:
    config = config_in(tmp_path, resources={"max_failures": 0})
    first = open_manager(config)
    folder = Path(proposal_of(first).folder)
    lines = [epoch_of(number, objective=value).line() for number, value in ((1, 0.4), (2, 0.3))]
    (folder / "metrics.jsonl").write_text("".join(lines))
    second = open_manager(config)
    second.propose("a")
    lose(second, "a")

    record = mirrored(config, 0)
    assert (record["state"], record["epochs"]) == ("FAIL", 2)
    assert (record["value"], record["best_epoch"]) == (0.4, 1)


def test_an_epoch_between_two_losses_forgives_the_first(tmp_path: Path) -> None:
    config = config_in(tmp_path, resources={"max_failures": 1})
    manager = open_manager(config)
    values = []
    for attempt in range(4):
        manager.propose(str(attempt))
        values.append(0.1 * attempt)
        manager.report(str(attempt), result(values))
        lose(manager, str(attempt))

    assert trials(manager)[0].state is TrialState.RUNNING
    manager.propose("a")
    lose(manager, "a")
    assert trials(manager)[0].state is TrialState.FAIL


def test_a_recycled_worker_is_no_failure(config: StudyConfig) -> None:
    manager = open_manager(config)
    number = proposal_of(manager).number
    (ray_id,) = manager._live
    manager.note_lost(ray_id, "its worker failed", recycled=True)
    manager.finish(ray_id, None, error=True)

    assert proposal_of(manager).number == number
    assert "failures" not in trials(manager)[0].user_attrs


def test_the_search_is_not_over_while_a_trial_may_still_lose_its_worker(tmp_path: Path) -> None:
    config = config_in(tmp_path, num_trials=1)
    manager = open_manager(config)
    searcher = StudySearcher(manager)
    searcher.suggest("a")
    assert searcher.suggest("b") is None  # not FINISHED, which Tune would never take back
    lose(manager, "a")
    assert searcher.suggest("b") is not None


def test_a_silent_worker_is_overdue_and_its_trial_goes_on(tmp_path: Path) -> None:
    config = config_in(tmp_path, resources={"trial_timeout_minutes": 0.001})
    manager = open_manager(config)
    manager.propose("waits for a node")
    manager.propose("hangs")
    manager.seen("hangs")
    time.sleep(0.1)

    assert manager.overdue() == ["hangs"]
    assert manager.overdue() == []  # killed once
    lose(manager, "hangs", "its worker process died")
    (failure,) = trials(manager)[1].user_attrs["failures"]
    assert failure["reason"] == "no report for 0.001 minutes (trial_timeout_minutes)"


def test_out_of_memory_is_tried_once_more_where_a_larger_share_may_help(tmp_path: Path) -> None:
    manager = open_manager(config_in(tmp_path), placer=Places(deepest=9))
    for ray_id in ("a", "b"):
        assert trials(manager) == [] or trials(manager)[0].state is TrialState.RUNNING
        manager.propose(ray_id)
        manager.finish(ray_id, TrialReport(done=True, failed="out of memory: 9 GB"), error=False)

    (trial,) = trials(manager)
    assert trial.user_attrs["share"] == 2
    assert trial.state is TrialState.FAIL
    assert trial.constraints == {"memory": 1.0}
