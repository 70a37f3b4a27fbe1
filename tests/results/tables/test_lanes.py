from __future__ import annotations

import pandas as pd

from results.records.study import load_study
from results.tables.lanes import joined_bars, trial_segments
from tests.results.conftest import MakeStudy


def segments() -> pd.DataFrame:
    rows = [
        (0, 0, "COMPLETE", 0.0, 9.0, 3),
        (0, 2, "PRUNED", 10.0, 19.0, 1),
        (1, 1, "FAIL", 0.0, 25.0, 2),
        (0, 3, "COMPLETE", 20.0, 30.0, 2),
        (2, 4, "COMPLETE", 5.0, 9.0, 2),
    ]
    return pd.DataFrame(rows, columns=["lane", "number", "state", "start", "end", "epochs"])


def test_few_trials_are_not_joined() -> None:
    bars, least = joined_bars(segments(), most=5)
    assert (len(bars), least) == (5, 0.0)
    assert list(bars["states"]) == ["1 COMPLETE", "1 PRUNED", "1 COMPLETE", "1 FAIL", "1 COMPLETE"]


def test_trials_are_joined_until_a_bar_is_long_enough() -> None:
    bars, least = joined_bars(segments(), most=4)
    assert least == 30 * 3 / 4
    first = bars.iloc[0]
    assert (first["start"], first["end"], first["trials"]) == (0.0, 30.0, 3)
    assert (first["first"], first["last"], first["epochs"]) == (0, 3, 6)
    assert (first["state"], first["states"]) == ("COMPLETE", "2 COMPLETE, 1 PRUNED")
    assert len(bars) == 3  # lanes are never joined


def test_a_long_gap_stays_a_gap() -> None:
    part = pd.DataFrame(
        {
            **{"lane": 0, "number": range(4), "state": "COMPLETE", "epochs": 1},
            "start": [0.0, 1.0, 80.0, 99.0],
            "end": [1.0, 2.0, 81.0, 100.0],
        }
    )
    bars, least = joined_bars(part, most=3)
    assert least == 100 / 3
    assert list(bars["end"]) == [2.0, 100.0]


def test_nothing_is_no_bar() -> None:
    bars, least = joined_bars(segments().head(0), most=3)
    assert bars.empty
    assert least == 0


def test_old_records_have_their_trials_laid_out_without_an_overlap(make_study: MakeStudy) -> None:
    study = load_study(make_study(schema="first"))
    table = trial_segments(study)
    assert set(table["number"]) == {t.number for t in study.trials if t.finished}
    assert set(table["worker"]) == {""}
    for _, lane in table.groupby("lane"):
        assert (lane["start"].to_numpy()[1:] >= lane["end"].to_numpy()[:-1]).all()
    assert table["lane"].nunique() == 4  # two nodes of two workers
