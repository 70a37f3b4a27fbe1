from __future__ import annotations

import numpy as np
import pytest

from results.analysis.model_scores import scores_table
from results.figures.class_scores import class_scores_figure
from tests.results.counted import counted

IMAGES = {
    "test/a": [(0, 0, 80), (1, 1, 10), (1, 0, 10)],
    "test/b": [(0, 0, 70), (0, 1, 10), (1, 1, 20)],
}


def test_a_dot_has_its_interval_and_what_is_undefined_says_so() -> None:
    table = scores_table(counted(IMAGES), 200)
    drawing = class_scores_figure(table, 2, 200)
    dots = {name: trace for trace in drawing.figure.data for name in trace.y}
    assert list(dots) == ["mean foreground", "Crack", "background"]
    crack = dots["Crack"]
    assert crack.x[0] == pytest.approx(0.75)
    low, high = table.iloc[1]["dice_low"], table.iloc[1]["dice_high"]
    assert crack.error_x.arrayminus[0] == pytest.approx(0.75 - low, abs=1e-6)
    assert crack.error_x.array[0] == pytest.approx(high - 0.75, abs=1e-6)
    assert crack.customdata[0] == f"0.750 ({low:.3f} to {high:.3f})"
    texts = {each.y: each.text for each in drawing.figure.layout.annotations}
    assert texts == {"Fray": "undefined"}
    assert drawing.says.startswith("Mean foreground Dice 0.750")
    assert "200 draws" in drawing.note
    assert "2 images" in drawing.note


def test_a_class_of_one_group_has_no_bar_and_may_have_any_name() -> None:
    names = ("background", "<b>mean foreground</b>", "mean foreground")
    drawing = class_scores_figure(
        scores_table(counted({"a": IMAGES["test/a"]}, classes=names), 100), 1, 100
    )
    dots = {name: trace for trace in drawing.figure.data for name in trace.y}
    assert len(dots) == 3  # the mean, the class called so told from it, the background
    trace = next(trace for name, trace in dots.items() if name.startswith("&lt;b&gt;mean"))
    assert not np.any(trace.error_x.array)
    assert trace.customdata[0] == f"{2 * 10 / 30:.3f}"
