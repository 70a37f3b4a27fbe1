from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.config import DataConfig
from data_pipeline.quality.stats import statistics, write_page
from data_pipeline.stores.survey import Survey, survey
from tests.data_pipeline.files import labels, write_divided


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    return survey(DataConfig(source=str(write_divided(tmp_path_factory.mktemp("data")))))


def test_table(facts: Survey) -> None:
    table = statistics(facts).set_index(["split", "class"])
    assert list(table.columns) == ["images", "groups", "pixels", "share", "objects"]
    assert len(table) == 9
    counts = sum(np.bincount(labels(seed=s).ravel(), minlength=3) for s in range(5))
    train = table.loc["train"]
    assert train["pixels"].tolist() == counts.tolist()
    assert train["images"].tolist() == [5, 5, 5]
    assert train["objects"].tolist() == [0, 5, 5]
    assert train["share"].sum() == pytest.approx(1)
    assert train.loc["hole", "share"] == pytest.approx(30 / (24 * 32))


def test_objects_touching_at_a_corner_are_one(tmp_path: Path) -> None:
    from tests.data_pipeline.files import write_item

    root = write_divided(tmp_path)
    mask = np.zeros((24, 32), np.uint8)
    mask[2:4, 2:4] = mask[4:6, 4:6] = mask[10:12, 10:12] = 1
    write_item(root / "train", "corner", 40, mask)
    found = survey(DataConfig(source=str(root)))
    assert found.objects[found.names.index("train/corner")].tolist() == [0, 2, 0]


def test_page_is_self_contained_and_escapes_names(facts: Survey, tmp_path: Path) -> None:
    hostile = "</script><script>alert(1)</script>"
    named = replace(facts, classes=("background", hostile, "a & b"))
    page = write_page(named, tmp_path / "page.html", title="<b>tiles").read_text()
    assert "<h1>&lt;b&gt;tiles</h1>" in page
    assert "alert(1)</script>" not in page
    assert "a &amp; b" in page
    assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=", page)
    assert page.count("Plotly.newPlot(") >= 4
    assert "10 images (5 train, 3 valid, 2 test)" in page


def test_the_page_offers_no_upload(facts: Survey, tmp_path: Path) -> None:
    text = write_page(facts, tmp_path / "page.html").read_text(encoding="utf-8")

    assert text.count('"showSendToCloud": false') == text.count("Plotly.newPlot(") > 0
