from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from search.storage.journal import StudyJournal, StudyStorage, together
from search.study.bounded_tpe import BEST, BoundedTPESampler

SPACE: dict[str, BaseDistribution] = {
    "rate": FloatDistribution(1e-5, 1e-1, log=True),
    "layers": IntDistribution(3, 6),
    "loss": CategoricalDistribution(("dice", "focal", None)),
}


def worth(params: dict[str, Any]) -> float:
    return -abs(params["layers"] - 5) - abs(params["rate"] - 1e-3) - (params["loss"] != "dice")


def end(study: optuna.Study, trial: Trial) -> None:
    """End a trial by its number: complete, pruned with and without epochs, refused, failed."""
    kind, value = trial.number % 8, worth(trial.params)
    if kind in (3, 4):
        for epoch in range(1, trial.number % 3):
            trial.report(value / 2, epoch)
        study.tell(trial, state=TrialState.PRUNED)
    elif kind == 5:
        trial.set_constraint("parameters", abs(value))
        study.tell(trial, state=TrialState.PRUNED)
    elif kind == 6:
        study.tell(trial, state=TrialState.FAIL)
    else:
        trial.set_constraint("parameters", -1.0)
        study.tell(trial, value if len(study.directions) == 1 else [value, float(kind)])


def proposals(
    sampler: BaseSampler,
    trials: int,
    directions: tuple[str, ...] = ("maximize",),
    pruner: BasePruner | None = None,
    space: Callable[[int], dict[str, BaseDistribution]] = lambda _: SPACE,
) -> list[dict[str, Any]]:
    """Search with up to five trials at a time, which end in another order than they began."""
    study = optuna.create_study(
        study_name="s", directions=directions, sampler=sampler, pruner=pruner or NopPruner()
    )
    chance, running = random.Random(0), list[Trial]()
    found = []
    for number in range(trials):
        running.append(study.ask(space(number)))
        found.append(running[-1].params)
        if len(running) == 5:
            end(study, running.pop(chance.randrange(5)))
    return found


def fill(study: optuna.Study, trials: int) -> None:
    drawn = optuna.create_study(sampler=RandomSampler(seed=0))
    for _ in range(trials):
        params = drawn.ask(SPACE).params
        study.add_trial(create_trial(params=params, distributions=SPACE, value=worth(params)))


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[list[FrozenTrial]]:
    """Collect the trials of each density that is modelled: the best, the rest, the best, ..."""
    modelled: list[list[FrozenTrial]] = []
    build = BoundedTPESampler._build_parzen_estimator

    def watched(self: Any, study: Any, space: Any, trials: list[FrozenTrial], **kwargs: Any) -> Any:
        modelled.append(trials)
        return build(self, study, space, trials, **kwargs)

    monkeypatch.setattr(BoundedTPESampler, "_build_parzen_estimator", watched)
    return modelled


@pytest.mark.parametrize("pruner", [NopPruner, HyperbandPruner])
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_while_the_sample_holds_all_it_proposes_what_optunas_tpe_proposes(
    direction: str, pruner: type[BasePruner]
) -> None:
    ours = proposals(BoundedTPESampler(10, 3, sample=300), 300, (direction,), pruner())
    theirs = proposals(TPESampler(n_startup_trials=10, seed=3), 300, (direction,), pruner())

    assert ours == theirs
    assert len({str(params) for params in ours}) > 200


def test_with_several_objectives_it_proposes_what_optunas_tpe_proposes() -> None:
    def without_pruning(sampler: BaseSampler) -> list[dict[str, Any]]:
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
        for number in range(60):
            trial = study.ask(SPACE)
            study.tell(trial, [worth(trial.params), number % 7])
        return [trial.params for trial in study.trials]

    ours = without_pruning(BoundedTPESampler(10, 3, sample=20))

    assert ours == without_pruning(TPESampler(n_startup_trials=10, seed=3))


def test_parameters_that_some_trials_lack_are_proposed_as_by_optunas_tpe() -> None:
    def some(number: int) -> dict[str, BaseDistribution]:
        return SPACE if number % 3 else {**SPACE, "smoothing": FloatDistribution(0.0, 1.0)}

    ours = proposals(BoundedTPESampler(10, 3, sample=200), 100, space=some)

    assert ours == proposals(TPESampler(n_startup_trials=10, seed=3), 100, space=some)
    assert "smoothing" in ours[99]


def test_it_looks_at_the_best_of_the_whole_study_and_a_sample_of_the_rest(
    looked_at: list[list[FrozenTrial]],
) -> None:
    study = optuna.create_study(direction="maximize", sampler=RandomSampler(seed=3))
    chance, running = random.Random(1), list[Trial]()
    for _ in range(300):
        running.append(study.ask(SPACE))
        if len(running) == 5:
            end(study, running.pop(chance.randrange(5)))
    for sampler in (BoundedTPESampler(10, 3, sample=300), BoundedTPESampler(10, 3, sample=60)):
        study.sampler = sampler
        study.tell(study.ask(SPACE), state=TrialState.FAIL)
    below, above, few_below, few_above = ([t.number for t in trials] for trials in looked_at)

    assert few_below == below
    assert len(below) == BEST
    assert len(above) > 200
    assert 60 - BEST <= len(few_above) <= 60 + 4  # with those that run
    assert set(few_above) < set(above)
    assert few_above == sorted(few_above)


def test_trials_that_run_are_all_looked_at(looked_at: list[list[FrozenTrial]]) -> None:
    study = optuna.create_study(sampler=BoundedTPESampler(10, 3, sample=30))
    fill(study, 100)
    for _ in range(7):
        study.ask(SPACE)
    running = [trial for trial in looked_at[-1] if trial.state is TrialState.RUNNING]

    assert [trial.number for trial in running] == list(range(100, 106))


def test_what_it_looks_at_follows_from_the_study_alone(
    tmp_path: Path, looked_at: list[list[FrozenTrial]]
) -> None:
    def opened(sampler: BaseSampler) -> optuna.Study:
        storage = StudyStorage(StudyJournal(str(tmp_path / "optuna.journal")))
        return optuna.create_study(
            study_name="s", storage=storage, load_if_exists=True, sampler=sampler
        )

    first = opened(BoundedTPESampler(10, 1, sample=40))
    with together(first, durable=False):
        fill(first, 50)
        for number in range(60):
            trial = first.ask(SPACE)
            first.tell(trial, float(number))
    asked = first.ask(SPACE)
    before = [[trial.number for trial in trials] for trials in looked_at[-2:]]
    first.tell(asked, state=TrialState.FAIL)
    twice = []
    for _ in range(2):
        trial = opened(BoundedTPESampler(10, 2, sample=40)).ask(SPACE)
        assert [[other.number for other in trials] for trials in looked_at[-2:]] == before
        twice.append(trial.params)
        first.tell(trial.number, state=TrialState.FAIL)

    assert twice[0] == twice[1]


def test_the_sample_is_of_the_whole_study_not_of_a_part(looked_at: list[list[FrozenTrial]]) -> None:
    study = optuna.create_study(sampler=BoundedTPESampler(10, 3, sample=400))
    fill(study, 2_000)
    study.ask(SPACE)
    quarters = [0, 0, 0, 0]
    for trial in looked_at[-1]:
        quarters[trial.number // 500] += 1

    assert min(quarters) > 75
    assert max(quarters) < 125


def test_with_a_small_sample_it_still_learns(looked_at: list[list[FrozenTrial]]) -> None:
    def loss_of_last(sampler: BaseSampler) -> float:
        return -sum(map(worth, proposals(sampler, 300)[200:])) / 100

    ours = [loss_of_last(BoundedTPESampler(10, seed, sample=50)) for seed in range(3)]
    random_ones = [loss_of_last(RandomSampler(seed=seed)) for seed in range(3)]

    assert max(len(trials) for trials in looked_at) <= 50 + 4
    assert max(ours) < min(random_ones) / 3
