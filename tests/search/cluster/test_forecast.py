"""Memory foretold, and corrected by what trials held."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.cost import PROCESS_OWN, MemoryEstimate, training_memory
from search.cluster.forecast import MemoryForecast, MemoryUse
from search.config.trial import TrialConfig
from tests.epochs import epoch_of
from tests.search.managers import config_in

SHAPE = (64, 64, 1)


def trial(base_filters: int = 8) -> TrialConfig:
    params = {
        "model.num_layers": 4,
        "model.base_filters": base_filters,
        "model.base_kernel": 3,
        "model.dropout_rate": 0.0,
        "train.learning_rate": 0.01,
    }
    return config_in(Path("unused")).at(params, 0)


def formula(config: TrialConfig) -> MemoryEstimate:
    train = config.train
    return training_memory(
        config.model, SHAPE, 6, train.batch_size, train.precision, kernels="eigen"
    )


def held(config: TrialConfig, share: float, before: int = PROCESS_OWN) -> MemoryUse:
    """What a process holds that needs so many times what is predicted for it."""
    return MemoryUse("eigen", before, before + round(share * formula(config).device))


SMALL, LARGE = trial(4), trial(64)


def test_before_any_trial_it_is_the_formula() -> None:
    assert MemoryForecast(SHAPE, 6)(SMALL, "eigen") == formula(SMALL)


def test_a_large_model_that_held_more_raises_all_predictions_by_as_many_times() -> None:
    forecast = MemoryForecast(SHAPE, 6)

    forecast.learn(LARGE, held(LARGE, 1.5))

    for config in (SMALL, LARGE):
        expected = 1.5 * formula(config).device
        assert forecast(config, "eigen").device == pytest.approx(expected, rel=1e-3)
        assert forecast(config, "eigen").base == formula(config).base
    # Another kind of kernels is another matter.
    assert forecast(LARGE, "onednn") == MemoryForecast(SHAPE, 6)(LARGE, "onednn")


def test_a_small_model_that_held_more_raises_all_predictions_by_as_many_bytes() -> None:
    forecast = MemoryForecast(SHAPE, 6)

    forecast.learn(SMALL, held(SMALL, 2.0))

    for config in (SMALL, LARGE):
        raised = forecast(config, "eigen").total - formula(config).total
        assert raised == pytest.approx(formula(SMALL).device, rel=1e-3)


def test_the_most_decides_and_less_lowers_nothing() -> None:
    forecast = MemoryForecast(SHAPE, 6)

    forecast.learn(LARGE, held(LARGE, 0.3))
    forecast.learn(SMALL, held(SMALL, 0.3))
    assert forecast(LARGE, "eigen") == formula(LARGE)
    for share in (1.2, 1.7, 1.1):
        forecast.learn(LARGE, held(LARGE, share))

    expected = 1.7 * formula(LARGE).device
    assert forecast(LARGE, "eigen").device == pytest.approx(expected, rel=1e-3)


def test_one_odd_measurement_does_not_keep_all_others_from_being_placed() -> None:
    forecast = MemoryForecast(SHAPE, 6)

    for config in (SMALL, LARGE):
        forecast.learn(config, held(config, 90.0))

    assert forecast(LARGE, "eigen").device <= 2 * formula(LARGE).device + 2
    assert forecast(LARGE, "eigen").base == formula(LARGE).base + 500_000_000


def test_a_process_that_begins_with_more_raises_the_base() -> None:
    forecast = MemoryForecast(SHAPE, 6)

    forecast.learn(LARGE, held(LARGE, 0.9, before=PROCESS_OWN + 200_000_000))

    assert forecast(SMALL, "eigen").base == formula(SMALL).base + 200_000_000
    assert forecast(SMALL, "eigen").device == formula(SMALL).device


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"worker": {"host": "a", "pid": 1}},
        {
            "memory": {"before": 1, "peak": None},
            "worker": {"host": "a", "pid": 1, "kernels": "eigen"},
        },
    ],
    ids=["older", "a worker of an older version", "a GPU"],
)
def test_an_epoch_may_say_nothing_of_memory(values: dict) -> None:
    assert MemoryUse.of(epoch_of(1, values)) is None


def test_an_epoch_says_what_its_process_held() -> None:
    epoch = epoch_of(
        memory={"before": 3, "peak": 7},
        worker={"host": "a", "pid": 1, "kernels": "onednn", "instructions": "AVX2"},
    )

    assert MemoryUse.of(epoch) == MemoryUse("onednn", 3, 7)
