from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from results.analysis.evaluators import Evaluator, evaluated, top_trials


def trials(values: list[float], x: list[float], y: list[float]) -> list[FrozenTrial]:
    space = {name: FloatDistribution(0.0, 1.0) for name in ("x", "y")}
    return [
        FrozenTrial(
            number=n,
            state=TrialState.COMPLETE,
            value=value,
            datetime_start=None,
            datetime_complete=None,
            params={"x": a, "y": b},
            distributions=dict(space),
            user_attrs={},
            system_attrs={},
            intermediate_values={},
            trial_id=n,
        )
        for n, (value, a, b) in enumerate(zip(values, x, y, strict=True))
    ]


@pytest.mark.parametrize("evaluator", ["ped_anova", "fanova", "mean_decrease_impurity"])
def test_shares_sum_to_one_and_name_what_decides(evaluator: Evaluator) -> None:
    x, y = np.random.default_rng(0).uniform(size=(2, 80)).tolist()
    found = evaluated(trials([2 * a + 0.1 * b for a, b in zip(x, y, strict=True)], x, y), evaluator)

    assert sum(found.values()) == pytest.approx(1.0)
    assert found["x"] > 0.8


def test_the_best_tenth_is_at_least_four() -> None:
    assert [top_trials(n) for n in (10, 40, 45, 300)] == [4, 4, 5, 30]
