from __future__ import annotations

import numpy as np

from results.analysis.objects import image_confusion, images_table, objects_table
from tests.results.counted import counted

MODEL = counted(
    {
        "a": [(0, 0, 80), (1, 1, 5), (1, 2, 5), (0, 2, 10)],  # Crack found, Fray invented
        "b": [(0, 0, 80), (1, 0, 20)],  # Crack missed
        "c": [(0, 0, 80), (0, 1, 3), (1, 0, 7)],  # Crack predicted beside its place
        "d": [(0, 0, 100)],
    },
    objects=[
        (0, 1, 10, 5),  # small, half of it: found
        (1, 1, 20, 0),  # small, missed
        (2, 1, 1023, 1),  # small, in part
        (2, 1, 1024, 511),  # medium, in part
        (3, 1, 9216, 9216),  # large, found
        (3, 2, 9215, 4608),  # medium Fray, found
    ],
    predicted_objects=[(0, 1, 5, 5), (0, 2, 15, 0), (2, 1, 3, 0), (3, 1, 10_000, 1)],
)


def test_objects_are_counted_by_size() -> None:
    table = objects_table(MODEL).set_index(["class", "size"])

    columns = ["objects", "found", "in_part", "missed", "predicted", "invented"]
    rows = {key: table.loc[key, columns].to_list() for key in table.index}
    assert rows == {
        ("Crack", "small"): [3, 1, 1, 1, 2, 1],
        ("Crack", "medium"): [1, 0, 1, 0, 0, 0],
        ("Crack", "large"): [1, 1, 0, 0, 1, 0],
        ("Crack", "all"): [5, 2, 2, 1, 3, 1],
        ("Fray", "small"): [0, 0, 0, 0, 1, 1],
        ("Fray", "medium"): [1, 1, 0, 0, 0, 0],
        ("Fray", "large"): [0, 0, 0, 0, 0, 0],
        ("Fray", "all"): [1, 1, 0, 0, 1, 1],
    }


def test_images_are_found_missed_and_invented() -> None:
    table = images_table(MODEL).set_index("class")

    assert list(table.columns) == ["shown", "found", "hit", "missed", "invented", "clean"]
    assert table.loc["Crack"].to_list() == [3, 2, 1, 1, 0, 1]
    assert table.loc["Fray"].to_list() == [0, 0, 0, 0, 1, 3]


def test_images_are_confused_by_class() -> None:
    table = image_confusion(MODEL).set_index(["class", "predicted"])

    assert table.loc[("Crack", "Crack"), ["shown", "images"]].to_list() == [3, 2]
    assert table.loc[("Crack", "Fray"), "images"] == 1
    assert table.loc[("Crack", "background"), "share"] == 1.0
    assert table.loc[("background", "Crack"), ["shown", "images"]].to_list() == [4, 2]
    assert np.isnan(table.loc[("Fray", "Crack"), "share"])


def test_an_evaluation_without_an_image_has_rows_of_zeros() -> None:
    empty = counted({})
    assert objects_table(empty)["objects"].to_list() == [0] * 8
    assert images_table(empty)["shown"].to_list() == [0, 0]
    assert image_confusion(empty)["share"].isna().all()
