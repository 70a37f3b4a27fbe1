"""How trials end, by a manager over a real Optuna journal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from search.config.schema import StudyConfig
from search.interfaces.messages import TrialReport
from search.study.opening import mirror_study, open_study
from tests.search.managers import (
    mirrored,
    open_manager,
    proposal_of,
    result,
    several,
    trials,
    with_cost,
)


def test_a_completed_trial_has_its_best_epochs_value_and_every_intermediate_one(
    config: StudyConfig,
) -> None:
    manager = open_manager(config)
    manager.propose("a")
    manager.report("a", result([0.1]))
    manager.report("a", result([0.1, 0.5]))
    manager.finish("a", result([0.1, 0.5, 0.3], done=True), error=False)

    (trial,) = trials(manager)
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.5)
    assert trial.intermediate_values == {1: 0.1, 2: 0.5, 3: 0.3}
    assert mirrored(config, 0)["best_epoch"] == 2
    assert mirrored(config, 0)["cost"]["parameters"] == 10


@pytest.mark.parametrize(
    ("ending", "error", "reason"),
    [
        (TrialReport(done=True, failed="NonFiniteLoss: nan"), False, "NonFiniteLoss: nan"),
        (result([None], done=True, pruning=[None]), False, "was undefined in every epoch"),
    ],
)
def test_what_ends_badly_is_fail_with_its_reason(
    config: StudyConfig, ending: Any, error: bool, reason: str
) -> None:
    manager = open_manager(config)
    manager.propose("a")
    manager.finish("a", ending, error)

    assert trials(manager)[0].state is TrialState.FAIL
    assert reason in mirrored(config, 0)["reason"]


def test_out_of_memory_is_fail_with_a_violated_constraint(config: StudyConfig) -> None:
    manager = open_manager(config)
    manager.propose("a")
    manager.finish("a", TrialReport(done=True, failed="out of memory: 3 GB"), error=False)

    assert trials(manager)[0].state is TrialState.FAIL
    assert trials(manager)[0].constraints == {"memory": 1.0}


def test_a_told_trial_whose_mirror_was_not_written_is_mirrored_at_the_next_start(
    config: StudyConfig,
) -> None:
    manager = open_manager(config)
    manager.propose("a")
    trial = optuna.trial.Trial(manager.study, trials(manager)[0]._trial_id)
    manager.study.tell(trial, 0.4)
    assert mirrored(config, 0)["state"] == "RUNNING"

    mirror_study(config.directory, open_study(config))
    assert mirrored(config, 0)["state"] == "COMPLETE"


def test_a_trial_that_the_pruner_had_stopped_is_told_pruned_not_trained_on(
    config: StudyConfig,
) -> None:
    manager = open_manager(config)
    for ray_id, value in (("b", 0.6), ("a", 0.5)):
        manager.propose(ray_id)
        stopped = manager.report(ray_id, result([value]))
    assert stopped
    # The driver dies before Ray has stopped the trial.
    after = open_manager(config)

    assert trials(after)[1].state is TrialState.PRUNED
    assert (mirrored(config, 1)["value"], mirrored(config, 1)["epochs"]) == (0.5, 1)
    assert [proposal_of(after).number for _ in range(2)] == [0, 2]


def test_a_failure_that_was_noted_and_not_told_is_told(config: StudyConfig) -> None:
    manager = open_manager(config)
    manager.propose("a")
    running = optuna.trial.Trial(manager.study, trials(manager)[0]._trial_id)
    running.set_user_attr("reason", "NonFiniteLoss: nan")

    assert trials(open_manager(config))[0].state is TrialState.FAIL
    assert mirrored(config, 0)["reason"] == "NonFiniteLoss: nan"


def test_several_objectives_are_told_and_mirrored_by_name(tmp_path: Path) -> None:
    config = several(tmp_path)
    manager = open_manager(config)
    manager.propose("a")
    assert not manager.report("a", with_cost([0.1], 2.5))
    manager.finish("a", with_cost([0.1, 0.5], 2.5, done=True), error=False)

    (trial,) = trials(manager)
    assert (trial.state, trial.values) == (TrialState.COMPLETE, [0.5, 10.0, 2.5])
    assert mirrored(config, 0)["values"] == {
        "mean_foreground_dice": 0.5,
        "parameters": 10.0,
        "latency_ms": 2.5,
    }
    assert mirrored(config, 0)["value"] == 0.5


def test_what_ran_out_of_memory_is_noted_with_the_share_it_ran_on(config: StudyConfig) -> None:
    manager = open_manager(config)
    manager.propose("a")

    assert trials(manager)[0].user_attrs["reserved"] == "gpus 0, memory None GB"
