from __future__ import annotations

import math

import numpy as np
import pytest

from results.figures import objects, pictures
from tests.results.counted import counted

IMAGES = {
    "a": [(0, 0, 60), (1, 1, 10), (1, 0, 30)],
    "b": [(0, 0, 80), (0, 1, 10), (2, 2, 5), (2, 1, 5)],
    "c": [(0, 0, 95), (2, 0, 5)],
}
# Crack: one found, one in part, two missed, one large invented; Fray: one found.
OBJECTS = [(0, 1, 10, 5), (0, 1, 10, 4), (0, 1, 10, 0), (0, 1, 2000, 0), (1, 2, 10, 10)]
PREDICTED = [(0, 1, 10, 9), (1, 1, 9999, 0)]


def test_rows_are_shares_with_the_background_last_and_grey() -> None:
    drawing = pictures.confusion_figure(counted(IMAGES), "best")
    foreground, background = drawing.figure.data
    assert list(foreground.y) == ["Crack", "Fray", "background"]
    np.testing.assert_allclose(foreground.z[0], [0.25, 0, 0.75])
    assert np.isnan(foreground.z[2]).all()
    np.testing.assert_allclose(background.z[2], [10 / 245, 0, 235 / 245], rtol=1e-6)
    assert foreground.customdata[1].tolist() == [5, 5, 5]
    assert "n = 300 pixels in 3 images" in drawing.note


def test_what_is_swallowed_and_mixed_up_is_named() -> None:
    assert pictures.confusion_says(counted(IMAGES)) == (
        "75 % of the pixels of Crack are taken for background, the most of any class; the classes "
        "mixed up most are Fray, of which 33 % is taken for Crack."
    )
    clean = {"a": [(0, 0, 90), (1, 0, 10)]}
    assert pictures.confusion_says(counted(clean)).endswith("no defect is taken for another.")
    assert pictures.confusion_says(counted({"a": [(0, 1, 9)]})) == "No defect is in truth."


def test_the_matrix_of_images_counts_images() -> None:
    drawing = pictures.image_confusion_figure(counted(IMAGES), "best")
    foreground = drawing.figure.data[0]
    # Fray is shown by b and c: predicted as itself and as Crack in b alone.
    np.testing.assert_allclose(foreground.z[1], [0.5, 0.5])
    assert foreground.customdata[1].tolist() == [1, 1]
    assert list(foreground.x) == ["Crack", "Fray"]
    assert len(drawing.figure.data) == 1
    assert drawing.says == (
        "Fray is overlooked most: in 1 of 2 images that show it, it is not predicted at all; Crack "
        "is predicted in 1 image without it, the most of any class."
    )


def test_nothing_counted_is_no_matrix() -> None:
    empty = counted({})
    assert pictures.confusion_figure(empty, "best").figure is None
    assert pictures.image_confusion_figure(empty, "best").figure is None
    assert objects.objects_figure(empty, "best").figure is None


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0"), (0.0004, "<0.1 %"), (0.042, "4.2 %"), (0.42, "42 %"), (0.996, "99.6 %")],
)
def test_shares_are_read_at_a_glance(share: float, text: str) -> None:
    assert pictures.percent(share) == text
    assert pictures.percent(math.nan) == ""


def test_objects_are_bars_with_the_invented_to_the_left() -> None:
    evaluation = counted(IMAGES, objects=OBJECTS, predicted_objects=PREDICTED)
    drawing = objects.objects_figure(evaluation, "best")
    bars = {bar.name: list(bar.x) for bar in drawing.figure.data}
    assert bars == {"found": [1, 1], "in part": [1, 0], "missed": [2, 0], "invented": [-1, 0]}
    patterns = {bar.marker.pattern.shape for bar in drawing.figure.data}
    assert len(patterns) == 4
    assert drawing.says == (
        "5 defects: 2 found, 1 in part, 2 missed; besides, 1 invented. Missed most: Crack, 2 of 4; "
        "by size, the medium ones, 1 of 1."
    )
    assert drawing.figure.layout.xaxis.ticktext[0] == "1"


def test_classes_without_objects_stay_in_the_figure() -> None:
    drawing = objects.objects_figure(counted(IMAGES, objects=[(0, 1, 4, 4)]), "best")
    assert list(drawing.figure.data[0].y) == ["Crack", "Fray"]
    assert drawing.says.startswith("1 defect: 1 found")
