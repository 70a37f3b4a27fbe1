"""The commands as a person calls them, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.results.analysis.test_pareto import several
from tests.results.simulated_study import write_study
from tests.search.tiny import tiny_tree


def call(*arguments: object, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "search", *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_help_names_the_commands() -> None:
    text = call("--help")

    for name in ("data", "run", "status", "report", "export", "train"):
        assert f" {name} " in text
    for name in ("synthetic", "magnetic-tile", "audit", "stats"):
        assert name in call("data", "--help")


def test_synthetic_data_are_made_counted_and_found_without_leak(tmp_path: Path) -> None:
    out = tmp_path / "tiles"
    assert str(out) in call("data", "synthetic", out, "--tiles", 24)
    assert "Blowhole" in call("data", "stats", out, "--page", tmp_path / "page.html")
    assert "<html" in (tmp_path / "page.html").read_text(encoding="utf-8")
    call("data", "audit", out)


def test_an_audit_that_finds_a_leak_exits_with_1(tmp_path: Path) -> None:
    out = tmp_path / "tiles"
    call("data", "synthetic", out, "--tiles", 24)
    image = next((out / "train" / "images").iterdir())
    mask = out / "train" / "masks" / f"{image.stem}.png"
    for path in (image, mask):
        copy = out / "valid" / path.parent.name / f"copy_of_{path.name}"
        copy.write_bytes(path.read_bytes())
    text = call("data", "audit", out, code=1)

    assert "leak" in text
    assert f"copy_of_{image.stem}" in text


@pytest.mark.cluster
def test_from_a_config_to_a_report_an_export_and_a_trained_model(
    tmp_path: Path, synthetic_folder: Path
) -> None:
    config = tmp_path / "study.yaml"
    tree = tiny_tree(tmp_path, synthetic_folder, pruner="none", num_trials=2)
    config.write_text(yaml.safe_dump(tree), encoding="utf-8")
    text = call("run", config, "--set", "train.epochs=2")
    assert "trial 0 started" in text
    assert "2 COMPLETE" in text
    assert "(TrialWorker" not in text
    assert "WARNING" not in text

    study = tmp_path / "tiny"
    assert "COMPLETE" in call("status", study)
    call("report", study)
    assert "plotly" in (study / "report.html").read_text(encoding="utf-8")
    call("export", study, tmp_path / "best")
    best = tmp_path / "best" / "best.yaml"
    assert "epoch 2" in call("train", best, tmp_path / "production")
    assert (tmp_path / "production" / "best.keras").exists()


def test_status_shows_the_front_and_what_was_not_trained(tmp_path: Path) -> None:
    study = several(write_study(tmp_path / "study"), "parameters")
    (study / "refused.jsonl").write_text('{"limits": ["max_parameters"]}\n' * 3)
    text = call("status", study)

    assert "Pareto front" in text
    assert "3 proposals refused: 3 by max_parameters" in text


def test_an_earlier_study_that_is_none_is_named(tmp_path: Path, synthetic_folder: Path) -> None:
    config = tmp_path / "study.yaml"
    config.write_text(yaml.safe_dump(tiny_tree(tmp_path, synthetic_folder)), encoding="utf-8")
    text = call("run", config, "--from", tmp_path / "nowhere", code=2)

    assert f"search.warm_start: {tmp_path / 'nowhere'}: expected a study's directory" in text
    assert not (tmp_path / "tiny").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "missing.yaml"), "cannot be read"),
        (("run", "missing.yaml", "--set", "nonsense"), "expected section.field=value"),
        (("status", "nowhere"), "nowhere"),
        (("report", "nowhere"), "nowhere"),
        (("export", "nowhere", "out"), "nowhere"),
        (("data", "audit", "nowhere"), "nowhere"),
        (("data", "magnetic-tile", "nowhere", "out"), "nowhere"),
        (("train", "missing.yaml", "out"), "cannot be read"),
    ],
)
def test_bad_input_is_a_message_and_exit_code_2(arguments: tuple, message: str) -> None:
    assert message in call(*arguments, code=2)
