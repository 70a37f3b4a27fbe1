from __future__ import annotations

import math

import pandas as pd
import pytest

from results.figures.importance import by_importance, importance_figure, importance_words

TARGETS = {"": "Mean foreground Dice", "Crack": "Crack", "Fray": "Fray"}
ROWS = (
    ("", "model.layers", 0.6, 0.5, 0.7, 60),
    ("", "train.rate", 0.4, 0.2, 0.45, 60),
    ("Crack", "model.layers", 0.1, 0.0, 0.2, 60),
    ("Crack", "train.rate", 0.9, 0.8, 0.95, 60),
)
COLUMNS = ["target", "parameter", "importance", "low", "high", "trials"]


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(ROWS, columns=COLUMNS)


def test_a_cell_for_each_field_and_target_that_is_told(table: pd.DataFrame) -> None:
    drawing = importance_figure(table, "How.", TARGETS)
    heat = drawing.figure.data[0]
    assert heat.z.ravel().tolist() == pytest.approx([0.6, 0.4, 0.1, 0.9])
    assert heat.text[1][1] == "0.90<br>0.80–0.95"
    assert heat.customdata[1][1] == "rate moves Crack"
    assert list(drawing.figure.layout.yaxis.ticktext) == ["Mean foreground Dice", "Crack"]
    assert list(drawing.figure.layout.xaxis.ticktext) == ["layers", "rate"]


def test_the_class_that_another_field_moves_is_named(table: pd.DataFrame) -> None:
    assert importance_words(table, TARGETS) == (
        "layers moves mean foreground Dice most: 0.60 (0.50–0.70). "
        "rate moves Crack: 0.90 (0.80–0.95)."
    )


def test_ranges_that_overlap_and_few_trials_are_warned_of(table: pd.DataFrame) -> None:
    table.loc[1, "high"] = 0.55
    table["trials"] = 20
    text = importance_words(table, TARGETS)
    assert "though rate, 0.40 (0.20–0.55), overlaps it" in text
    assert text.endswith("From 20 trials this is a hint, not a ranking.")


def test_one_field_that_leads_everywhere(table: pd.DataFrame) -> None:
    table.loc[2, "importance"] = 0.95
    assert "It leads for the classes it is known of too." in importance_words(table, TARGETS)
    few = {name: TARGETS[name] for name in ("", "Crack")}
    assert "It leads for every class too." in importance_words(table, few)


def test_without_ranges_the_importance_stands_alone(table: pd.DataFrame) -> None:
    bare = table.assign(low=math.nan, high=math.nan)
    assert importance_figure(bare, "", TARGETS).figure.data[0].text[0][0] == "0.60"
    assert importance_words(bare, TARGETS).startswith(
        "layers moves mean foreground Dice most: 0.60"
    )


def test_the_order_is_the_targets_own(table: pd.DataFrame) -> None:
    assert by_importance(table, "") == ["model.layers", "train.rate"]
    assert by_importance(table, "Crack") == ["train.rate", "model.layers"]


def test_classes_that_are_shortened_alike_stay_two_rows(table: pd.DataFrame) -> None:
    long = {"": "Mean", "Crack": "x" * 40 + "a", "Fray": "x" * 40 + "b"}
    extra = table[table["target"] == "Crack"].assign(target="Fray")
    drawing = importance_figure(pd.concat([table, extra]), "", long)
    assert drawing.figure.data[0].z.shape == (3, 2)
