from __future__ import annotations

import numpy as np
import pandas as pd

from results.figures.data import share_figure, share_sentence


def table(**shares: list[float]) -> pd.DataFrame:
    """Shares by split, of background, Crack, Fray."""
    rows = [
        {"split": split, "class": name, "share": share, "images_with": 3, "pixels": 100}
        for split, values in shares.items()
        for name, share in zip(("background", "Crack", "Fray"), values, strict=True)
    ]
    frame = pd.DataFrame(rows)
    train = frame[frame["split"] == "train"].set_index("class")["share"]
    base = frame["class"].map(train)
    return frame.assign(against_train=frame["share"] / base.where(base > 0))


def test_the_rarest_and_the_unlike_are_named() -> None:
    said = share_sentence(table(train=[0.9, 0.08, 0.02], valid=[0.9, 0.01, 0.09]))
    assert said.startswith("Fray is the rarest: 2 % of train's pixels, 45 times fewer than backgr")
    assert "valid shows Crack unlike train: 0.12 times" in said  # an eighth is farther than 4.5


def test_a_class_that_a_split_lacks_is_named() -> None:
    said = share_sentence(table(train=[0.9, 0.1, 0.0], valid=[0.9, 0.1, 0.0]))
    assert "Fray has no pixel in train; 1 more such gap." in said
    assert "unlike" not in said


def test_marks_of_a_class_stand_in_its_row_beside_each_other() -> None:
    drawing = share_figure(table(train=[0.9, 0.1, 0.0], valid=[0.9, 0.1, 0.0]))
    first, second = drawing.figure.data
    assert list(first.text) == ["background", "Crack"]  # no mark where there is no pixel
    np.testing.assert_allclose(first.x, [90, 10])
    np.testing.assert_allclose(np.round(first.y), [2, 1])
    assert (np.asarray(first.y) > np.asarray(second.y)).all()
    assert first.marker.symbol != second.marker.symbol


def test_without_pixels_there_is_a_reason() -> None:
    drawing = share_figure(table(train=[np.nan, np.nan, np.nan]))
    assert drawing.figure is None
    assert drawing.note.endswith(".")
