from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from results.pages.flip import Flip, load_flips, render_flips, shown_epochs, write_flip_page
from results.records.study import RecordError
from results.records.training_record import load_training
from tests.results.browser import CHROMIUM, Watched, chromium, opened
from tests.results.simulated_training import write_training

HOSTILE = "</script><img src=x onerror=alert(1)>"


def flips(folder: Path, sizes: dict[int, int]) -> list[Flip]:
    folder.mkdir()
    frames = {}
    for epoch, size in sizes.items():
        frames[epoch] = folder / f"epoch-{epoch:04d}.png"
        frames[epoch].write_bytes(bytes(size))
    return [Flip("a", (), folder, folder, frames)]


def test_many_epochs_are_thinned_evenly_with_the_first_last_and_best(tmp_path: Path) -> None:
    many = flips(tmp_path / "many", dict.fromkeys(range(1, 402), 10))
    shown = shown_epochs(many, best=38)
    assert len(shown) <= 120
    assert {1, 38, 401} <= set(shown)
    gaps = [b - a for a, b in itertools.pairwise(shown)]
    assert max(gaps) <= 4
    assert shown_epochs(flips(tmp_path / "few", {1: 5, 2: 5}), best=2) == [1, 2]


def test_large_pictures_leave_room_for_fewer_epochs(tmp_path: Path) -> None:
    large = flips(tmp_path / "large", dict.fromkeys(range(1, 101), 1000))
    shown = shown_epochs(large, best=50, bytes_=20_000)
    assert {1, 50, 100} <= set(shown)
    assert len(shown) == 15
    assert len(shown_epochs(large, best=50, bytes_=10)) == 3


def test_the_data_are_the_frames_and_the_epochs_numbers(tmp_path: Path) -> None:
    folder = write_training(tmp_path / "out", names=(HOSTILE, "b"))
    (folder / "predictions" / "image_0" / "epoch-0099.png").write_bytes(b"of no epoch")
    (folder / "predictions" / "image_1" / "epoch-0002.png").unlink()
    text = write_flip_page(folder).read_text()
    assert "<img src=x" not in text
    found = re.search(r'id="flip-data">(.*?)</script>', text)
    assert found is not None
    data = json.loads(found[1])
    assert [numbers["epoch"] for numbers in data["epochs"]] == [1, 2, 3, 4, 5]
    assert data["best"] == 4
    assert data["epochs"][0]["train"] == 2.0
    assert data["epochs"][3]["dice"] == [["Blowhole", 0.7692], ["Crack", 0.76]]
    assert len(set(data["images"][0])) == 5
    assert data["images"][1][1] == ""
    assert len(text) < 200_000  # without the library of the charts


def test_a_listing_that_leads_elsewhere_or_is_none_is_refused(tmp_path: Path) -> None:
    folder = write_training(tmp_path / "out")
    listing = folder / "predictions" / "pictures.json"
    entry = {"folder": "../..", "name": "a"}
    listing.write_text(json.dumps({"format": 1, "split": "valid", "images": [entry]}))
    with pytest.raises(RecordError, match="expected folders within predictions/"):
        load_flips(load_training(folder))
    listing.unlink()
    with pytest.raises(RecordError, match=r"pictures.json: expected a list"):
        load_flips(load_training(folder))


def test_before_a_prediction_and_of_a_final_training_the_page_says_so(tmp_path: Path) -> None:
    empty = load_training(write_training(tmp_path / "a", epochs=0))
    assert "No epoch is predicted yet." in render_flips(empty)
    final = load_training(write_training(tmp_path / "b", final=True))
    assert "These images are trained on too" in render_flips(final)
    assert "flip-best" not in render_flips(final).split("<body>")[1].split("<script")[0]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    if CHROMIUM is None:
        pytest.skip("needs the chromium command")
    path = write_flip_page(write_training(tmp_path_factory.mktemp("flip") / "out"))
    with chromium() as browser, opened(browser, path, width=360, dark=True) as watched:
        yield watched
        assert watched.errors == []
        assert watched.requests == []


# What the prediction shows: the rows that are red in its first column.
ROWS = """index => { const frame = document.querySelectorAll('.flip-frame')[index];
  return frame.decode().then(() => { const canvas = document.createElement('canvas');
    canvas.width = frame.naturalWidth; canvas.height = frame.naturalHeight;
    const context = canvas.getContext('2d'); context.drawImage(frame, 0, 0);
    const pixels = context.getImageData(0, 0, 1, canvas.height).data;
    let rows = 0; for (let i = 0; i < pixels.length; i += 4) { rows += pixels[i] > 0; }
    return rows; }); }"""


def seen(page: Watched) -> tuple[Any, ...]:
    head = page.page.locator("#flip-epoch").text_content()
    return (head, page.run(ROWS, 0), page.run(ROWS, 1))


def test_keys_slider_and_buttons_flip_the_pictures_of_all_images(page: Watched) -> None:
    keys = page.page.keyboard
    assert seen(page) == ("Epoch 5", 5, 5)
    keys.press("ArrowLeft")
    assert seen(page) == ("Epoch 4 (best)", 4, 4)
    keys.press("Home")
    assert seen(page) == ("Epoch 1", 1, 1)
    keys.press("b")
    assert seen(page)[1] == 4
    page.page.locator("#flip").fill("1")
    assert seen(page) == ("Epoch 2", 2, 2)
    page.page.locator("#flip-on").click()
    assert seen(page) == ("Epoch 3", 3, 3)
    scores = page.page.locator("#flip-scores").text_content() or ""
    assert "training loss 0.667 · validation loss 1.000 · mean Dice" in scores
    assert page.overflow <= 0


def test_playing_goes_to_the_last_epoch_and_stops(page: Watched) -> None:
    page.page.keyboard.press("Home")
    page.page.evaluate("window.setInterval = (f => (act, ms) => f(act, 20))(window.setInterval)")
    page.page.locator("#flip-play").click()
    page.page.wait_for_function("document.getElementById('flip-play').textContent === 'Play'")
    assert seen(page) == ("Epoch 5", 5, 5)
