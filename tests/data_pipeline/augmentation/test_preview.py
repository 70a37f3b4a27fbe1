"""The preview: which images, their outlines, the page and the picture."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.augmentation.preview import outlined, preview, sheet, write_preview
from search.cli.main import app
from tests.data_pipeline.tiny_store import CLASSES, write_store

SIDE = 24
COLORS = tuple(CLASSES.values())


@pytest.fixture
def store(tmp_path: Path):
    masks = np.zeros((6, SIDE, SIDE), np.uint8)
    masks[:2, 5:9, 5:9] = 1
    masks[2, 12:18, 12:18] = 2
    images = np.full((6, SIDE, SIDE, 1), 90, np.uint8)
    return write_store(tmp_path / "store", {"train": (images, masks)})


def test_every_class_is_shown_in_turn_and_the_original_first(store) -> None:
    rows = preview(store, AugmentConfig(preset="strong"), images=4, samples=3)

    assert [max(np.unique(row.pictures[0][1])) for row in rows] == [1, 2, 0, 1]
    assert all(len(row.pictures) == 4 for row in rows)
    original = store.read("train", int(rows[0].stem.rsplit("_")[-1]))
    np.testing.assert_array_equal(rows[0].pictures[0][0], original[0])
    again = preview(store, AugmentConfig(preset="strong"), images=4, samples=3)
    np.testing.assert_array_equal(sheet(rows, COLORS), sheet(again, COLORS))


def test_images_without_a_defect_are_shown_with_each_class_pasted_on(store, tmp_path: Path) -> None:
    config = AugmentConfig(preset="none", paste=0.3, patch_size=16, patch_focus=1.0)
    rows = preview(store, config, images=4, samples=2)

    assert [[int(mask.max()) for _, mask in row.pictures] for row in rows] == [
        [1, 1, 1],
        [2, 2, 2],
        [0, 2, 1],  # the rarest class first
        [1, 1, 1],
    ]
    assert rows[0].pictures[1][0].shape == (16, 16, 1)
    text = write_preview(store, config, rows, tmp_path / "preview.html").read_text()
    assert "windows of 16 x 16 pixels" in text
    assert "30% of a trial's samples have a defect of another image pasted on" in text
    assert write_preview(store, config, rows, tmp_path / "preview.png").stat().st_size > 1000


def test_outlines_have_the_colour_of_their_class_and_run_round_it() -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[6:12, 6:12] = 2
    mask[:, -4:] = 255
    picture = outlined(np.full((SIDE, SIDE, 1), 90, np.uint8), mask, COLORS, side=SIDE * 8)

    green = (picture == COLORS[2]).all(axis=-1)
    y, x = np.nonzero(green)
    assert (y.min() // 8, y.max() // 8, x.min() // 8, x.max() // 8) == (5, 12, 5, 12), (
        "two pixels wide, on the border"
    )
    assert not green[60:80, 60:80].any(), "the inside stays seen"
    assert (picture[:, -4 * 8 :] == 128).all(axis=-1).mean() > 0.1, "hatched where not counted"
    assert not (picture[:, : -4 * 8] == 128).all(axis=-1).any()


def test_the_page_holds_every_picture_and_escapes_names(store, tmp_path: Path) -> None:
    config = AugmentConfig(preset="none", rotation=20, probability={"rotation": 0.5})
    rows = preview(store, config, images=3, samples=2)
    rows[0] = type(rows[0])("<b>&", rows[0].pictures)

    page = write_preview(store, config, rows, tmp_path / "page.html").read_text(encoding="utf-8")

    assert len(re.findall(r"data:image/jpeg;base64,", page)) == 9
    assert "<figcaption>&lt;b&gt;&amp;</figcaption>" in page
    assert "<tr><th>rotation</th><td>20.0</td><td>50%</td></tr>" in page
    assert "http" not in page


def test_the_command_writes_a_picture_of_a_configs_augmentation(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    arguments = ["--set", "data.image_size=32", "--set", f"data.store_path={tmp_path}"]
    arguments += ["--set", "augment.preset=strong", "--images", "2", "--samples", "3"]
    done = CliRunner().invoke(app, ["data", "preview", "synthetic", *arguments, "--out", str(out)])

    assert done.exit_code == 0, done.output
    picture = cv2.imread(str(out))
    assert picture.shape == (2 * (192 + 4), 4 * (192 + 4), 3)


def test_what_does_not_fit_the_images_is_an_error_of_the_config(tmp_path: Path) -> None:
    arguments = ["--set", f"data.store_path={tmp_path}", "--set", "data.image_size=32"]
    arguments += ["--set", "augment.crop=0.5", "--set", "augment.crop_class=Rust"]
    done = CliRunner().invoke(app, ["data", "preview", "synthetic", *arguments])

    assert done.exit_code != 0
    assert "Rust" in f"{done.output}{done.exception}"
