"""What version 0.1.0 wrote (see tests/data/README.md) is read, continued and reported."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from search.cli.main import app

ROOT = Path(__file__).parents[1]
SAVED = ROOT / "tests" / "data" / "saved"
STORE = "ea08beffe213550d"


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the saved work in the working directory."""
    folder = tmp_path / "saved work"
    shutil.copytree(SAVED, folder)
    monkeypatch.chdir(folder)
    return folder


def done(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    return result.output


def done_in_a_process_of_its_own(*arguments: str) -> None:
    """For what sets TensorFlow up, which a process does once."""
    command = [sys.executable, "-m", "search", *arguments]
    result = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert result.returncode == 0, result.stderr


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_study_is_reported_with_its_evaluation_and_confirmation(saved: Path) -> None:
    done("report", "saved", "--csv", "--json")

    page = (saved / "saved" / "report.html").read_text(encoding="utf-8")
    assert 'id="pictures"' in page
    assert "cannot be made" not in page
    trials = pd.read_csv(saved / "saved" / "report_tables" / "trials.csv")
    states = trials["state"].tolist()
    assert sorted(states) == ["COMPLETE"] * 4 + ["PRUNED"]


def test_a_study_shows_its_status(saved: Path) -> None:
    said = done("status", "saved")

    assert "5" in said
    assert "0.0970" in said


def test_a_study_is_exported_as_before(saved: Path) -> None:
    done("export", "saved", "again")

    old, new = (
        yaml.safe_load((saved / folder / "best.yaml").read_text(encoding="utf-8"))
        for folder in ("saved-export", "again")
    )
    for config in (old, new):
        del config["provenance"]["exported"]
    assert new == old
    assert (saved / "again" / "best.keras").read_bytes()


def test_a_prepared_store_is_taken_as_it_is(saved: Path) -> None:
    from data_pipeline.stores.prepare import prepare
    from search.config.loading import load_config

    before = sorted(path.name for path in saved.iterdir())
    written = (saved / STORE / "manifest.json").stat().st_mtime_ns
    store = prepare(load_config(saved / "study.yaml").data)

    assert store.path.name == STORE
    assert (saved / STORE / "manifest.json").stat().st_mtime_ns == written
    assert set(before) | {"digests.json"} == {path.name for path in saved.iterdir()}


def test_an_interrupted_training_goes_on_after_its_last_epoch(saved: Path) -> None:
    before = (saved / "saved-training" / "metrics.jsonl").read_text(encoding="utf-8")

    done_in_a_process_of_its_own(
        *("train", "saved-export/best.yaml", "saved-training", "--pictures", "0"),
        *("--set", "train.epochs=6", "--set", "train.steps_per_epoch=600", "--no-tensorboard"),
    )

    lines = (saved / "saved-training" / "metrics.jsonl").read_text(encoding="utf-8")
    assert lines.startswith(before)
    assert [line["epoch"] for line in map(json.loads, lines.splitlines())] == [1, 2, 3, 4, 5, 6]


def test_an_exported_model_is_evaluated(saved: Path) -> None:
    done_in_a_process_of_its_own(
        "evaluate", "saved-export/best.keras", "images", "--out", "evaluated"
    )

    assert (saved / "evaluated" / "gallery.html").is_file()


@pytest.mark.usefixtures("ray_session")
def test_a_search_goes_on_with_more_trials(saved: Path) -> None:
    before = (saved / "saved" / "trials" / "00002" / "metrics.jsonl").read_bytes()

    said = done("run", "study.yaml", "--set", "search.num_trials=7")

    assert "7/7 trials finished" in said
    assert (saved / "saved" / "trials" / "00002" / "metrics.jsonl").read_bytes() == before
    assert len(lines_of(saved / "saved" / "trials" / "00006" / "metrics.jsonl")) >= 1


@pytest.mark.usefixtures("ray_session")
def test_a_confirmation_goes_on_with_another_seed(saved: Path) -> None:
    runs = saved / "saved" / "confirm" / "runs"
    before = (runs / "trial-00002-seed-0" / "evaluation.npz").read_bytes()

    said = done("confirm", "saved", "--top", "1", "--seeds", "3")

    assert "3 seeds" in said
    assert (runs / "trial-00002-seed-0" / "evaluation.npz").read_bytes() == before
    assert (runs / "trial-00002-seed-2" / "evaluation.npz").is_file()
