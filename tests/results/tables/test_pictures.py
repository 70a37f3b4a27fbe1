from __future__ import annotations

import pytest

from results.tables.pictures import (
    chosen_images,
    confusion_table,
    error_pixels,
    image_scores,
)
from tests.results.counted import counted

# Crack: a has Dice 0, b 0.5, c 1; d lacks it, though it is invented there. Fray: e alone.
IMAGES = {
    "c": [(0, 0, 90), (1, 1, 10)],
    "a": [(0, 0, 90), (1, 0, 10)],
    "b": [(0, 0, 88), (1, 1, 5), (1, 0, 5), (0, 1, 5)],
    "d": [(0, 0, 98), (0, 1, 2)],
    "e": [(0, 0, 90), (2, 2, 6), (2, 1, 4)],
}


def test_scores_by_image_with_undefined_ones() -> None:
    table = image_scores(counted(IMAGES, groups={"a": "g"}))
    assert table.at["a", "group"] == "g"
    assert table[1].to_dict() == pytest.approx(
        {"c": 1.0, "a": 0.0, "b": 10 / 20, "d": 0.0, "e": 0.0}
    )
    assert table[2].isna()["a"]
    # Fray: 12 / 16; Crack, which is invented: 0.
    assert table.at["e", "mean"] == pytest.approx(12 / 16 / 2)


def test_worst_median_and_best_among_the_images_that_show_the_class() -> None:
    table = chosen_images(counted(IMAGES))
    crack = table[table["class"] == "Crack"]
    assert crack[["place", "image"]].to_numpy().tolist() == [
        ["worst", "a"],
        ["median", "b"],
        ["best", "c"],
    ]
    assert crack["images"].to_list() == [3, 3, 3]
    fray = table[table["class"] == "Fray"]
    assert fray[["place", "image"]].to_numpy().tolist() == [["worst, median and best", "e"]]


def test_equal_images_are_chosen_by_name_and_the_lower_median() -> None:
    same = [(0, 0, 90), (1, 1, 10)]
    table = chosen_images(counted({"z": same, "x": same, "y": same, "w": same}))
    assert table[["place", "image"]].to_numpy().tolist() == [
        ["worst and best", "w"],
        ["median", "x"],
    ]


def test_a_class_that_no_image_shows_has_no_row() -> None:
    assert chosen_images(counted({"a": [(0, 0, 90), (0, 1, 10)]})).empty


def test_wrong_pixels_by_kind() -> None:
    table = error_pixels(counted(IMAGES))
    assert table.loc["b"].to_dict() == {"missed": 5, "invented": 5, "confused": 0, "true": 10}
    assert table.loc["e"].to_dict() == {"missed": 0, "invented": 0, "confused": 4, "true": 10}


def test_confusion_is_in_shares_of_the_true_class() -> None:
    table = confusion_table(counted({"a": [(0, 0, 90), (1, 1, 3), (1, 0, 1)]}))
    pairs = table.set_index(["true", "predicted"])
    assert pairs.loc[("Crack", "Crack"), "share"] == 0.75
    assert pairs.loc[("Crack", "background"), "pixels"] == 1
    assert pairs["share"].isna()["Fray", "Fray"]
    assert len(table) == 9
