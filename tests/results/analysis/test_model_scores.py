from __future__ import annotations

import json
import math

import pandas as pd
import pytest

from results.analysis.intervals import class_intervals
from results.analysis.model_scores import (
    COUNTS,
    OBJECTS,
    ReferenceScores,
    class_rows,
    dice_says,
    pooled_says,
    scores_table,
    summary,
    table_cautions,
    text_rows,
)
from results.records.evaluation import Evaluation
from tests.results.counted import counted


@pytest.fixture
def evaluation() -> Evaluation:
    """Crack in two images, half found and half invented; Fray in none."""
    return counted(
        {
            "test/a": [(0, 0, 80), (1, 1, 10), (1, 0, 10)],
            "test/b": [(0, 0, 70), (0, 1, 10), (1, 1, 20)],
            "test/c": [(0, 0, 100)],
        },
        objects=[(0, 1, 20, 10), (1, 1, 20, 20)],
        predicted_objects=[(0, 1, 10, 10), (1, 1, 30, 20), (1, 1, 4, 0)],
    )


@pytest.fixture
def table(evaluation: Evaluation) -> pd.DataFrame:
    return scores_table(evaluation, replicates=200)


def test_each_class_has_its_scores_counts_and_objects(
    table: pd.DataFrame, evaluation: Evaluation
) -> None:
    crack = table.iloc[1]
    assert [crack[name] for name in ("dice", "iou", "precision", "recall")] == pytest.approx(
        [0.75, 0.6, 0.75, 0.75]
    )
    assert (crack["images"], crack["groups"], crack["few"]) == (2, 2, True)
    counts = class_rows(table).loc[1, [*COUNTS, *OBJECTS]].to_list()
    assert counts == [30, 10, 10, 2, 2, 0, 0, 3, 1]
    told = class_intervals(evaluation, "dice", 200).iloc[1]
    assert (crack["dice_low"], crack["dice_high"]) == (told["low"], told["high"])
    assert crack["dice_low"] < 0.75 < crack["dice_high"]
    assert table.iloc[2][["dice", "recall"]].isna().all()
    assert table["kind"].tolist() == ["class", "class", "class", "mean", "worst"]
    # Fray is undefined, so the mean is Crack's.
    assert table.iloc[3]["dice"] == 0.75
    assert (table.iloc[3]["images"], table.iloc[0]["images"]) == (2, 3)


def test_the_csv_of_classes_has_a_row_each_and_whole_counts(table: pd.DataFrame) -> None:
    lines = class_rows(table).to_csv(index=False).splitlines()
    assert lines[0].startswith("class,dice,dice_low,dice_high,iou,")
    assert lines[0].endswith("objects,found,in_part,missed,predicted,invented")
    assert [line.split(",")[0] for line in lines[1:]] == ["background", "Crack", "Fray"]
    assert lines[2].endswith(",30,10,10,2,2,0,0,3,1")


def test_the_reference_gets_its_two_lines() -> None:
    assert ReferenceScores(0.0346, 0.98).csv == (
        "categorical_crossentropy,0.0346\ndice_coef_multiclass,0.98\n"
    )
    assert ReferenceScores(1.00004, 0.969749).csv == (
        "categorical_crossentropy,1.0\ndice_coef_multiclass,0.9697\n"
    )


def test_the_summary_is_json_with_null_for_undefined(
    table: pd.DataFrame, evaluation: Evaluation
) -> None:
    told = json.loads(json.dumps(summary(table, evaluation), allow_nan=False))
    assert told["mean_foreground"]["dice"]["value"] == 0.75
    crack, fray = told["classes"]["Crack"], told["classes"]["Fray"]
    assert (crack["true_positives"], crack["invented"], crack["few_groups"]) == (30, 1, True)
    assert fray["dice"] == {"value": None, "low": None, "high": None}
    assert told["classes"]["background"]["objects"] is None
    assert told["confusion_pixels"] == [[250, 10, 0], [10, 30, 0], [0, 0, 0]]
    assert told["pooled_dice_of_background_alone"] == pytest.approx(260 / 300)
    assert told["pooled_dice"] == 0.5


def test_rows_for_people_end_in_background_and_mean(table: pd.DataFrame) -> None:
    rows = text_rows(table)
    assert [row[0] for row in rows] == ["Crack", "Fray", "background", "mean foreground"]
    assert (rows[0][1], rows[0][3:]) == ("0.750", ("0.600", "0.750", "0.750", "2", "2"))
    assert rows[1][1:] == ("–", "", "–", "–", "–", "0", "0")


def test_the_sentences_tell_the_numbers(table: pd.DataFrame, evaluation: Evaluation) -> None:
    low, high = table.iloc[3]["dice_low"], table.iloc[3]["dice_high"]
    assert dice_says(table) == (
        f"Mean foreground Dice 0.750 (95 %: {low:.3f} to {high:.3f}), of Crack alone."
    )
    says = pooled_says(evaluation, ReferenceScores(0.1, 0.93))
    assert "is 0.9300" in says
    assert "nothing but background scores 0.8667" in says


def test_few_groups_and_absent_classes_are_cautioned(table: pd.DataFrame) -> None:
    kinds = {caution.kind: caution.text for caution in table_cautions(table)}
    assert kinds.keys() == {"undefined", "few groups"}
    assert "Fray" in kinds["undefined"]
    assert "Crack (2 groups)" in kinds["few groups"]

    invented = counted({f"test/{n}": [(0, 0, 90), (0, 1, 10)] for n in range(6)})
    kinds = {each.kind: each.text for each in table_cautions(scores_table(invented, 100))}
    assert kinds.keys() == {"undefined", "not shown"}
    assert "Crack" in kinds["not shown"]

    enough = counted({f"test/{n}": [(0, 0, 80), (1, 1, 10), (2, 2, 10)] for n in range(5)})
    found = scores_table(enough, 100)
    assert table_cautions(found) == ()
    assert not math.isnan(found.iloc[1]["dice_low"])


def test_no_foreground_at_all_is_said() -> None:
    table = scores_table(counted({"test/a": [(0, 0, 100)]}), 100)
    assert "No foreground class is defined" in dice_says(table)
