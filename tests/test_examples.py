"""The examples run as they stand: every command and option in them exists."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from search.cli.main import app

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "examples").glob("*.sh"))


def calls(script: Path) -> Iterator[list[str]]:
    """The words of each call of the command, lines joined."""
    text = script.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip().startswith("flexunet "):
            yield shlex.split(line, comments=True)[1:]


def find(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words name, and its arguments."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        assert words[0] in command.commands, f"no command {words[0]!r}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_bash_and_can_be_run(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text(encoding="utf-8")


def test_every_step_is_a_command_with_options_that_it_has() -> None:
    found = [find(words) for words in calls(ROOT / "examples" / "magnetic_tile.sh")]

    assert [command.name for command, _ in found] == [
        "magnetic-tile", "run", "report", "confirm", "export", "train", "evaluate", "predict",
    ]  # fmt: skip
    for command, words in found:
        known = {name for option in command.params for name in option.opts}
        used = {word for word in words if re.match(r"--\w", word)}
        assert used <= known, f"{command.name} has no {used - known}"


def test_without_its_arguments_it_says_how_it_is_run(tmp_path: Path) -> None:
    done = subprocess.run(
        [SCRIPTS[0], tmp_path / "raw"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert "usage: examples/magnetic_tile.sh RAW OUT" in done.stderr


@pytest.mark.soak
@pytest.mark.cluster
def test_the_whole_way_on_demo_data_and_again(tmp_path: Path, synthetic_folder: Path) -> None:
    out = tmp_path / "out"
    search = (
        "data.image_size=32 search.num_trials=2 search.startup_trials=1 search.baselines=[] "
        "train.epochs=1 train.steps_per_epoch=2 search.grace_epochs=1 model.num_layers=2 "
        "model.base_filters=4"
    )
    environment = os.environ | {
        "DATA": str(synthetic_folder),
        "SEARCH": search,
        "TRAIN": "train.epochs=1 train.steps_per_epoch=2",
        "SEEDS": "1",
    }
    for formats in ({}, {"FORMATS": "yaml,keras"}):  # the second time goes on where it was
        done = subprocess.run(
            [SCRIPTS[0], tmp_path / "raw", out],
            capture_output=True, text=True, check=False, env=environment | formats,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr

    assert (out / "studies" / "tiles" / "report.html").exists()
    assert (out / "best" / "MODEL_CARD.md").exists()
    assert (out / "evaluation" / "evaluation.csv").exists()
    masks = {path.stem for path in (out / "predictions" / "masks").iterdir()}
    assert masks == {path.stem for path in (synthetic_folder / "test" / "images").iterdir()}
