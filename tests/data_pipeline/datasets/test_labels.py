from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from data_pipeline.datasets import synthetic
from data_pipeline.datasets.labels import LabelMap, colorize
from data_pipeline.problems import BadFileError
from tests.data_pipeline.files import CLASSES, COLORS, encode, exif, labels, png, rgb_mask

MASK = labels()
TILE = synthetic.CLASSES
VOC = {"background": (0, 0, 0), "a": (128, 0, 0), "b": (64, 0, 0), "c": (0, 128, 0)}
BINARY = {"background": (0, 0, 0), "defect": (255, 255, 255)}


def read(tmp_path: Path, data: bytes, classes=CLASSES, tolerance: int = 32, suffix: str = ".png"):
    path = tmp_path / f"mask{suffix}"
    path.write_bytes(data)
    return LabelMap(classes, tolerance).read(path)


def palette(*colors: tuple[int, int, int]) -> bytes:
    return bytes(part for color in colors for part in color)


def npz(tmp_path: Path, **arrays) -> bytes:
    np.savez(tmp_path / "made.npz", **arrays)
    return (tmp_path / "made.npz").read_bytes()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        pytest.param(rgb_mask(MASK), "colors", id="rgb"),
        pytest.param(encode(".bmp", np.ascontiguousarray(COLORS[MASK][..., ::-1])), "colors",
                     id="bmp"),
        pytest.param(encode(".png", MASK), "indices", id="indices"),
        pytest.param(encode(".png", MASK.astype(np.uint16)), "indices", id="16 bit indices"),
        pytest.param(encode(".tif", MASK), "indices", id="tif indices"),
        pytest.param(encode(".bmp", MASK), "indices", id="bmp indices, a grey palette"),
        pytest.param(png(MASK, 0, 2), "indices", id="2 bit indices"),
        pytest.param(png(MASK, 0, 4), "indices", id="4 bit indices"),
        pytest.param(png(MASK, 3, 2, PLTE=palette(*CLASSES.values())), "colors", id="palette"),
        pytest.param(png(2 - MASK, 3, 8, PLTE=palette(*list(CLASSES.values())[::-1])), "colors",
                     id="palette in another order"),
        pytest.param(png(MASK, 3, 8, PLTE=palette((0,) * 3, (1,) * 3, (2,) * 3)), "indices",
                     id="grey palette"),
        pytest.param(png(np.dstack([COLORS[MASK], np.full(MASK.shape, 255)]), 6, 8), "colors",
                     id="opaque alpha"),
    ],
)  # fmt: skip
def test_every_encoding_gives_the_same_labels(tmp_path: Path, data: bytes, kind: str) -> None:
    mask = read(tmp_path, data)
    np.testing.assert_array_equal(mask.labels, MASK)
    assert mask.labels.dtype == np.uint8
    assert mask.kind == kind


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint8, np.float32])
def test_npz_one_hot(tmp_path: Path, dtype: type) -> None:
    data = npz(tmp_path, mask=np.eye(3)[MASK].astype(dtype))
    np.testing.assert_array_equal(read(tmp_path, data, suffix=".npz").labels, MASK)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"labels": MASK}, "named 'mask'"),
        ({"mask": MASK}, "one-hot array"),
        ({"mask": np.eye(4)[MASK]}, r"\[height, width, 3\]"),
        ({"mask": np.eye(3)[MASK] * 0.5}, "single 1"),
        ({"mask": np.zeros((4, 4, 3))}, "single 1"),
        ({"mask": np.full((4, 4, 3), np.nan)}, "single 1"),
        ({"mask": np.full((4, 4, 3), "1")}, "one-hot array"),
        ({"mask": np.full((4, 4, 3), None)}, "damaged"),
    ],
)
def test_npz_of_another_content_is_refused(tmp_path: Path, arrays, reason: str) -> None:
    with pytest.raises(BadFileError, match=reason):
        read(tmp_path, npz(tmp_path, **arrays), suffix=".npz")


def test_broken_npz_is_refused(tmp_path: Path) -> None:
    whole = npz(tmp_path, mask=np.eye(3)[MASK])
    damaged = whole[:200] + bytes(100) + whole[300:]
    for data in (b"", b"nonsense", whole[: len(whole) // 2], damaged):
        with pytest.raises(BadFileError, match="damaged"):
            read(tmp_path, data, suffix=".npz")
    np.save(tmp_path / "array.npy", np.eye(3)[MASK])
    with pytest.raises(BadFileError, match="damaged"):
        read(tmp_path, (tmp_path / "array.npy").read_bytes(), suffix=".npz")


@pytest.mark.parametrize("classes", [TILE, VOC], ids=["tile", "voc"])
@pytest.mark.parametrize("blur", [0.5, 0.8, 1.0])
def test_anti_aliased_edges_go_to_the_nearer_class(classes: dict, blur: float) -> None:
    """Discs on background and on each other, as drawn and as blurred by an editor."""
    colors = np.array(list(classes.values()), np.uint8)
    count = len(classes)
    drawn = np.zeros((64, 64 * count), np.uint8)
    for label in range(1, count):
        cv2.circle(drawn, (64 * label, 32), 24, label, -1)
    drawn[28:36] = 1
    soft = cv2.GaussianBlur(colors[drawn], (0, 0), blur)
    found = LabelMap(classes, 32).from_colors(np.ascontiguousarray(soft[:, :, ::-1]))
    wrong = found != drawn
    edge = cv2.morphologyEx(drawn, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    assert not wrong[~edge].any()
    assert wrong.sum() < 0.1 * edge.sum()
    bystanders = [c for c in range(count) if c not in (0, 1, 2)]
    first = slice(30, 100)  # around the disc of class 1 alone stand only classes 0 and 1
    assert not np.isin(found[:, first], bystanders).any()


def test_an_edge_through_a_third_class_colour_is_not_that_class() -> None:
    grey = {"black": (0, 0, 0), "white": (255, 255, 255), "middle": (128, 128, 128)}
    ramp = np.zeros((16, 16), np.uint8)
    ramp[:, 8:] = 255
    ramp[:, 7] = 110
    found = LabelMap(grey, 32).from_colors(cv2.cvtColor(ramp, cv2.COLOR_GRAY2BGR))
    np.testing.assert_array_equal(np.unique(found), [0, 1])


def test_a_thin_line_of_the_exact_colour_is_kept() -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[:, 11] = 2
    bgr = np.ascontiguousarray(COLORS[mask][:, :, ::-1])
    bgr[bgr == 255] = 250  # a colour near the class's, nowhere exact
    np.testing.assert_array_equal(LabelMap(CLASSES, 32).from_colors(bgr), mask)


@pytest.mark.parametrize("tolerance", [0, 10, 32])
def test_tolerance_is_per_channel_and_inclusive(tolerance: int) -> None:
    bgr = np.zeros((8, 8, 3), np.uint8)
    bgr[2:6, 2:6] = (tolerance, tolerance, 255 - tolerance)
    found = LabelMap(CLASSES, tolerance).from_colors(bgr)
    assert (found[2:6, 2:6] == 1).all()
    bgr[2:6, 2:6] = (tolerance + 1, tolerance, 255 - tolerance)
    with pytest.raises(BadFileError, match="16 pixels of 1 colours"):
        LabelMap(CLASSES, tolerance).from_colors(bgr)


def test_strange_colours_are_counted_and_named(tmp_path: Path) -> None:
    rgb = COLORS[MASK].copy()
    rgb[0, :9] = (12, 200, 77)
    rgb[1, 0] = (99, 98, 97)
    data = encode(".png", np.ascontiguousarray(rgb[:, :, ::-1]))
    with pytest.raises(BadFileError, match=r"10 pixels of 2 colours .*rgb\(12, 200, 77\) x 9"):
        read(tmp_path, data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(encode(".png", MASK * 100), "class indices 0..2, received values 100, 200",
                     id="grey"),
        pytest.param(encode(".jpg", COLORS[MASK]), "JPEG mask", id="jpeg"),
        pytest.param(encode(".png", COLORS[MASK].astype(np.uint16) * 257), "16 bit", id="16 bit"),
        pytest.param(png(COLORS[MASK], 2, 8, eXIf=exif(3)), "orientation", id="turned"),
        pytest.param(png(MASK, 3, 8, PLTE=palette((0, 0, 0), (5, 5, 9), (9, 5, 5))), "two ways",
                     id="palette of darkness"),
        pytest.param(png(MASK, 3, 8, PLTE=palette((0, 0, 0), (0, 128, 0), (0, 0, 128))),
                     "two ways", id="palette of other colours"),
        pytest.param(png(np.dstack([COLORS[MASK], 255 * (MASK > 0)]), 6, 8), "transparent",
                     id="transparent background"),
        pytest.param(rgb_mask(MASK)[:-30], "truncated", id="truncated"),
    ],
)  # fmt: skip
def test_masks_that_could_be_read_wrong_are_refused(
    tmp_path: Path, data: bytes, reason: str
) -> None:
    with pytest.raises(BadFileError, match=reason):
        read(tmp_path, data)


def test_one_bit_and_grey_masks_of_a_binary_map(tmp_path: Path) -> None:
    binary = (MASK > 0).astype(np.uint8)
    one_bit = read(tmp_path, png(binary, 0, 1), BINARY)
    grey = read(tmp_path, encode(".png", binary * 255), BINARY)
    palette_bits = png(binary, 3, 1, PLTE=palette((0,) * 3, (255,) * 3))
    np.testing.assert_array_equal(one_bit.labels, binary)
    np.testing.assert_array_equal(grey.labels, binary)
    np.testing.assert_array_equal(read(tmp_path, palette_bits, BINARY).labels, binary)
    assert (one_bit.kind, grey.kind) == ("indices", "grey colors")
    assert read(tmp_path, encode(".png", binary * 0), BINARY).kind == "empty"


def test_an_all_black_mask_is_not_background_where_black_is_a_defect(tmp_path: Path) -> None:
    inverted = {"background": (255, 255, 255), "defect": (0, 0, 0)}
    black = np.zeros((8, 8), np.uint8)
    assert read(tmp_path, encode(".png", black), inverted).kind == "indices"
    assert read(tmp_path, encode(".png", black + 255), inverted).kind == "grey colors"


def test_colorize_is_the_inverse() -> None:
    picture = colorize(MASK, list(CLASSES.values()))
    np.testing.assert_array_equal(picture, COLORS[MASK])
    assert colorize(np.full((1, 1), 255, np.uint8), list(CLASSES.values())).tolist() == [
        [[128] * 3]
    ]


def test_a_strange_colour_amid_three_classes_is_not_taken_for_a_mixture() -> None:
    mask = np.zeros((16, 16), np.uint8)
    mask[:, 6:10], mask[:, 10:] = 1, 2
    bgr = np.ascontiguousarray(COLORS[mask][:, :, ::-1])
    bgr[8, 8] = (85, 5, 85)  # a third of each: black, red, blue
    assert LabelMap(CLASSES, 32).from_colors(bgr)[8, 8] in (0, 1, 2)
    bgr[8, 8] = (60, 200, 60)
    with pytest.raises(BadFileError, match=r"1 pixels of 1 colours .*rgb\(60, 200, 60\) x 1"):
        LabelMap(CLASSES, 32).from_colors(bgr)
