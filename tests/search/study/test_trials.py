"""The manager over a real Optuna journal; the worker's results are given, Ray is not needed."""

from __future__ import annotations

import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from search.config.loading import config_from_tree
from search.config.schema import StudyConfig
from search.interfaces.messages import TrialReport
from search.process.stop import Stop
from search.study.attributes import SHARE
from search.tuning.bridge import StudySearcher
from tests.search.managers import (
    Places,
    config_in,
    mirrored,
    open_manager,
    proposal_of,
    result,
    several,
    trials,
    with_cost,
)


def test_the_pruner_stops_the_worse_and_it_is_told_pruned(config: StudyConfig) -> None:
    manager = open_manager(config)
    for ray_id, value in (("a", 0.6), ("b", 0.5), ("c", 0.7)):
        manager.propose(ray_id)
        stopped = manager.report(ray_id, result([value]))
        assert stopped == (value == 0.5)
    manager.finish("b", result([0.5]), error=False)

    assert trials(manager)[1].state is TrialState.PRUNED
    assert trials(manager)[1].intermediate_values == {1: 0.5}
    assert mirrored(config, 1) | {"state": "PRUNED", "value": 0.5} == mirrored(config, 1)


@pytest.mark.parametrize("prunes", [False, True])
def test_a_baseline_is_stopped_only_where_asked_and_others_are_judged_by_it(
    tmp_path: Path, prunes: bool
) -> None:
    given = [{"name": "ours", "params": {"model.num_layers": 4}}]
    config = config_in(tmp_path, baselines=given, prune_baselines=prunes, reduction_factor=3)
    manager = open_manager(config)
    manager.propose("baseline")
    manager.propose("a")
    assert not manager.report("a", result([0.9]))
    assert manager.report("baseline", result([0.1])) == prunes
    # The best of two passes; of three that count, the second would not.
    manager.propose("b")
    assert manager.report("b", result([0.5]))


def test_the_pruner_sees_the_pruning_metric_and_the_value_is_the_objective(
    config: StudyConfig,
) -> None:
    manager = open_manager(config)
    manager.propose("a")
    manager.finish("a", result([0.0, 0.2], done=True, pruning=[0.4, 0.6]), error=False)

    assert trials(manager)[0].intermediate_values == {1: 0.4, 2: 0.6}
    assert trials(manager)[0].value == 0.2


def test_a_trial_stopped_by_the_clock_stays_running(config: StudyConfig) -> None:
    manager = open_manager(config)
    manager.propose("a")
    manager.report("a", result([0.1]))
    manager.finish("a", None, error=False)

    assert trials(manager)[0].state is TrialState.RUNNING


def test_no_more_trials_are_proposed_than_fit_or_after_the_deadline(config: StudyConfig) -> None:
    manager = open_manager(config, capacity=lambda: 1)
    assert StudySearcher(manager).suggest("a") is not None
    assert StudySearcher(manager).suggest("b") is None

    late = open_manager(config_in(config.directory), stop=Stop(deadline=time.time() - 1))
    assert StudySearcher(late).suggest("a") == Searcher.FINISHED


def test_the_searcher_hands_over_the_workers_packed_result(config: StudyConfig) -> None:
    manager = open_manager(config)
    searcher = StudySearcher(manager)
    searcher.suggest("a")
    report = result([0.3], done=True)
    searcher.on_trial_complete("a", {"report": report, "epoch": 1, "done": True})
    searcher.on_trial_complete("a", {"report": report})  # Tune may tell an end twice

    assert [t.value for t in trials(manager)] == [0.3]


def test_a_proposal_says_what_it_reserves_and_a_retry_gets_its_larger_share(
    tmp_path: Path,
) -> None:
    config = config_in(tmp_path, resources={"gpus_per_trial": 0.25, "memory_per_trial": 3})
    manager = open_manager(config)
    first = manager.propose("a")
    assert first is not None
    assert first.bundle == {"CPU": 1, "GPU": 0.25, "memory": 3e9}
    assert first.resources.gpus == 0.25

    running = optuna.trial.Trial(manager.study, trials(manager)[0]._trial_id)
    running.set_user_attr(SHARE, 2)
    again = open_manager(config).propose("b")
    assert again is not None
    assert again.number == 0
    assert again.bundle == {"CPU": 1, "GPU": 0.5, "memory": 6e9}
    assert again.resources.gpus == 0.5


def test_a_trial_gives_its_place_back_however_it_ends(config: StudyConfig) -> None:
    places = Places(deepest=9)
    manager = open_manager(config, placer=places)
    for name in "abc":
        assert manager.propose(name).bundle == {"CPU": 1.0}  # type: ignore[union-attr]
    assert places.held == ["a", "b", "c"]
    manager.finish("a", result([0.1], done=True), error=False)
    manager.finish("b", None, error=True)
    manager.finish("c", None, error=False)  # stopped by the clock

    assert places.held == []


def test_every_epoch_corrects_the_predictions_for_what_was_trained(config: StudyConfig) -> None:
    places = Places(deepest=9)
    manager = open_manager(config, placer=places)
    proposal = manager.propose("a")
    assert proposal is not None
    manager.report("a", result([0.1]))
    manager.report("a", result([0.1, 0.2]))

    assert [epoch for _, epoch in places.learned] == [1, 2]
    assert [trained for trained, _ in places.learned] == [proposal.config] * 2


@pytest.mark.parametrize(("needed", "trained"), [(10**9, True), (3 * 10**9, False)])
def test_the_limit_on_memory_is_held_to_what_the_nodes_are_predicted_to_need(
    tmp_path: Path, needed: int, trained: bool
) -> None:
    config = config_in(tmp_path, max_memory_gb=2, sampler="random")
    manager = open_manager(config, placer=Places(deepest=9, memory=needed))

    assert (manager.propose("a") is not None) is trained
    assert (manager.proposer.stuck is None) is trained
    assert ("max_memory_gb" in manager.proposer.refused) is not trained


def test_what_fits_on_no_node_is_refused(tmp_path: Path) -> None:
    manager = open_manager(config_in(tmp_path, sampler="random"), placer=Places())
    depths = {proposal_of(manager).config.model.num_layers for _ in range(4)}

    assert max(depths) <= 4
    assert manager.proposer.refused["out of memory"] > 0


def test_seeds_follow_from_the_studys_seed_and_the_number(tmp_path: Path) -> None:
    def seeds(folder: str, seed: int) -> list[int]:
        config = config_in(tmp_path / folder)
        tree = config.to_tree()
        tree["study"]["seed"] = seed
        manager = open_manager(config_from_tree(tree))
        return [manager.propose(name).config.seed for name in "abc"]  # type: ignore[union-attr]

    first = seeds("one", 3)
    assert len(set(first)) == 3
    assert seeds("two", 3) == first
    assert seeds("three", 4) != first


def test_a_run_whose_first_trials_all_fail_at_once_proposes_no_more(config: StudyConfig) -> None:
    manager = open_manager(config, capacity=lambda: 2)
    for number in range(3):
        assert not manager.exhausted
        manager.propose(str(number))
        manager.finish(
            str(number), TrialReport(done=True, failed="DataError: no store"), error=False
        )

    assert manager.no_progress
    assert manager.exhausted


def test_failures_after_a_trial_has_trained_do_not_end_the_run(config: StudyConfig) -> None:
    manager = open_manager(config, capacity=lambda: 2)
    manager.propose("good")
    manager.finish("good", result([0.5], done=True), error=False)
    for number in range(4):
        manager.propose(str(number))
        manager.finish(str(number), TrialReport(done=True, failed="out of memory: 1"), error=False)

    assert not manager.no_progress


def test_a_stopped_run_lets_its_epochs_end_and_leaves_its_trials_running(
    config: StudyConfig,
) -> None:
    stop = Stop(grace=60)
    manager = open_manager(config, stop=stop)
    manager.propose("a")
    stop.ask("SIGTERM", 143, grace=True)

    assert StudySearcher(manager).suggest("b") == Searcher.FINISHED
    assert not stop.now(manager.live)
    assert manager.report("a", result([0.5]))  # stopped at its epoch's end, which is told
    manager.finish("a", result([0.5]), error=False)
    assert stop.now(manager.live)
    (trial,) = trials(manager)
    assert (trial.state, trial.intermediate_values) == (TrialState.RUNNING, {1: 0.5})


def test_a_superseded_run_writes_nothing_more(config: StudyConfig) -> None:
    manager = open_manager(config)
    manager.propose("a")
    before = (config.directory / "optuna.journal").read_bytes()
    manager.stop.supersede("another process has taken the study over")
    manager.report("a", result([0.5]))
    manager.finish("a", result([0.5], done=True), error=False)

    assert manager.stop.now(manager.live)
    assert (config.directory / "optuna.journal").read_bytes() == before


@pytest.mark.parametrize("at_its_last_epoch", [False, True])
def test_a_trial_measured_over_a_limit_is_stopped_and_pruned_with_its_reason(
    tmp_path: Path, at_its_last_epoch: bool
) -> None:
    config = config_in(tmp_path, max_latency_ms=1.0)
    manager = open_manager(config)
    manager.propose("a")
    if at_its_last_epoch:
        manager.finish("a", with_cost([0.5], 3.0, done=True), error=False)
    else:
        assert manager.report("a", with_cost([0.5], 3.0))
        manager.finish("a", with_cost([0.5], 3.0), error=False)

    (trial,) = trials(manager)
    assert (trial.state, trial.constraints) == (TrialState.PRUNED, {"latency_ms": 2.0})
    assert "max_latency_ms = 1.0, measured 3 ms" in mirrored(config, 0)["reason"]


def test_a_latency_measured_before_an_interruption_stands(tmp_path: Path) -> None:
    config = several(tmp_path)
    first = open_manager(config)
    first.propose("a")
    first.report("a", with_cost([0.1], 2.5))
    second = open_manager(config)
    second.propose("b")
    second.finish("b", with_cost([0.1, 0.2], 9.9, done=True), error=False)

    assert trials(second)[0].values == [0.2, 10.0, 2.5]


def test_of_several_objectives_a_trial_is_stopped_where_others_beat_it_in_all(
    tmp_path: Path,
) -> None:
    config = config_in(
        tmp_path,
        pruner="asha",
        minimize=["parameters", "latency_ms"],
        num_trials=8,
        startup_trials=2,
    )
    manager = open_manager(config)
    reports = {
        "good": with_cost([0.6], 2.0),
        "fast": with_cost([0.2], 0.5),
        "bad": with_cost([0.1], 3.0),
    }
    stops = {}
    for name, told in reports.items():
        manager.propose(name)
        stops[name] = manager.report(name, told)
        done = with_cost([0.6], 2.0, done=True) if not stops[name] else told
        manager.finish(name, done, error=False)
    assert stops == {"good": False, "fast": False, "bad": True}
    states = [trial.state for trial in manager.study.get_trials()]
    assert states == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED]
    # The sampler goes on with them, in this run and the next one.
    assert manager.propose("more") is not None
    again = open_manager(config)
    again.propose("worse")
    assert again.report("worse", with_cost([0.05], 9.0))
