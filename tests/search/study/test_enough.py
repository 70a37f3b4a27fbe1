from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search.config.errors import ConfigError
from search.study.trials import TrialManager
from tests.search.managers import config_in, open_manager, result

SPREAD = [0.30 + 0.01 * ((7 * k) % 12) for k in range(24)]
SETTLED = [0.40 + 0.0005 * ((7 * k) % 12) for k in range(24)]


def manager_of(folder: Path, stop_when: dict[str, Any] | None, **search: Any) -> TrialManager:
    given = {"sampler": "random", "pruner": "none", "num_trials": 40, **search}
    return open_manager(config_in(folder, stop_when=stop_when, **given))


def train(manager: TrialManager, values: list[float]) -> None:
    for number, value in enumerate(values):
        if manager.propose(f"{number}") is None:
            return
        manager.finish(f"{number}", result([value], done=True), error=False)


def test_a_goal_that_is_reached_ends_the_search_when_what_runs_has_ended(tmp_path: Path) -> None:
    manager = manager_of(tmp_path, {"value": 0.5})
    manager.propose("slow")
    train(manager, [0.3, 0.5])
    assert manager.propose("more") is None
    assert not manager.exhausted
    manager.finish("slow", result([0.2], done=True), error=False)
    assert manager.exhausted
    assert manager.proposer.sentences() == [
        "search.stop_when: the best value, 0.5000, has reached 0.5"
    ]

    assert manager_of(tmp_path, {"value": 0.5}).exhausted
    assert not manager_of(tmp_path, {"value": 0.6}).exhausted
    assert not manager_of(tmp_path, None).exhausted


def test_a_pruned_trial_reaches_no_goal(tmp_path: Path) -> None:
    manager = manager_of(tmp_path, {"value": 0.5}, pruner="asha", grace_epochs=1)
    stopped = []
    for ray_id, value in (("a", 0.4), ("b", 0.6), ("c", 0.55)):
        manager.propose(ray_id)
        if manager.report(ray_id, result([value])):
            manager.finish(ray_id, result([value]), error=False)
            stopped.append(ray_id)

    assert stopped == ["c"]
    assert manager.propose("d") is not None


def test_baselines_are_tried_before_a_search_has_enough(tmp_path: Path) -> None:
    given = [
        {"name": name, "params": {"model.num_layers": layers}}
        for name, layers in (("ours", 4), ("theirs", 5))
    ]
    manager = manager_of(tmp_path, {"value": 0.5}, baselines=given)
    train(manager, [0.6])
    assert manager.proposer.exhausted
    assert not manager.proposer.over
    assert not manager.exhausted
    second = manager.propose("second")
    assert second is not None
    assert second.config.model.num_layers == 5
    manager.finish("second", result([0.2], done=True), error=False)
    assert manager.exhausted


@pytest.mark.parametrize(("values", "ends"), [(SETTLED, True), (SPREAD, False)])
def test_the_search_ends_where_more_trials_would_gain_nothing(
    tmp_path: Path, values: list[float], ends: bool
) -> None:
    manager = manager_of(tmp_path, {"chance": 0.05}, startup_trials=1)
    train(manager, values[:19])
    assert manager.propose("twentieth") is not None  # too few to tell
    manager.finish("twentieth", result([0.4], done=True), error=False)
    train(manager, values[20:])
    assert (manager.propose("more") is None) == ends
    said = "".join(manager.proposer.sentences())
    assert ("20 more trials would gain 0.01 or more with a probability of" in said) == ends


def test_a_baseline_is_no_trial_to_tell_the_chance_from(tmp_path: Path) -> None:
    given = {"name": "ours", "params": {"model.num_layers": 4}}
    manager = manager_of(tmp_path, {"chance": 0.05}, startup_trials=1, baselines=[given])
    train(manager, [0.4, *SETTLED[:19]])
    assert manager.propose("twentieth") is not None  # 19 are the sampler's
    manager.finish("twentieth", result([SETTLED[19]], done=True), error=False)
    assert manager.propose("more") is None


def test_a_tie_at_the_top_tells_nothing(tmp_path: Path) -> None:
    manager = manager_of(tmp_path, {"chance": 0.05}, startup_trials=1)
    train(manager, [0.4] * 30)
    assert manager.propose("more") is not None


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"stop_when": {}}, "expected value, chance or both, received neither"),
        ({"stop_when": {"value": 2}}, "search.stop_when.value"),
        (
            {"stop_when": {"value": 0.5}, "minimize": ["parameters"], "pruner": "none"},
            "search.stop_when: expected none with search.minimize",
        ),
    ],
)
def test_rules_that_say_nothing_are_refused(
    tmp_path: Path, search: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config_in(tmp_path, **search)
