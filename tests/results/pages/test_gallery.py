"""The page of an evaluation, as a reader has it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from results.analysis.caution import Caution
from results.analysis.model_scores import ReferenceScores, scores_table
from results.pages.gallery import Gallery, command_text, render_gallery, write_gallery
from results.records.pictures import Picture
from tests.results.browser import CHROMIUM, chromium, opened
from tests.results.counted import counted

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CLASSES = ("background", "<img src=x onerror=alert(1)>", "Fray")
FACTS: dict[str, Any] = {
    "model": {
        "path": "/models/best.keras",
        "sha256": "ab" * 32,
        "image_shape": [10, 10, 1],
        "resize": "letterbox",
        "record": None,
    },
    "data": {"path": "/data/tiles", "source": "made for a test", "fingerprint": "cd" * 32},
    "interval": {"replicates": 100},
    "command": "flexunet-search evaluate best.keras tiles",
    "versions": {"keras": "3"},
    "git_revision": None,
}


def labels(wrong: int) -> np.ndarray:
    mask = np.zeros((10, 10), np.uint8)
    mask[:2, wrong : 10 - wrong] = 1
    return mask


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    """Two images of the first class, one half found; none shows the other."""
    folder = tmp_path_factory.mktemp("pictures")
    evaluation = counted(
        {"test/a": [(0, 0, 80), (1, 1, 20)], "test/b": [(0, 0, 80), (1, 1, 12), (1, 0, 8)]},
        classes=CLASSES,
        name="export/best.keras",
        split="test",
    )
    listing = {}
    for place, name in enumerate(evaluation.images):
        paths = [folder / f"{place}{suffix}" for suffix in (".jpg", ".truth.png", ".png")]
        for path, picture in zip(
            paths, (np.full((10, 10), 90, np.uint8), labels(0), labels(2 * place)), strict=True
        ):
            path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())
        predictions = {evaluation.name: paths[2]}
        listing[name] = Picture(name, f"group{place}", paths[0], paths[1], predictions)
    return Gallery(
        evaluation=evaluation,
        table=scores_table(evaluation, 100),
        reference=ReferenceScores(0.2, 0.98),
        cautions=[Caution("few", "mild", "wait"), Caution("seen", "far too good", "stop", True)],
        colors={CLASSES[0]: (0, 0, 0), CLASSES[1]: (255, 0, 0), CLASSES[2]: (0, 0, 255)},
        pictures=listing,
        facts=FACTS,
    )


def test_the_page_tells_scores_cautions_and_where_they_come_from(gallery: Gallery) -> None:
    html = render_gallery(gallery)
    assert "onerror=alert(1)>" not in html
    text = re.sub(r"<[^>]+>", " ", html[html.index("<main") : html.index("</main>")])
    text = " ".join(text.split())
    assert "Mean foreground Dice 0.889" in text  # 2 * 32 / (2 * 32 + 8)
    assert "metric is 0.9800" in text
    assert text.index("far too good") < text.index("mild")  # the serious first
    for said in ("abab", "made for a test", "10 x 10 x 1, letterbox", "evaluate best.keras tiles"):
        assert said in text
    assert "Code" not in text  # without a revision


def test_each_class_has_its_row_and_its_images(gallery: Gallery) -> None:
    html = render_gallery(gallery)
    table = html[html.index('id="by-class"') :]
    rows = re.findall(r"<tr.*?</tr>", table[: table.index("</table>")], re.DOTALL)
    assert len(rows) == 1 + 4
    assert "0.889" in rows[1]
    assert "rgb(255, 0, 0)" in rows[1]
    assert rows[2].count("–") == 4  # Fray is undefined
    assert 'class="faded"' in rows[3]
    assert "Mean foreground" in rows[4]
    assert html.count("<figure>") == 2 * 4  # image, truth, prediction, errors
    assert "8 px missed" in html
    assert "What the model sees" in html


def test_a_command_reads_as_one_types_it() -> None:
    assert command_text(["evaluate", "my model.keras"]) == (
        "flexunet-search evaluate 'my model.keras'"
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs the chromium command")
    with chromium() as browser:
        yield browser


def test_a_browser_draws_it_whole_in_light_dark_and_on_a_phone(
    browser: Browser, gallery: Gallery, tmp_path: Path
) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, write_gallery(gallery, tmp_path / "gallery.html")) as watched:
        states = dict(
            watched.run(
                "[...document.querySelectorAll('.chart')].map(c => [c.id, c.dataset.drawn])"
            )
        )
        assert states == dict.fromkeys(("dice", "confusion-model", "image-confusion-model"), "yes")
        assert watched.run("[...document.images].filter(i => !i.naturalWidth).length") == 0
        assert watched.overflow <= 0
        light = watched.run(ground)
        watched.page.emulate_media(color_scheme="dark")
        watched.page.set_viewport_size({"width": 360, "height": 900})
        watched.page.wait_for_timeout(300)  # figures follow the window
        assert watched.run(ground) != light
        assert watched.overflow <= 0
        assert (watched.errors, watched.requests, watched.dialogs) == ([], [], [])
