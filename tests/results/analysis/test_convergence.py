from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from results.analysis.convergence import convergence, exponential_tail, forecast
from results.records.study import StudyRecord, load_study
from tests.results.conftest import MakeStudy

Draw = Callable[[np.random.Generator, int], np.ndarray]


@pytest.fixture(scope="module")
def study(make_study: MakeStudy) -> StudyRecord:
    """A baseline and 40 COMPLETE trials."""
    states = dict.fromkeys(range(1, 41), "COMPLETE")
    return load_study(make_study(trials=41, epochs=2, running=0, states=states, fail_every=999))


def valued(study: StudyRecord, values: list[float | None]) -> StudyRecord:
    """The study with other values of its trials 1.. in order, and no more trials than these."""
    trials = [study.trials[0]]
    for trial, value in zip(study.trials[1:], values, strict=False):
        state = "COMPLETE" if value is not None else "PRUNED"
        trials.append(replace(trial, value=value, state=state))  # type: ignore[arg-type]
    return replace(study, trials=tuple(trials))


def test_the_tail_is_the_excess_of_the_five_best() -> None:
    tail = exponential_tail([0.1, 0.6, 0.2, 0.5, 0.3, 0.4, 0.35], trials=30)

    assert tail is not None
    assert (tail.best, tail.count, tail.trials) == (0.6, 5, 30)
    assert tail.excess == pytest.approx(0.4 + 0.3 + 0.2 + 0.15 + 0.1)
    many = exponential_tail(np.arange(700.0), 700)
    assert many is not None
    assert (many.count, many.excess) == (7, 1 + 2 + 3 + 4 + 5 + 6 + 7)


def test_one_more_trial_is_forecast_by_hand() -> None:
    tail = exponential_tail([0.1, 0.6, 0.2, 0.5, 0.3, 0.4, 0.35], trials=30)
    assert tail is not None
    found = forecast(tail, 0.6, more=1, margin=0.01)

    # 1 of 31 beats 30 like it; the mean of exp(-y / scale) over the posterior is (1 + y / S)**-k.
    assert found["probability"] == pytest.approx((1 + 0.01 / 1.15) ** -5 / 31, rel=1e-3)
    scale, room = 1.15 / 5, 0.4
    assert found["expected_gain"] == pytest.approx(
        scale * (1 - np.exp(-room / scale)) / 31, rel=1e-3
    )
    assert found["low"] < found["probability"] < found["high"] < 1 / 31


def test_a_gain_of_any_size_is_as_likely_as_the_order_says() -> None:
    tail = exponential_tail(np.linspace(0.1, 0.5, 40), 40)
    assert tail is not None
    for more in (1, 7, 200):
        found = forecast(tail, 0.5, more, margin=0.0)
        assert found["probability"] == pytest.approx(more / (more + 40))
    assert forecast(tail, 0.995, 20)["probability"] == 0.0  # no Dice is above 1
    assert forecast(tail, 1.0, 20)["expected_gain"] == 0.0


@pytest.mark.parametrize(
    ("draw", "over", "under"),
    [
        (lambda rng, n: 0.3 + 0.03 * rng.exponential(size=n), 0.06, 0.06),
        (lambda rng, n: 0.4 + 0.08 * rng.normal(size=n), 0.08, 0.06),
        (lambda rng, n: rng.beta(2, 5, size=n), 0.08, 0.06),
        (lambda rng, n: rng.beta(5, 2, size=n), 0.12, 0.06),
        # Against a ceiling the forecast promises too much, and never too little.
        (lambda rng, n: 0.8 * rng.uniform(size=n), 0.18, 0.03),
    ],
    ids=["exponential", "normal", "beta 2 5", "beta 5 2", "uniform"],
)
@pytest.mark.parametrize("trials", [30, 100])
def test_what_is_forecast_happens(draw: Draw, over: float, under: float, trials: int) -> None:
    rng = np.random.default_rng(trials)
    forecasts, happened = [], []
    for _ in range(60):
        scores = draw(rng, trials)
        tail = exponential_tail(scores, trials)
        assert tail is not None
        forecasts.append(forecast(tail, scores.max(), 20)["probability"])
    for _ in range(3000):
        happened.append(draw(rng, 20).max() >= draw(rng, trials).max() + 0.01)

    assert -under < np.mean(forecasts) - np.mean(happened) < over


def test_a_study_is_forecast_from_its_own_trials(study: StudyRecord) -> None:
    values = [0.1 + 0.01 * ((7 * k) % 40) for k in range(40)]
    found = convergence(valued(study, list(values)), more=(10, 20))

    assert found.reason is None
    assert found.trials == 40
    assert found.table["more"].to_list() == [10, 20]
    assert found.table["any_gain"].to_list() == [10 / 50, 20 / 60]
    assert (found.table["probability"] < found.table["any_gain"]).all()
    assert found.table["probability"].is_monotonic_increasing
    # The best, 0.49, is k = 17, trial 18: 22 trials of 2 epochs came after it.
    assert (found.since_trials, found.since_epochs) == (22, 44)
    assert "sampler that still learns" in found.assumption


def test_pruned_trials_count_as_trials_and_startup_trials_do_not(study: StudyRecord) -> None:
    values: list[float | None] = [0.1 + 0.01 * ((7 * k) % 40) for k in range(40)]
    values[10:20] = [None] * 10
    config = {**study.config, "search": {"startup_trials": 12}}
    found = convergence(replace(valued(study, values), config=config))
    assert (found.trials, found.tail and found.tail.trials) == (28, 28)

    few = {**study.config, "search": {"startup_trials": 30}}
    assert convergence(replace(valued(study, values), config=few)).trials == 40


def test_an_incumbent_above_the_trials_is_harder_to_beat(study: StudyRecord) -> None:
    values: list[float | None] = [0.1 + 0.01 * ((7 * k) % 40) for k in range(40)]
    plain = valued(study, values)
    best = replace(plain.trials[0], value=0.6, state="COMPLETE")
    beaten = replace(plain, trials=(best, *plain.trials[1:]))
    low, high = (convergence(s).table["probability"].iloc[0] for s in (beaten, plain))

    assert low < high / 3


def test_few_or_equal_trials_have_a_reason_instead(study: StudyRecord) -> None:
    few = convergence(valued(study, [0.1] * 12))
    assert few.table.empty
    assert "so far there are 12 and 12" in str(few.reason)
    equal = convergence(valued(study, [0.25] * 40))
    assert equal.table.empty
    assert "all have the same value" in str(equal.reason)
    nothing = convergence(replace(study, trials=()))
    assert (nothing.since_trials, nothing.since_epochs, nothing.tail) == (None, None, None)


def test_impossible_tails_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 6 scores"):
        exponential_tail([0.1] * 5, 20)
    with pytest.raises(ValueError, match="no fewer trials, received 6 and 5"):
        exponential_tail([0.1] * 6, 5)
