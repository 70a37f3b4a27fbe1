"""Which trials are handed out, by a manager over a real Optuna journal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from optuna.trial import TrialState
from ray.tune.search import Searcher

from search.config.loading import config_from_tree
from search.config.schema import StudyConfig
from search.storage.files import trial_folder
from search.study.opening import open_study
from search.tuning.bridge import StudySearcher
from tests.search.managers import (
    config_in,
    mirrored,
    open_manager,
    result,
    trials,
)


def test_an_interrupted_trial_is_adopted_with_its_number_parameters_and_epochs(
    config: StudyConfig,
) -> None:
    first = open_manager(config)
    before = first.propose("a")
    first.report("a", result([0.1, 0.2]))
    # The driver dies here; the worker had trained and checkpointed a third epoch.
    second = open_manager(config)
    after = second.propose("other")

    assert before is not None
    assert after is not None
    assert before.owner != after.owner
    assert replace(after, owner=before.owner) == before
    second.finish("other", result([0.1, 0.2, 0.4, 0.3], done=True), error=False)
    (trial,) = trials(second)
    assert (trial.number, trial.state, trial.value) == (0, TrialState.COMPLETE, 0.4)
    assert trial.intermediate_values == {1: 0.1, 2: 0.2, 3: 0.4, 4: 0.3}


def test_finished_trials_are_never_proposed_again_and_the_budget_counts_them(
    tmp_path: Path,
) -> None:
    config = config_in(tmp_path, num_trials=2)
    manager = open_manager(config)
    for ray_id in ("a", "b"):
        manager.propose(ray_id)
        manager.finish(ray_id, result([0.1], done=True), error=False)

    assert manager.exhausted
    assert open_manager(config).exhausted
    assert not open_manager(config_in(tmp_path, num_trials=3)).exhausted
    assert StudySearcher(manager).suggest("c") == Searcher.FINISHED


def test_baselines_come_first_and_once(tmp_path: Path) -> None:
    baseline = {"name": "hand-tuned", "params": {"model.num_layers": 5, "train.batch_size": 4}}
    config = config_in(tmp_path, baselines=[baseline])
    manager = open_manager(config)
    proposal = manager.propose("a")
    assert proposal is not None
    assert proposal.config.model.num_layers == 5
    assert mirrored(config, 0)["baseline"] == "hand-tuned"

    manager.finish("a", result([0.3], done=True), error=False)
    open_manager(config).propose("b")
    assert mirrored(config, 1)["baseline"] is None


def test_a_continued_study_does_not_draw_the_same_again(tmp_path: Path) -> None:
    config = config_in(tmp_path, sampler="random")
    for _ in range(3):
        manager = open_manager(config)
        manager.propose("a")
        manager.finish("a", result([0.1], done=True), error=False)

    rates = {trial.params["train.learning_rate"] for trial in trials(manager)}
    assert len(rates) == 3


def test_a_trial_whose_driver_died_while_asking_is_completed_and_adopted(
    config: StudyConfig,
) -> None:
    manager = open_manager(config)
    name, distribution = next(iter(config.space.items()))
    asked = manager.study.ask({name: distribution.to_optuna()})

    proposal = open_manager(config).propose("a")
    assert proposal is not None
    assert proposal.number == 0
    assert trials(manager)[0].params.keys() == config.space.keys()
    assert trials(manager)[0].params[name] == asked.params[name]


def test_refused_and_repeated_proposals_are_no_trials_of_the_budget(tmp_path: Path) -> None:
    config = config_in(tmp_path, num_trials=3, sampler="random", max_parameters=150_000)
    manager = open_manager(config)
    for ray_id in "abc":
        assert not manager.exhausted
        assert manager.propose(ray_id) is not None
        manager.finish(ray_id, result([0.4], done=True), error=False)

    assert manager.exhausted
    assert manager.proposer.refused["max_parameters"] > 0
    assert len(list((config.directory / "trials").iterdir())) == 3
    assert open_manager(config).exhausted


def test_a_space_that_is_exhausted_ends_the_search(tmp_path: Path) -> None:
    tree = config_in(tmp_path, num_trials=9).to_tree()
    tree["model"] |= {"base_filters": 4, "base_kernel": 3, "dropout_rate": 0.0}
    tree["model"]["num_layers"] = {"int": [1, 2]}
    tree["train"]["learning_rate"] = 0.01
    tree["search"]["sampler"] = "grid"
    config = config_from_tree(tree)
    manager = open_manager(config)
    for ray_id in "ab":
        assert manager.propose(ray_id) is not None
    assert StudySearcher(manager).suggest("c") is None
    for ray_id in "ab":
        manager.finish(ray_id, result([0.4], done=True), error=False)
    assert StudySearcher(manager).suggest("c") == Searcher.FINISHED

    assert open_manager(config).propose("d") is None


def test_a_waiting_duplicate_is_not_adopted_and_ends_with_its_original(
    config: StudyConfig,
) -> None:
    manager = open_manager(config)
    manager.propose("a")
    manager.study.enqueue_trial(trials(manager)[0].params)
    assert manager.propose("b") is not None  # another one: the repetition waits
    waiting = trials(manager)[1]
    assert (waiting.state, waiting.user_attrs["duplicate_of"]) == (TrialState.RUNNING, 0)

    continued = open_manager(config)
    adopted = [continued.propose(name) for name in "cd"]
    assert [proposal and proposal.number for proposal in adopted] == [0, 2]
    continued.finish("c", result([0.7], done=True), error=False)
    assert trials(continued)[1].value == 0.7
    assert not trial_folder(config.directory, 1).exists()


def test_a_trial_whose_driver_died_while_asking_is_refused_like_any_other(tmp_path: Path) -> None:
    config = config_in(tmp_path, max_parameters=150_000, num_trials=2)
    (config.directory / "trials").mkdir(parents=True)
    first = open_study(config)
    first.enqueue_trial({"model.num_layers": 6, "model.base_filters": 32})
    first.ask({"model.num_layers": config.space["model.num_layers"].to_optuna()})
    manager = open_manager(config)
    proposals = [manager.propose(name) for name in "ab"]

    assert all(proposals)
    assert trials(manager)[0].state is TrialState.PRUNED
    assert "max_parameters" in trials(manager)[0].user_attrs["refused"]
    assert StudySearcher(manager).suggest("c") is None


def test_a_slot_with_nothing_left_to_train_is_said(tmp_path: Path) -> None:
    manager = open_manager(config_in(tmp_path, num_trials=1))
    idle: list[bool] = []
    manager._idle = lambda: idle.append(True)

    manager.propose("a")
    assert idle == []
    manager.propose("b")
    assert idle == [True]
