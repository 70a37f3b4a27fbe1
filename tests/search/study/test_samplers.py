"""One contract for every sampler and every pruner, each over a real study."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, get_args

import pytest
from optuna.trial import Trial, TrialState

from search.config.errors import ConfigError
from search.config.loading import config_from_tree
from search.config.schema import StudyConfig
from search.config.settings import SearchSettings
from search.study.opening import open_study, started_trials
from search.study.proposer import Proposer
from search.study.samplers import NEEDED, PRUNERS, SAMPLERS

EPOCHS = 9
FINITE = {
    "model": {
        "num_layers": {"int": [3, 4]},
        "base_filters": {"choice": [8, 16]},
        "base_kernel": {"int": [3, 5], "step": 2},
        "dropout_rate": {"float": [0.0, 0.1], "step": 0.1},
    },
    "train": {"epochs": EPOCHS, "learning_rate": 0.01},
}


def config_with(folder: Path, **search: Any) -> StudyConfig:
    tree = {"study": {"storage_path": str(folder), "seed": 1}, "train": {"epochs": EPOCHS}}
    tree |= FINITE if search.get("sampler") == "grid" else {}
    config = config_from_tree(tree | {"search": {"startup_trials": 3} | search})
    config.directory.mkdir(parents=True, exist_ok=True)
    return config


@pytest.fixture(params=SAMPLERS)
def sampler(request: pytest.FixtureRequest) -> str:
    module, extra = NEEDED.get(request.param, (None, ""))
    if module is not None and importlib.util.find_spec(module) is None:
        pytest.skip(f"{request.param} needs {module}, which {extra} installs")
    return request.param


def ask(study: Any, config: StudyConfig) -> Trial:
    return study.ask({name: d.to_optuna() for name, d in config.space.items()})


def test_the_config_names_exactly_what_there_is() -> None:
    fields = SearchSettings.model_fields

    assert set(get_args(fields["sampler"].annotation)) == set(SAMPLERS)
    assert set(get_args(fields["pruner"].annotation)) == set(PRUNERS)


def test_a_sampler_proposes_points_of_the_space_and_does_not_repeat_them_when_continued(
    sampler: str, tmp_path: Path
) -> None:
    config = config_with(tmp_path, sampler=sampler, pruner="none", grace_epochs=1)
    space = {name: d.to_optuna() for name, d in config.space.items()}
    seen, repeated = [], 0
    for number in range(14):
        if number % 4 == 0:
            proposer = Proposer(open_study(config), config)  # as a further run does
        trial = proposer.next()
        assert trial is not None
        assert trial.params.keys() == space.keys()
        for name, value in trial.params.items():
            assert space[name]._contains(space[name].to_internal_repr(value))
        repeated = proposer.duplicates
        if number == 5:  # a failed point may be proposed again
            proposer.ended(proposer.study.tell(trial, state=TrialState.FAIL))
        else:
            seen.append(tuple(trial.params.items()))
            proposer.ended(proposer.study.tell(trial, 0.1 * trial.params["model.num_layers"]))

    assert len(set(seen)) == len(seen)
    # Those two return to what was good; of the others, a repetition would be a sequence redrawn.
    assert not repeated or sampler in ("nsga2", "gp")


def test_a_sampler_of_several_objectives_gets_them_all(sampler: str, tmp_path: Path) -> None:
    settings = {"sampler": sampler, "pruner": "none", "minimize": ["parameters"]}
    if sampler == "cma-es":
        with pytest.raises(ConfigError, match=r"search.sampler: expected tpe, nsga2"):
            config_with(tmp_path, **settings)
        return
    config = config_with(tmp_path, **settings)
    study = open_study(config)
    for number in range(8):
        trial = ask(study, config)
        study.tell(trial, [0.1 * number, float(number)])

    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert len(study.best_trials) == 8


def test_a_sampler_lives_with_limits_refusals_and_duplicates(sampler: str, tmp_path: Path) -> None:
    limits = {"max_parameters": 300_000, "max_latency_ms": 50.0}
    config = config_with(tmp_path, sampler=sampler, pruner="none", **limits)
    proposer = Proposer(open_study(config), config, 6)
    study = proposer.study
    for number in range(8):
        trial = proposer.next()
        if trial is None:
            break  # grid's space is small
        trial.set_user_attr("cost", {"flops": 1e9, "latency_ms": 1.0})
        assert proposer.measured(trial) == ""
        proposer.ended(study.tell(trial, 0.1 * number))
        if number == 4:
            study.enqueue_trial(trial.params)
            assert not proposer.admit(ask(study, config))

    trained = started_trials(study)
    assert len(trained) >= 5
    assert proposer.duplicates >= 1
    assert all(trial.constraints["parameters"] <= 0 for trial in trained)
    assert {tuple(t.constraints) for t in trained} == {("parameters", "latency_ms")}


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_pruner_stops_the_worse_after_the_grace_epochs(pruner: str, tmp_path: Path) -> None:
    config = config_with(
        tmp_path, sampler="random", pruner=pruner, grace_epochs=2, reduction_factor=2
    )
    study = open_study(config)
    stopped: dict[int, int] = {}
    for number in range(24):
        trial = ask(study, config)
        for epoch in range(1, EPOCHS + 1):
            trial.report(1.0 - 0.02 * number, epoch)
            if trial.should_prune():
                stopped[number] = epoch
                break
        if number in stopped:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, 1.0 - 0.02 * number)

    assert bool(stopped) == (pruner != "none")
    assert min(stopped.values(), default=2) == 2
    assert 0 not in stopped
    if pruner == "hyperband":
        # Its brackets differ in their first rung.
        assert len(set(stopped.values())) > 1


def test_tpe_learns_where_random_does_not(tmp_path: Path) -> None:
    def mean_of_last(sampler: str) -> float:
        config = config_with(tmp_path / sampler, sampler=sampler, pruner="none")
        study = open_study(config)
        values = []
        for _ in range(40):
            trial = ask(study, config)
            values.append(-abs(trial.params["model.dropout_rate"] - 0.03))
            study.tell(trial, values[-1])
        return sum(values[20:]) / 20

    assert mean_of_last("tpe") > mean_of_last("random")


def test_gp_without_its_library_is_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.study.samplers.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"expected torch for 'gp'.*flexunet-search\[gp\]"):
        open_study(config_with(tmp_path, sampler="gp"))
