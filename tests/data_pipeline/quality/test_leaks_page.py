"""The page of what stands on both sides of a split."""

from __future__ import annotations

import re
from pathlib import Path

from typer.testing import CliRunner

from search.cli.main import app
from tests.data_pipeline.leaking import augment_then_split


def test_the_pairs_are_shown_side_by_side(tmp_path: Path, synthetic_folder: Path) -> None:
    augment_then_split(synthetic_folder, tmp_path / "leaking", hide=True)
    page = tmp_path / "leaks.html"

    done = CliRunner().invoke(
        app, ["data", "audit", str(tmp_path / "leaking"), "--page", str(page)]
    )

    assert done.exit_code == 1, "a leak"
    text = page.read_text(encoding="utf-8")
    rows = re.findall(r"<figcaption>(\S+) = (\S+) \(correlation 0\.9\d+|1\.000\)", text)
    assert rows
    assert text.count("data:image/jpeg") == 2 * text.count("<figure>")
    assert "http" not in text


def test_data_without_a_leak_say_so(tmp_path: Path, synthetic_folder: Path) -> None:
    page = tmp_path / "leaks.html"
    done = CliRunner().invoke(app, ["data", "audit", str(synthetic_folder), "--page", str(page)])

    assert done.exit_code == 0, done.output
    assert "No picture of one object stands in two splits." in page.read_text(encoding="utf-8")
