from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from results.pages.training import render_training, write_training_page
from results.records.training_record import load_training
from tests.results.simulated_training import write_training


def test_the_page_holds_its_figures_and_the_best_epochs_scores(tmp_path: Path) -> None:
    folder = write_training(tmp_path / "out")
    page = write_training_page(folder)
    assert page == folder / "training.html"
    text = page.read_text()
    for name in ("losses", "scores", "classes", "rate"):
        assert f'id="{name}-chart"' in text
    assert "Epoch 4, the best" in text
    assert "5 of at most 9" in text
    assert "default-src &#39;none&#39;" in text
    assert [path.name for path in folder.glob(".*")] == []


def test_names_stay_text_and_a_training_without_epochs_renders(tmp_path: Path) -> None:
    classes = {"background": [0, 0, 0], "<script>alert(1)</script>": [1, 2, 3]}
    hostile = load_training(write_training(tmp_path / "a", classes=classes))
    made = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    assert "<script>alert(1)" not in render_training(hostile, made)
    assert "2026-01-02 03:04 UTC" in render_training(hostile, made)
    empty = load_training(write_training(tmp_path / "b", epochs=0))
    assert "No epoch is finished yet." in render_training(empty)
