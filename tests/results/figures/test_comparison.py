from __future__ import annotations

import math

import pandas as pd
import pytest

from results.analysis.intervals import MEAN
from results.figures.comparison import differences_figure, histories_figure, incumbents_figure

ROWS = [
    ("a", "background", "class", 0.99),
    ("a", "Crack", "class", 0.2),
    ("a", MEAN, "mean", 0.2),
    ("b", "background", "class", 0.98),
    ("b", "Crack", "class", 0.3),
    ("b", MEAN, "mean", 0.3),
]


def table(value: str) -> pd.DataFrame:
    frame = pd.DataFrame(ROWS, columns=["study", "class", "kind", value])
    return frame.assign(low=frame[value] - 0.1, high=frame[value] + 0.2)


def test_incumbents_are_dots_with_their_intervals() -> None:
    drawing = incumbents_figure(table("dice"), ["a", "b"])
    one, other = drawing.figure.data

    assert list(one.x) == pytest.approx([0.2, 0.2])  # the mean, then the foreground
    assert list(other.error_x.array) == pytest.approx([0.2, 0.2])
    assert list(other.error_x.arrayminus) == pytest.approx([0.1, 0.1])
    assert drawing.says == "b has the highest mean foreground Dice, 0.300; a is next with 0.200."


def test_without_an_interval_there_is_no_bar() -> None:
    bare = table("dice").assign(low=math.nan, high=math.nan)
    one, _ = incumbents_figure(bare, ["a", "b"]).figure.data
    assert list(one.error_x.array) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("difference", "verdict"), [(0.3, "better."), (0.05, "not distinguishable."), (-0.3, "worse.")]
)
def test_a_difference_counts_where_its_interval_leaves_zero_out(
    difference: float, verdict: str
) -> None:
    rows = pd.DataFrame(
        [("b", "background", "class", 0.0), ("b", MEAN, "mean", difference)],
        columns=["study", "class", "kind", "difference"],
    )
    rows = rows.assign(low=rows["difference"] - 0.1, high=rows["difference"] + 0.1)
    drawing = differences_figure(rows, "a")
    assert drawing.says.startswith("b against a: ")
    assert drawing.says.endswith(verdict)


def test_nothing_to_compare_has_a_reason() -> None:
    empty = table("dice").iloc[:0]
    assert incumbents_figure(empty, ["a"]).figure is None
    assert differences_figure(empty.rename(columns={"dice": "difference"}), "a").figure is None
    assert (
        histories_figure({"a": pd.DataFrame(columns=["number", "best"])}, "trials").figure is None
    )


def test_histories_draw_the_steps_and_the_end() -> None:
    progress = pd.DataFrame({"number": [1, 2, 3, 4], "best": [math.nan, 0.1, 0.1, 0.1]})
    drawing = histories_figure({"a": progress}, "trials")
    (line,) = drawing.figure.data

    assert list(line.x) == [2, 4]
    assert drawing.says == "a: 0.100 after 4 trials."


def test_a_difference_without_an_interval_is_said_as_such() -> None:
    rows = pd.DataFrame(
        [("b", "background", "class", 0.0), ("b", MEAN, "mean", 0.1)],
        columns=["study", "class", "kind", "difference"],
    ).assign(low=math.nan, high=math.nan)
    assert "no interval: fewer than two groups" in differences_figure(rows, "a").says
