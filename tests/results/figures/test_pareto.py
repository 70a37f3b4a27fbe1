from __future__ import annotations

import pytest

from results.figures import pareto
from results.pareto import pareto_table
from results.records import load_study
from tests.results.conftest import MakeStudy
from tests.results.test_pareto import several


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
