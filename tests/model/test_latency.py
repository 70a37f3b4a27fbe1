from __future__ import annotations

from collections.abc import Iterator

import keras
import pytest

from model.config import ModelConfig
from model.flexunet import build_flexunet
from model.latency import RUNS, WARM_UP, measure_latency

pytestmark = pytest.mark.processor


class Clock:
    """A clock that tells these times, one after the other."""

    def __init__(self, times: Iterator[float]) -> None:
        self._times = times

    def perf_counter(self) -> float:
        return next(self._times)


def test_a_larger_model_takes_longer() -> None:
    shape = (64, 64, 1)
    small, large = (
        measure_latency(build_flexunet(ModelConfig(num_layers=2, base_filters=n), shape, 3), shape)
        for n in (2, 48)
    )

    assert 0 < small < large


def test_the_median_is_of_the_passes_after_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each pass takes 1, 2, 3, ... seconds: those of the warm-up are left out.
    clock = iter([t for n in range(1, WARM_UP + RUNS + 1) for t in (0.0, float(n))])
    model = keras.Sequential([keras.layers.Input((4, 4, 1)), keras.layers.Conv2D(1, 1)])
    monkeypatch.setattr("model.latency.time", Clock(clock))

    assert measure_latency(model, (4, 4, 1)) == pytest.approx(1e3 * (WARM_UP + (RUNS + 1) / 2))
