"""Leading configs trained again: which, when, and what the study then calls best."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from results.analysis.boundary_analysis import edges_table
from results.analysis.convergence import convergence
from results.records.study import load_study
from results.tables.core import tabulate
from results.tables.parameters import best_trials
from search.config.errors import ConfigError
from search.config.loading import config_from_tree
from search.study.attributes import REPEAT_OF
from search.study.opening import mirror_study
from search.study.record import CONTINUABLE
from search.study.trials import TrialManager
from tests.search.managers import config_in, open_manager, result


def manager_of(folder: Path, **search: object) -> TrialManager:
    given = {"sampler": "random", "pruner": "none", "num_trials": 12, "startup_trials": 3}
    return open_manager(config_in(folder, **{**given, "repeats_of_best": 2, **search}))


def train(manager: TrialManager, value: float | None) -> int | None:
    """Train the next trial to a value, or let it fail; return which it repeats."""
    job = manager.propose("one")
    assert job is not None
    trial = manager._live["one"].trial
    report = (
        result([value], done=True) if value is not None else replace(result([]), failed="diverged")
    )
    manager.finish("one", report, error=False)
    return trial.user_attrs.get(REPEAT_OF)


def test_the_leading_config_is_trained_again_once_the_startup_trials_have_ended(
    tmp_path: Path,
) -> None:
    manager = manager_of(tmp_path)
    assert [train(manager, value) for value in (0.3, 0.5, 0.4)] == [None, None, None]
    # Trial 1 leads until its mean is 0.39, then trial 2 until its own is 0.35, and so on.
    assert [train(manager, 0.28), train(manager, 0.3)] == [1, 2]
    assert [train(manager, 0.1), train(manager, 0.32)] == [1, 2]
    # Trial 2 leads with 0.34 and has had its two repeats.
    assert train(manager, 0.2) is None

    trials = manager.study.get_trials(deepcopy=False)
    assert trials[3].params == trials[5].params == trials[1].params
    seeds = [trial.user_attrs["seed"] for trial in trials]
    assert len(set(seeds)) == len(seeds)


def test_a_repeat_is_never_pruned_and_counts_among_the_trials(tmp_path: Path) -> None:
    manager = manager_of(tmp_path, pruner="median", num_trials=5, startup_trials=2)
    for value in (0.5, 0.6):
        train(manager, value)
    manager.propose("again")
    assert manager._live["again"].trial.user_attrs[REPEAT_OF] == 1
    assert not manager.report("again", result([0.01]))
    manager.finish("again", result([0.01], done=True), error=False)
    # Its mean, 0.305, is less than 0.5.
    assert [train(manager, 0.2), train(manager, 0.3)] == [0, 0]
    assert manager.propose("more") is None
    assert manager.exhausted


def test_the_last_trials_are_kept_for_the_repeats(tmp_path: Path) -> None:
    manager = manager_of(tmp_path, num_trials=5, startup_trials=10)
    assert [train(manager, v) for v in (0.3, 0.5, 0.4)] == [None, None, None]
    assert [train(manager, 0.5), train(manager, 0.5)] == [1, 1]


def test_a_space_that_is_exhausted_ends_with_the_repeats(tmp_path: Path) -> None:
    tree = config_in(tmp_path, pruner="none", repeats_of_best=2, num_trials=40).to_tree()
    tree["search"]["sampler"] = "grid"
    tree["model"] |= {"num_layers": {"int": [3, 4]}, "base_filters": 8, "base_kernel": 3}
    tree["model"] |= {"dropout_rate": 0.0}
    tree["train"] |= {"learning_rate": 0.01}
    manager = open_manager(config_from_tree(tree))
    repeats = [train(manager, value) for value in (0.3, 0.5, 0.5, 0.4)]
    assert [number is not None for number in repeats] == [False, False, True, True]
    assert manager.propose("more") is None
    assert "the space is exhausted" in manager.proposer.sentences()[0]


def test_a_repeat_that_fails_is_not_tried_for_ever(tmp_path: Path) -> None:
    manager = manager_of(tmp_path)
    for value in (0.3, 0.5, 0.4):
        train(manager, value)
    assert [train(manager, None), train(manager, None), train(manager, 0.1)] == [1, 1, None]
    # The sampler may still propose the same parameters: their first training has not failed.
    assert manager.proposer._repeats.best == 0.5


def test_a_driver_that_dies_with_a_repeat_waiting_or_running_goes_on_with_it(
    tmp_path: Path,
) -> None:
    first = manager_of(tmp_path)
    for value in (0.3, 0.5, 0.4):
        train(first, value)
    # Killed between the enqueuing and the asking, then while the repeat runs.
    first.proposer._enqueue_repeat(None)
    second = manager_of(tmp_path)
    assert second.propose("lost") is not None
    assert second._live["lost"].trial.user_attrs[REPEAT_OF] == 1
    third = manager_of(tmp_path)
    assert [train(third, 0.45), train(third, 0.46), train(third, 0.1)] == [1, 1, None]
    assert len(third.study.trials) == 6


def test_the_best_is_the_config_with_the_highest_mean_of_all_its_trainings(
    tmp_path: Path,
) -> None:
    manager = manager_of(tmp_path)
    values = {None: iter([0.3, 0.5, 0.4, 0.9, 0.2]), 1: iter([0.45, 0.46])}
    for _ in range(6):
        job = manager.propose("one")
        assert job is not None
        original = manager._live["one"].trial.user_attrs.get(REPEAT_OF)
        value = next(values[original])
        manager.finish("one", result([value], done=True), error=False)
    directory = manager.config.directory
    mirror_study(directory, manager.study)
    record_study_file(manager)
    study = load_study(directory)

    # Trial 5 has the highest value, from a single training.
    assert max(trial.value or 0.0 for trial in study.trials) == 0.9
    assert study.incumbent is not None
    assert study.incumbent.number == 1
    means = {config.number: config.mean for config in study.configs}
    assert means[1] == pytest.approx((0.5 + 0.45 + 0.46) / 3)
    assert [trial.repeat_of for trial in study.trials][3:5] == [1, 1]


def record_study_file(manager: TrialManager) -> None:
    config = manager.config
    record = {"format": 1, "name": "s", "classes": ["a", "b"], "config": config.to_tree()}
    (config.directory / "study.yaml").write_text(yaml.safe_dump(record))


def test_several_objectives_have_no_leading_config() -> None:
    with pytest.raises(ConfigError, match=r"search.repeats_of_best: expected 0 with search.minim"):
        config_in(Path("x"), repeats_of_best=1, minimize=["parameters"], pruner="none")


def test_a_goal_is_reached_by_the_mean(tmp_path: Path) -> None:
    manager = manager_of(tmp_path, stop_when={"value": 0.5})
    for value in (0.3, 0.6, 0.4, 0.3, 0.3):
        train(manager, value)
    assert manager.proposer.exhausted is None
    assert manager.proposer._repeats.best == pytest.approx(0.4)
    assert "search.repeats_of_best" in CONTINUABLE


def test_a_repeat_is_trained_whatever_is_predicted_of_it_by_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = manager_of(tmp_path)
    for value in (0.3, 0.5, 0.4):
        train(manager, value)
    broken = ({"memory": 0.5}, {"memory": "expected less"})
    monkeypatch.setattr(manager.proposer._judge, "judge", lambda _: broken)
    assert [train(manager, 0.5), train(manager, 0.5)] == [1, 1]
    assert manager.proposer.refused.total() == 0


def test_repeats_are_no_further_evidence_of_where_good_configs_lie(tmp_path: Path) -> None:
    manager = manager_of(tmp_path, num_trials=26)
    for number in range(26):
        train(manager, 0.3 + 0.01 * number % 0.2)
    mirror_study(manager.config.directory, manager.study)
    record_study_file(manager)
    study = load_study(manager.config.directory)
    repeats = [trial for trial in study.trials if trial.repeat_of is not None]
    assert repeats
    assert edges_table(study).trials == 26 - len(repeats)
    best = best_trials(tabulate(study))
    assert not set(best["number"]) & {trial.number for trial in repeats}
    assert convergence(study).trials == 26 - len(repeats)
