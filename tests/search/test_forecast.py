"""Memory foretold, and corrected by what trials held."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.cost import PROCESS_OWN, MemoryEstimate, training_memory
from search.config import TrialConfig
from search.forecast import MemoryForecast, MemoryUse
from tests.search.books import config_in

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
    peak = before + round(share * formula(config).device) + 50_000_000
    return MemoryUse("eigen", before, peak)


def test_before_any_trial_it_is_the_formula() -> None:
    assert MemoryForecast(SHAPE, 6)(trial(), "eigen") == formula(trial())


def test_a_trial_that_held_more_raises_what_is_predicted_for_others_by_as_much() -> None:
    forecast = MemoryForecast(SHAPE, 6)

    forecast.learn(trial(8), held(trial(8), 1.5))

    for config in (trial(8), trial(32)):
        assert forecast(config, "eigen").device == pytest.approx(
            1.5 * formula(config).device, rel=1e-3
        )
    # Another kind of kernels is another matter.
    assert forecast(trial(), "onednn") == MemoryForecast(SHAPE, 6)(trial(), "onednn")


def test_the_most_decides_and_less_lowers_nothing() -> None:
    forecast = MemoryForecast(SHAPE, 6)

    forecast.learn(trial(), held(trial(), 0.3))
    assert forecast(trial(), "eigen") == formula(trial())
    for share in (1.2, 2.0, 1.1):
        forecast.learn(trial(), held(trial(), share))

    assert forecast(trial(), "eigen").device == pytest.approx(2 * formula(trial()).device, rel=1e-3)


def test_a_process_that_begins_with_more_raises_the_base_alone() -> None:
    forecast = MemoryForecast(SHAPE, 6)

    forecast.learn(trial(), held(trial(), 0.9, before=PROCESS_OWN + 200_000_000))

    assert forecast(trial(), "eigen").base == formula(trial()).base + 200_000_000
    assert forecast(trial(), "eigen").device == formula(trial()).device


@pytest.mark.parametrize(
    "record",
    [
        {"epoch": 1},
        {"epoch": 1, "worker": {"host": "a", "pid": 1}},
        {
            "memory": {"before": 1, "peak": None},
            "worker": {"host": "a", "pid": 1, "kernels": "eigen"},
        },
    ],
    ids=["older", "a worker of an older version", "a GPU"],
)
def test_a_record_may_say_nothing_of_memory(record: dict) -> None:
    assert MemoryUse.of(record) is None


def test_a_record_says_what_its_process_held() -> None:
    record = {
        "memory": {"before": 3, "peak": 7},
        "worker": {"host": "a", "pid": 1, "kernels": "onednn", "instructions": "AVX2"},
    }

    assert MemoryUse.of(record) == MemoryUse("onednn", 3, 7)
