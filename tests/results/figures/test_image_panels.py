from __future__ import annotations

import base64

import cv2
import numpy as np
from numpy.typing import NDArray

from results.figures import image_panels
from results.records.pictures import Pixels


def square(size: int, label: int, low: int, high: int) -> Pixels:
    labels = np.zeros((size, size), np.uint8)
    labels[low:high, low:high] = label
    return labels


def scene(truth: Pixels) -> image_panels.Scene:
    return image_panels.scene(np.full((*truth.shape, 3), 120, np.uint8), truth)


def colors(drawn: Pixels, mask: NDArray[np.bool_]) -> set[str]:
    return {f"#{r:02x}{g:02x}{b:02x}" for b, g, r in drawn[mask].tolist()}


def test_kinds_of_error_leave_uncounted_pixels_out() -> None:
    truth = np.array([[0, 1, 1, 2, 255, 255]], np.uint8)
    seen = np.array([[1, 0, 1, 1, 0, 2]], np.uint8)
    missed, invented, confused = image_panels.kinds(truth, seen)
    assert missed.tolist() == [[False, True, False, False, False, False]]
    assert invented.tolist() == [[True, False, False, False, False, False]]
    assert confused.tolist() == [[False, False, False, True, False, False]]


def test_a_scene_has_the_panels_size_and_keeps_the_labels() -> None:
    shown = image_panels.scene(np.zeros((40, 80, 3), np.uint8), np.full((40, 80), 7, np.uint8))
    assert shown.photograph.shape == (image_panels.SIDE // 2, image_panels.SIDE, 3)
    assert shown.truth.shape == (image_panels.SIDE // 2, image_panels.SIDE)
    assert np.unique(shown.truth).tolist() == [7]


def test_errors_have_their_colours_and_hatching() -> None:
    size = image_panels.SIDE
    truth = square(size, 1, 0, 100)
    shown = scene(truth)
    ink = "#17212b"
    inside = np.zeros((size, size), bool)
    inside[5:90, 5:90] = True
    cases = ((0, image_panels.MISSED), (2, image_panels.CONFUSED))
    for predicted, color in cases:
        drawn = image_panels.mistaken(shown, np.full((size, size), predicted, np.uint8))
        assert colors(drawn, inside) == {color, ink}
    drawn = image_panels.mistaken(scene(np.zeros_like(truth)), truth)
    assert colors(drawn, inside) == {image_panels.INVENTED, ink}


def test_a_right_prediction_has_an_outline_alone() -> None:
    truth = square(image_panels.SIDE, 1, 50, 200)
    drawn = image_panels.mistaken(scene(truth), truth)
    inside = np.zeros(truth.shape, bool)
    inside[60:190, 60:190] = True
    assert len(colors(drawn, inside)) == 1
    assert colors(drawn, truth > 0) - colors(drawn, inside) == {"#ffffff"}


def test_hatchings_differ_where_colours_do_not() -> None:
    drawn = []
    for slopes in ((1,), (-1,), (1, -1)):
        image = np.zeros((21, 21, 3), np.uint8)
        image_panels._hatch(image, np.ones((21, 21), bool), (255, 255, 255), slopes)
        drawn.append(image.tobytes())
    assert len(set(drawn)) == 3


def test_labels_are_tinted_and_outlined_in_the_class_colour() -> None:
    truth = square(image_panels.SIDE, 2, 50, 200)
    shown = scene(truth)
    drawn = image_panels.labelled(shown, truth)
    background = colors(drawn, truth == 0)
    assert background == {"#787878"}
    assert len(colors(drawn, truth > 0)) == 2
    np.testing.assert_array_equal(
        image_panels.labelled(shown, np.zeros_like(truth)), shown.photograph
    )


def test_a_data_uri_holds_the_panel() -> None:
    panel = np.full((30, 50, 3), 200, np.uint8)
    head, data = image_panels.data_uri(panel).split(",")
    assert head == "data:image/webp;base64"
    read = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert read is not None
    assert read.shape == panel.shape


def test_busy_panels_are_kept_small() -> None:
    noise = np.random.default_rng(0).integers(
        0, 255, (image_panels.SIDE, image_panels.SIDE, 3), np.uint8
    )
    finest = len(
        cv2.imencode(".webp", noise, [cv2.IMWRITE_WEBP_QUALITY, image_panels.QUALITIES[0]])[1]
    )
    assert len(image_panels.data_uri(noise)) < finest
