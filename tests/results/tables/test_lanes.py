from __future__ import annotations

import pandas as pd

from results.tables.lanes import joined_bars, worker_rows


def segments() -> pd.DataFrame:
    """On a: process 1, replaced by 3 when it has ended, beside 2; on b: process 1."""
    rows = [
        ("a/1", "a", 0, "COMPLETE", 0.0, 9.0, 3),
        ("a/1", "a", 2, "PRUNED", 10.0, 19.0, 1),
        ("a/2", "a", 1, "FAIL", 0.0, 25.0, 2),
        ("a/3", "a", 3, "COMPLETE", 20.0, 30.0, 2),
        ("b/1", "b", 4, "COMPLETE", 5.0, 9.0, 2),
    ]
    names = ["worker", "host", "trial", "state", "start", "end", "epochs"]
    return pd.DataFrame(rows, columns=names)


def placed() -> pd.DataFrame:
    workers = worker_rows(segments())[["worker", "row"]]
    return segments().merge(workers, on="worker")


def test_a_process_goes_on_in_the_row_of_the_one_before() -> None:
    rows = worker_rows(segments()).set_index("worker")["row"]
    assert rows.to_dict() == {"a/1": 0, "a/2": 1, "a/3": 0, "b/1": 0}


def test_few_trials_are_not_joined() -> None:
    bars, least = joined_bars(placed(), most=5)
    assert (len(bars), least) == (5, 0.0)
    assert list(bars["states"]) == ["1 COMPLETE", "1 PRUNED", "1 COMPLETE", "1 FAIL", "1 COMPLETE"]


def test_trials_are_joined_until_a_bar_is_long_enough() -> None:
    bars, least = joined_bars(placed(), most=4)
    assert least == 30 * 3 / 4
    first = bars.iloc[0]
    assert (first["start"], first["end"], first["trials"]) == (0.0, 30.0, 3)
    assert (first["first"], first["last"], first["epochs"]) == (0, 3, 6)
    assert (first["state"], first["states"]) == ("COMPLETE", "2 COMPLETE, 1 PRUNED")
    assert len(bars) == 3  # rows are never joined


def test_a_long_gap_stays_a_gap() -> None:
    part = pd.DataFrame(
        {
            **{"host": "a", "row": 0, "trial": range(4), "state": "COMPLETE", "epochs": 1},
            "start": [0.0, 1.0, 80.0, 99.0],
            "end": [1.0, 2.0, 81.0, 100.0],
        }
    )
    bars, least = joined_bars(part, most=3)
    assert least == 100 / 3
    assert list(bars["end"]) == [2.0, 100.0]


def test_nothing_is_no_bar() -> None:
    bars, least = joined_bars(placed().head(0), most=3)
    assert bars.empty
    assert least == 0
