from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml

from results.analysis.pareto import (
    TRADED,
    cost_value,
    minimized,
    pareto_front,
    pareto_table,
    tradeoff_table,
)
from results.records.study import load_study
from tests.results.conftest import MakeStudy


def several(path: Path, *names: str) -> Path:
    """Make a simulated study one of several objectives."""
    record = yaml.safe_load((path / "study.yaml").read_text())
    record["config"]["search"]["minimize"] = list(names)
    (path / "study.yaml").write_text(yaml.safe_dump(record))
    return path


def test_a_point_is_on_the_front_if_no_other_one_dominates_it() -> None:
    points = [[1, 9], [2, 3], [2, 4], [3, 3], [5, 1], [5, 1], [9, 9]]

    assert pareto_front(points).tolist() == [True, True, False, False, True, True, False]
    assert pareto_front(np.empty((0, 2))).tolist() == []


def test_the_front_is_the_definitions() -> None:
    points = np.random.default_rng(0).integers(0, 12, size=(200, 3)).astype(float)
    dominated = [
        any((other <= point).all() and (other < point).any() for other in points)
        for point in points
    ]

    assert pareto_front(points).tolist() == [not d for d in dominated]


def test_what_has_no_order_is_refused() -> None:
    with pytest.raises(ValueError, match="expected finite losses"):
        pareto_front([[1.0, float("nan")]])
    with pytest.raises(ValueError, match="expected losses of shape"):
        pareto_front([1.0, 2.0])


def test_the_front_of_a_study_trades_dice_for_parameters(make_study: MakeStudy) -> None:
    study = load_study(several(make_study(), "parameters"))
    table = pareto_table(study)
    front = table[table["front"]]

    assert minimized(study) == ("parameters",)
    assert len(table) == len(study.with_state("COMPLETE"))
    assert study.incumbent is not None
    assert front["number"].iloc[0] == study.incumbent.number
    for (_, better), (_, smaller) in pairwise(front.iterrows()):
        assert better["value"] > smaller["value"]
        assert better["parameters"] > smaller["parameters"]


def test_trials_without_the_measured_cost_are_left_out(make_study: MakeStudy) -> None:
    path = several(make_study(), "gflops", "latency_ms")
    file = path / "trials" / "00000" / "trial.json"
    record = json.loads(file.read_text())
    record["cost"]["latency_ms"] = 4.0
    file.write_text(json.dumps(record))
    table = pareto_table(load_study(path))

    assert table["number"].to_list() == [0]
    assert table["gflops"].to_list() == [pytest.approx(record["cost"]["flops"] / 1e9)]


def test_a_study_of_one_objective_has_no_front(study_dir: Path) -> None:
    assert minimized(load_study(study_dir)) == ()
    assert pareto_table(load_study(study_dir)).empty


def test_a_cost_that_was_not_measured_is_an_error() -> None:
    with pytest.raises(KeyError):
        cost_value("latency_ms", {"parameters": 3})


@pytest.mark.parametrize("measure", ["parameters", "gflops", "activation_mb", "seconds"])
def test_any_study_trades_dice_for_what_it_costs(study_dir: Path, measure: str) -> None:
    study = load_study(study_dir)
    found = tradeoff_table(study, measure)
    table = found.table

    assert found.reason is None
    assert (len(table), found.left_out) == (len(study.with_state("COMPLETE")), 0)
    for _, row in table.iterrows():
        better = (table["value"] >= row["value"]) & (table[measure] <= row[measure])
        strictly = (table["value"] > row["value"]) | (table[measure] < row[measure])
        assert row["front"] == (not (better & strictly).any())
    assert table["value"].is_monotonic_decreasing
    first = study.trials[int(table["number"].iloc[0])]
    assert first.cost is not None
    expected = {
        "parameters": first.cost.parameters,
        "gflops": first.cost.flops / 1e9,
        "activation_mb": first.cost.activation_bytes / 1e6,
        "seconds": sum(first.curve.total_seconds),
    }
    assert table[measure].iloc[0] == pytest.approx(expected[measure])


def test_a_measure_that_no_trial_has_is_a_reason(study_dir: Path) -> None:
    study = load_study(study_dir)
    found = tradeoff_table(study, "latency_ms")

    assert found.table.empty
    assert found.left_out == len(study.with_state("COMPLETE"))
    assert found.reason == "No COMPLETE trial has a value and its latency an image."
    with pytest.raises(ValueError, match=r"expected one of parameters, .* received 'weight'"):
        tradeoff_table(study, "weight")
    assert set(TRADED) == {"parameters", "gflops", "activation_mb", "latency_ms", "seconds"}
