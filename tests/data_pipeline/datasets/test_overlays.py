from __future__ import annotations

import numpy as np
import pytest

from data_pipeline.datasets import overlays
from data_pipeline.datasets.overlays import Overlay

COLORS = ((0, 0, 0), (255, 0, 0), (0, 0, 255))


def test_the_background_stays_and_a_class_is_tinted_and_outlined() -> None:
    image = np.full((20, 30, 1), 100, np.uint8)
    labels = np.zeros((20, 30), np.uint8)
    labels[5:15, 10:20] = 1
    overlay = Overlay(image, COLORS)
    overlay.add(labels[:9])
    overlay.add(labels[9:])

    picture = overlay.picture()

    assert picture.shape == (20, 30, 3)
    assert (picture[0, 0] == 100).all()
    assert tuple(picture[10, 15]) == pytest.approx((162, 60, 60), abs=1)
    assert tuple(picture[5, 12]) == (255, 0, 0)


def test_a_large_image_is_shown_smaller_with_every_thin_crack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(overlays, "LARGEST_SIDE", 10)
    image = np.zeros((35, 21, 3), np.uint8)
    labels = np.zeros((35, 21), np.uint8)
    labels[:, 13] = 2
    overlay = Overlay(image, COLORS)
    for top in range(0, 35, 3):
        overlay.add(labels[top : top + 3])

    picture = overlay.picture()

    assert picture.shape == (9, 6, 3)
    assert (picture[:, 3] == (0, 0, 255)).all()
    assert (picture[:, [0, 1, 2, 4, 5]] == 0).all()


def test_only_the_inside_of_an_area_is_tinted_its_edges_have_the_colour_itself() -> None:
    overlay = Overlay(np.full((20, 30, 1), 100, np.uint8), COLORS)
    labels = np.zeros((20, 30), np.uint8)
    labels[5:15, 10:15], labels[5:15, 15:20] = 1, 2
    overlay.add(labels)

    picture = overlay.picture()

    assert (picture[10, [10, 14]] == (255, 0, 0)).all()
    assert (picture[10, [15, 19]] == (0, 0, 255)).all()
    assert tuple(picture[10, 12]) == pytest.approx((162, 60, 60), abs=1)
    assert (picture[10, [9, 20]] == 100).all()
