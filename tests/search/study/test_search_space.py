"""Fields that are searched under conditions, from the YAML to the export."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from results.analysis.importance import importance_table
from results.exports.choice import best_config
from results.records.searched import searched_fields
from results.records.study import load_study
from search.config.errors import ConfigError
from search.config.loading import config_from_tree
from search.config.schema import StudyConfig
from search.study.opening import mirror_study, open_study
from search.study.samplers import NEEDED, SAMPLERS, make_sampler
from search.study.search_space import SearchSpace
from search.study.trials import TrialManager
from search.study.warm_start import bring_in, read_earlier
from tests.search.managers import open_manager, result

GAMMA = {"float": [0.5, 4.0], "when": {"train.loss": ["focal", "focal_dice"]}, "otherwise": 2.0}
SPACE: dict[str, Any] = {
    "model": {
        "num_layers": {"int": [3, 4]},
        "base_filters": 8,
        "base_kernel": 3,
        "dropout_rate": 0.0,
    },
    "train": {
        "learning_rate": 0.01,
        "loss": {"choice": ["focal", "focal_dice", "dice"]},
        "focal_gamma": GAMMA,
    },
}


def test_a_condition_on_a_step_holds_however_it_was_rounded() -> None:
    tree = {
        "augment": {"paste": {"float": [0.0, 0.9], "step": 0.1}},
        "train": {
            **SPACE["train"],
            "focal_gamma": {"float": [0.5, 4.0], "when": {"augment.paste": [0.3, 0.7]}},
        },
    }
    config = config_of(tree=tree)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    asked = [SearchSpace(config).ask(study).params for _ in range(60)]
    searched = {round(p["augment.paste"], 6) for p in asked if "train.focal_gamma" in p}
    assert searched == {0.3, 0.7}


def test_a_baseline_may_not_have_the_value_of_elsewhere_where_it_is_searched() -> None:
    gamma = {"choice": [1.0, 3.0], "when": {"train.loss": "focal"}, "otherwise": 2.0}
    tree = {"train": {**SPACE["train"], "focal_gamma": gamma}}
    params = {"train.loss": "focal", "train.focal_gamma": 2.0}
    with pytest.raises(ConfigError, match=r"expected a value of .* received 2\.0"):
        config_of(tree=tree, baselines=[{"name": "a", "params": params}])
    params["train.loss"] = "dice"
    config_of(tree=tree, baselines=[{"name": "a", "params": params}])


def config_of(
    folder: Path = Path("s"), tree: dict[str, Any] | None = None, **search: Any
) -> StudyConfig:
    given = {**SPACE, **(tree or {})}
    settings = {"num_trials": 12, "pruner": "none", "startup_trials": 3, **search}
    return config_from_tree(
        {"study": {"storage_path": str(folder), "seed": 3}, "search": settings, **given}
    )


def test_a_field_is_searched_where_its_conditions_hold_and_else_has_its_other_value() -> None:
    config = config_of()
    focal = config.at({"model.num_layers": 3, "train.loss": "focal", "train.focal_gamma": 3.0})
    dice = config.at({"model.num_layers": 3, "train.loss": "dice"})
    assert (focal.train.focal_gamma, dice.train.focal_gamma) == (3.0, 2.0)
    # A value that is given all the same is not taken.
    given = {"model.num_layers": 3, "train.loss": "dice", "train.focal_gamma": 3.0}
    assert config.at(given).train.focal_gamma == 2.0
    with pytest.raises(ConfigError, match=r"train.focal_gamma: expected a constant"):
        config.at({"model.num_layers": 3, "train.loss": "focal"})
    again = config_from_tree(yaml.safe_load(yaml.safe_dump(config.to_tree())))
    assert again.to_tree() == config.to_tree()


def test_without_another_value_it_is_the_default_and_the_record_states_it() -> None:
    gamma = {"float": [0.5, 4.0], "when": {"train.loss": "focal"}}
    config = config_of(tree={"train": {**SPACE["train"], "focal_gamma": gamma}})
    written = config.to_tree()["train"]["focal_gamma"]
    assert written == {"float": [0.5, 4.0], "when": {"train.loss": ["focal"]}, "otherwise": 2.0}


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        ({"when": {"train.loss": "mse"}}, "expected values of train.loss, .* received ['mse']"),
        ({"when": {"train.lose": "dice"}}, "expected a field of model, train or augment"),
        ({"when": {}}, "expected one field or more in when, received none"),
        ({"otherwise": 2.0}, "expected when with otherwise, received otherwise alone"),
        ({"when": {"train.loss": "focal"}, "otherwise": 99}, "less than or equal to 10"),
        ({"when": {"train.optimizer": "adam"}}, "train.optimizer can have, the constant 'adamw'"),
        ({"when": {"train.focal_gamma": 1.0}}, "received a circle of train.focal_gamma"),
        ({"when": {"train.weight_decay": 0.1}}, "expected a field of countable values"),
    ],
)
def test_conditions_that_cannot_be_are_refused(field: dict[str, Any], problem: str) -> None:
    gamma = {"float": [0.5, 4.0], **field}
    decay = {"float": [0.0, 0.2]}
    with pytest.raises(ConfigError) as caught:
        config_of(tree={"train": {**SPACE["train"], "focal_gamma": gamma, "weight_decay": decay}})
    head, _, tail = problem.partition(".*")
    assert head.strip() in str(caught.value)
    assert tail.strip() in str(caught.value)


def test_a_baseline_gives_a_value_only_where_it_is_searched() -> None:
    def refused(**params: Any) -> str:
        named = {name.replace("__", "."): value for name, value in params.items()}
        with pytest.raises(ConfigError) as caught:
            config_of(baselines=[{"name": "a", "params": named}])
        return str(caught.value)

    assert "train.focal_gamma: expected nothing, as it is searched only when" in refused(
        train__loss="dice", train__focal_gamma=3.0
    )
    for params in (
        {"train.loss": "dice"},
        {"train.loss": "dice", "train.focal_gamma": 2.0},
        {"train.focal_gamma": 3.0},
        {"train.loss": "focal", "train.focal_gamma": 3.0},
    ):
        config_of(baselines=[{"name": "a", "params": params}])


INSTALLED = [name for name in SAMPLERS if name not in NEEDED]


@pytest.mark.parametrize("sampler", INSTALLED)
def test_every_sampler_asks_for_what_the_conditions_let_a_trial_have(
    sampler: str, tmp_path: Path
) -> None:
    tree = {"train": {**SPACE["train"], "focal_gamma": {**GAMMA, "step": 0.5}}}
    config = config_of(tmp_path, tree, sampler=sampler, startup_trials=4)
    study = optuna.create_study(direction="maximize", sampler=make_sampler(config, 0))
    space = SearchSpace(config)
    for number in range(20):
        trial = space.ask(study)
        assert space.is_whole(trial.params)
        assert ("train.focal_gamma" in trial.params) == (trial.params["train.loss"] != "dice")
        study.tell(trial, 0.1 * (number % 7) + trial.params.get("train.focal_gamma", 0.0))


def test_a_finite_space_is_counted_by_its_points() -> None:
    tree = {"train": {**SPACE["train"], "focal_gamma": {**GAMMA, "step": 0.5}}}
    assert SearchSpace(config_of(tree=tree)).size == 2 * (2 * 8 + 1)
    assert SearchSpace(config_of()).size == float("inf")


def train(manager: TrialManager, value: float) -> dict[str, Any]:
    assert manager.propose("one") is not None
    params = manager._live["one"].trial.params
    manager.finish("one", result([value], done=True), error=False)
    return dict(params)


def test_a_grid_with_conditions_is_tried_point_by_point_and_then_exhausted(tmp_path: Path) -> None:
    gamma = {"choice": [1.0, 3.0], "when": {"train.loss": "focal"}}
    tree = {"train": {**SPACE["train"], "focal_gamma": gamma}}
    manager = open_manager(config_of(tmp_path, tree, sampler="grid", num_trials=40))
    found = [train(manager, 0.1) for _ in range(2 * (2 + 2))]
    points = {tuple(sorted(params.items())) for params in found}
    assert len(points) == 8
    assert manager.propose("more") is None
    assert "each of its 8 points" in manager.proposer.sentences()[0]


def test_duplicates_are_of_the_fields_that_are_searched(tmp_path: Path) -> None:
    tree = {
        "model": {**SPACE["model"], "num_layers": 3},
        "train": {
            **SPACE["train"],
            "loss": {"choice": ["focal", "dice"]},
            "focal_gamma": {"float": [0.5, 4.0], "when": {"train.loss": "focal"}},
        },
    }
    manager = open_manager(config_of(tmp_path, tree, sampler="random", num_trials=10))
    found = [train(manager, 0.1) for _ in range(10)]
    assert sum("train.focal_gamma" not in params for params in found) == 1, "dice is one point"
    assert manager.proposer.duplicates > 0


def test_a_driver_that_dies_while_it_asks_leaves_a_trial_that_is_completed(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    config.directory.mkdir(parents=True)
    trial = open_study(config).ask({})
    trial._suggest("train.loss", config.space["train.loss"].to_optuna())
    manager = open_manager(config)
    params = train(manager, 0.3)
    assert SearchSpace(config).is_whole(params)
    assert params["train.loss"] == trial.params["train.loss"]


def finished(folder: Path, count: int) -> Path:
    config = config_of(folder, num_trials=count)
    manager = open_manager(config)
    losses = itertools.cycle([0.2, 0.5, 0.3])
    for value in itertools.islice(losses, count):
        train(manager, value)
    mirror_study(config.directory, manager.study)
    record = {"format": 1, "name": "s", "classes": ["a", "b"], "config": config.to_tree()}
    (config.directory / "study.yaml").write_text(yaml.safe_dump(record), encoding="utf-8")
    return config.directory


def test_records_report_and_export_know_a_field_that_is_absent(tmp_path: Path) -> None:
    study = load_study(finished(tmp_path, 14))
    field = searched_fields(study.config)["train.focal_gamma"]
    assert field.text == "0.5 to 4, where train.loss is focal or focal_dice"
    absent = next(t for t in study.trials if "train.focal_gamma" not in t.params)
    config = config_from_tree(
        {k: v for k, v in best_config(study, absent).items() if k != "provenance"}
    )
    assert config.train.focal_gamma == 2.0
    assert config.train.loss == "dice"
    table = importance_table(study).table
    assert "train.focal_gamma" in set(table["parameter"])


def test_earlier_studies_are_learned_from(tmp_path: Path) -> None:
    directory = finished(tmp_path / "before", 8)
    record = yaml.safe_load((directory / "study.yaml").read_text(encoding="utf-8"))
    record |= {"identity": "x", "data_fingerprint": "f"}
    (directory / "study.yaml").write_text(yaml.safe_dump(record), encoding="utf-8")
    config = config_of(tmp_path / "after").learning_from([directory])
    config.directory.mkdir(parents=True)
    study = open_study(config)
    assert bring_in(study, read_earlier(config, ["a", "b"], "f")) == 8
    brought = study.get_trials(states=(TrialState.COMPLETE,))
    assert len(brought) == 8
    space = SearchSpace(config)
    assert all(space.is_whole(trial.params) for trial in brought)
