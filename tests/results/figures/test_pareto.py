from __future__ import annotations

import pandas as pd
import pytest

from results.analysis.pareto import Tradeoff, pareto_front, pareto_table, tradeoff_table
from results.figures import pareto
from results.records.study import load_study
from tests.results.analysis.test_pareto import several
from tests.results.conftest import MakeStudy


@pytest.mark.parametrize("measures", [("parameters",), ("parameters", "gflops")])
def test_the_front_is_a_line_where_there_is_one_plane(
    make_study: MakeStudy, measures: tuple[str, ...]
) -> None:
    study = load_study(several(make_study(), *measures))
    table = pareto_table(study)
    drawing = pareto.pareto_figure(study, "parameters")
    beaten, front = drawing.figure.data

    assert len(beaten.x) + len(front.x) == len(table)
    assert set(front.customdata) == set(table.loc[table["front"], "number"])
    assert (front.mode == "lines+markers") == (len(measures) == 1)
    assert drawing.says.startswith(f"{table['front'].sum()} of {len(table)} COMPLETE trials")


def test_a_front_without_a_complete_trial_has_a_reason(make_study: MakeStudy) -> None:
    study = load_study(several(make_study(trials=1, running=1, states={0: "FAIL"}), "parameters"))

    assert pareto.pareto_figure(study, "parameters").figure is None


def traded(*rows: tuple[int, float, float], measure: str = "seconds") -> Tradeoff:
    table = pd.DataFrame(rows, columns=["number", "value", measure])
    losses = table[["value", measure]].to_numpy() * [-1.0, 1.0]
    table = table.assign(baseline=None, front=pareto_front(losses))
    return Tradeoff(table.sort_values("value", ascending=False), measure, 0)


def test_the_cheapest_near_the_best_is_named() -> None:
    found = traded((1, 0.50, 600.0), (2, 0.485, 150.0), (3, 0.47, 60.0))
    assert pareto.tradeoff_words(found) == (
        "The cheapest within 0.02 of the best is trial 2: 0.485 for 2 min, where the best, "
        "trial 1, has 0.500 for 10 min (75 % less)."
    )


def test_nothing_cheaper_near_the_best() -> None:
    found = traded((1, 0.50, 600.0), (2, 0.40, 60.0))
    assert pareto.tradeoff_words(found).startswith("Nothing cheaper comes within 0.02 of the best")


@pytest.mark.parametrize(
    ("measure", "value", "text"),
    [
        ("parameters", 1_900_000.0, "1.9 M parameters"),
        ("gflops", 0.4213, "0.421 GFLOP"),
        ("latency_ms", 12.0, "12 ms"),
        ("seconds", 42.0, "42 s"),
    ],
)
def test_amounts_have_their_units(measure: str, value: float, text: str) -> None:
    assert pareto.amount(measure, value) == text


def test_best_baseline_and_front_are_marked(make_study: MakeStudy) -> None:
    study = load_study(make_study())
    found = tradeoff_table(study, "parameters")
    drawing = pareto.tradeoff_figure(study, found)
    traces = {trace.name: trace for trace in drawing.figure.data}
    assert set(traces["front"].customdata) == set(found.table.loc[found.table["front"], "number"])
    assert list(traces["best trial"].customdata) == [study.incumbent.number]  # type: ignore[union-attr]
    assert list(traces["baseline"].customdata) == [0]
    assert (drawing.figure.layout.xaxis.type == "log") == pareto.spans_powers(
        found.table["parameters"]
    )


def test_without_the_cost_there_is_a_reason(make_study: MakeStudy) -> None:
    study = load_study(make_study())
    drawing = pareto.tradeoff_figure(study, tradeoff_table(study, "latency_ms"))
    assert drawing.figure is None
    assert drawing.note == "No COMPLETE trial has a value and its latency an image."


def test_a_cost_over_powers_of_ten_stands_by_its_logarithm() -> None:
    assert pareto.spans_powers(pd.Series([1.0, 30.0]))
    assert not pareto.spans_powers(pd.Series([1.0, 10.0]))
    assert not pareto.spans_powers(pd.Series([0.0, 30.0]))
