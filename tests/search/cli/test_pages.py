from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from search.cli.pages import write_pages
from search.config.errors import ConfigError
from tests.results.simulated_study import Simulation, write_study


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("studies")
    return [write_study(folder / name, Simulation(trials=6, name=name)) for name in ("a", "b")]


def test_a_report_lies_in_its_study_or_where_it_is_asked_for(
    studies: list[Path], tmp_path: Path
) -> None:
    assert write_pages(studies[:1], None) == [f"report: {studies[0] / 'report.html'}"]
    page = tmp_path / "new" / "page.html"
    assert write_pages(studies[:1], page) == [f"report: {page}"]
    assert page.exists()


def test_tables_are_written_on_request(studies: list[Path]) -> None:
    folder = studies[0] / "report_tables"
    lines = write_pages(studies[:1], None, csv=True, json=True)
    assert lines[1] == f"tables: {folder}"

    rows = json.loads((folder / "tables.json").read_text())["trials"]
    table = pd.read_csv(folder / "trials.csv")
    assert [row["number"] for row in rows] == table["number"].to_list() == list(range(6))
    dice = pd.read_csv(folder / "dice_per_class.csv", index_col="number")
    assert dice.columns[0] == "background"


def test_several_studies_are_compared(studies: list[Path], tmp_path: Path) -> None:
    page = tmp_path / "comparison.html"
    assert write_pages(studies, page) == [f"comparison: {page}"]
    with pytest.raises(ConfigError, match="expected one study, received 2"):
        write_pages(studies, page, csv=True)


def test_a_class_may_be_called_like_a_column(tmp_path: Path) -> None:
    classes = ("background", "number", "value")
    study = write_study(tmp_path / "study", Simulation(trials=3, running=0, classes=classes))
    write_pages([study], None, json=True)
    rows = json.loads((study / "report_tables" / "tables.json").read_text())["dice_per_class"]
    assert {"number_", "number", "value"} <= set(rows[0])
