"""Proposals near known configs: where they lie, how often they come, and that bad ones do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.config.settings import SearchSettings
from search.study.attributes import BASELINE, FROM_STUDY, PRIOR
from search.study.priors import Priors
from search.study.trials import TrialManager
from tests.search.managers import config_in, open_manager, result

SPACE: dict[str, BaseDistribution] = {
    "train.learning_rate": FloatDistribution(1e-5, 1e-1, log=True),
    "model.num_layers": IntDistribution(2, 8, step=2),
    "model.dropout_rate": FloatDistribution(0.0, 0.3, step=0.1),
    "train.loss": CategoricalDistribution(("dice", "focal", "cross_entropy")),
    "model.base_kernel": IntDistribution(3, 3),
}
CENTER = {
    "train.learning_rate": 1e-3,
    "model.num_layers": 4,
    "model.dropout_rate": 0.1,
    "train.loss": "focal",
    "model.base_kernel": 3,
}


def priors(share: float = 1.0) -> Priors:
    return Priors(SearchSettings(prior_share=share, startup_trials=10), SPACE, seed=5)


def trial(number: int, value: float | None, **known: Any) -> FrozenTrial:
    state = TrialState.PRUNED if value is None else TrialState.COMPLETE
    made = create_trial(
        state=state, value=value, params=CENTER, distributions=SPACE, user_attrs=known
    )
    made.number = number
    return made


def taught(found: Priors, values: list[float | None], **center: float) -> Priors:
    for number, value in enumerate(values):
        found.take(trial(number, value))
    for number, (name, value) in enumerate(center.items(), start=100):
        found.take(trial(number, value, **{BASELINE: name}))
    return found


def test_draws_lie_in_the_space_and_near_the_centre() -> None:
    found = taught(priors(), [0.1] * 4, recipe=0.9)
    drawn = [params for n in range(2000) if (params := found.draw(n)) is not None]

    for params in drawn:
        assert params.keys() == SPACE.keys() - {"model.base_kernel"}, "what is free"
        for name, value in params.items():
            assert SPACE[name]._contains(SPACE[name].to_internal_repr(value)), (name, value)
    rates = np.log10([params["train.learning_rate"] for params in drawn])
    assert np.median(rates) == pytest.approx(-3, abs=0.15)
    assert np.std(rates) == pytest.approx(1.0, abs=0.15)  # a quarter of four decades
    kept = np.mean([params["train.loss"] == "focal" for params in drawn])
    assert kept == pytest.approx(0.5 + 0.5 / 3, abs=0.05)
    assert {params["model.num_layers"] for params in drawn} == {2, 4, 6, 8}
    assert found.draw(7) == found.draw(7)


def test_a_centre_that_lacks_a_field_or_has_a_value_outside_leaves_it_to_chance() -> None:
    found = priors()
    taught(found, [0.1] * 4)
    outside = create_trial(state=TrialState.COMPLETE, value=0.9, user_attrs={BASELINE: "a"})
    found.take(outside)
    rates = np.log10(
        [p["train.learning_rate"] for n in range(1000) if (p := found.draw(n)) is not None]
    )
    assert np.std(rates) == pytest.approx(4 / np.sqrt(12), abs=0.1)


def test_the_share_falls_as_trials_end() -> None:
    for ended, share in ((3, 0.8 * 10 / 13), (10, 0.4), (90, 0.08)):
        found = taught(priors(0.8), [0.1] * ended, recipe=0.9)
        drawn = np.mean([found.draw(number) is not None for number in range(2000)])
        assert drawn == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize(
    ("value", "weight"),
    [(0.9, 1.0), (0.76, 1.0), (0.74, 0.8), (0.65, 0.4), (0.45, None), (0.0, None)],
)
def test_a_centre_counts_by_how_many_of_the_samplers_own_trials_are_worse(
    value: float, weight: float | None
) -> None:
    # Trials that were stopped say nothing: they had fewer epochs.
    values = [*(0.05 + n / 10 for n in range(10)), None, None, None]
    found = taught(priors(), values, recipe=value).centers()
    assert [each[0] for each in found] == ([] if weight is None else [pytest.approx(weight)])


def test_without_evidence_or_a_share_nothing_is_drawn() -> None:
    assert taught(priors(), [0.1, 0.1], recipe=0.9).draw(3) is None
    assert taught(priors(0.0), [0.1] * 5, recipe=0.9).draw(3) is None
    assert taught(priors(), [0.1] * 5).draw(3) is None


def test_the_best_of_earlier_studies_are_centres_and_own_draws_no_evidence() -> None:
    found = taught(priors(), [0.1] * 3)
    for number, value in ((50, 0.4), (51, 0.8), (52, 0.6), (53, 0.7), (54, None)):
        found.take(trial(number, value, **{FROM_STUDY: "before"}))
    assert len(found.centers()) == 3
    assert sorted(value for value, _ in found._earlier.values()) == [0.6, 0.7, 0.8]
    found.take(trial(60, 0.95, **{PRIOR: True}))
    assert len(found.centers()) == 3


def manager_of(folder: Path) -> TrialManager:
    rate = {"name": "recipe", "params": {"train.learning_rate": 0.001}}
    search = {"baselines": [rate], "prior_share": 1.0, "startup_trials": 1000, "num_trials": 20}
    return open_manager(config_in(folder, sampler="random", pruner="none", **search))


def train(manager: TrialManager, value: float) -> dict[str, Any]:
    assert manager.propose("one") is not None
    trial = manager._live["one"].trial
    manager.finish("one", result([value], done=True), error=False)
    return dict(trial.user_attrs)


def test_a_study_draws_near_its_baseline_once_that_is_found_good(tmp_path: Path) -> None:
    manager = manager_of(tmp_path)
    known = [train(manager, value) for value in (0.9, 0.2, 0.1, 0.3)]
    assert BASELINE in known[0]
    assert not any(PRIOR in each for each in known)
    assert [PRIOR in train(manager, 0.5) for _ in range(3)] == [True] * 3

    # A driver that dies between enqueuing and asking: the proposal waits and is had.
    manager.proposer._enqueue_near_prior()
    again = manager_of(tmp_path)
    assert PRIOR in train(again, 0.4)
    assert len(again.study.trials) == 8
    rates = [trial.params["train.learning_rate"] for trial in again.study.trials[4:]]
    assert all(1e-4 < rate < 1e-2 for rate in rates)


def test_a_study_leaves_a_bad_baseline_alone(tmp_path: Path) -> None:
    manager = manager_of(tmp_path)
    known = [train(manager, value) for value in (0.05, 0.2, 0.1, 0.3, 0.2, 0.4, 0.1)]
    assert not any(PRIOR in each for each in known)
