from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from results.records.epochs import Epoch
from search.cli.main import app
from search.cli.train import EpochLines
from search.training import train
from search.training.plan import TrainOptions
from tests.results.simulated_training import epoch_line, write_training

CLASSES = ["background", "hole [red]", "crack"]


def printed(out: Path, epochs: int, *, final: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=60)
    lines = EpochLines(console, out)
    for number in range(1, epochs + 1):
        seconds = {"total": 90.0 if number == 1 else 10.0}
        epoch = Epoch.of(epoch_line(number, 2, CLASSES, final=final) | {"seconds": seconds})
        lines.show(epoch)
    lines.note("[bold]damaged")
    lines.end(epoch, "images/here")
    return console.file.getvalue().splitlines()


def test_an_epoch_is_a_line_with_the_time_that_is_left(tmp_path: Path) -> None:
    lines = printed(write_training(tmp_path / "out"), 3)
    assert lines[0].startswith("epoch 1/9: loss 2.0000, validation 1.2000, mean foreground Dice ")
    assert "(hole [red] 0.75, crack 0.74), 90.0 s, at most 12 min left" in lines[0]
    assert lines[2].endswith("10.0 s, at most 60 s left")  # 6 epochs by the median
    assert lines[3] == "[bold]damaged"


def test_the_end_tells_the_files_and_what_comes_next(tmp_path: Path) -> None:
    out = write_training(tmp_path / "out")
    (out / "predictions.html").touch()
    text = "\n".join(printed(out, 3))
    assert "best epoch 3: hole [red] 0.75, crack 0.74" in text
    assert f"curves: {out / 'training.html'}, numbers: {out / 'metrics.csv'}" in text
    assert f"predictions by epoch: {out / 'predictions.html'}" in text
    assert f"next: flexunet-search evaluate {out / 'best.keras'} images/here" in text


def test_a_final_training_counts_its_own_epochs_and_has_no_scores(tmp_path: Path) -> None:
    lines = printed(write_training(tmp_path / "out", final=True), 7, final=True)
    assert lines[0] == "epoch 1/7: loss 2.0000, 90.0 s, at most 9 min left"
    assert lines[6] == "epoch 7/7: loss 0.2857, 10.0 s"
    assert "trained on training and validation images for 7 epochs" in "\n".join(lines)


def test_every_option_reaches_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def train_config(config, out_dir, options, **told):
        asked.append((config.at({}).train.epochs, out_dir, options))
        return Epoch.of(epoch_line(1, 1, CLASSES))

    monkeypatch.setattr(train, "train_config", train_config)
    config = tmp_path / "config.yaml"
    config.write_text("data: {source: synthetic}\ntrain: {learning_rate: 0.001}\nmodel: {}\n")
    words = "--patience 3 --final --epochs 5 --epochs-from d --gpus 2 --workers 4 --address auto"
    words += " --deterministic --pictures 0 --pictures-every 7 --no-tensorboard"
    constants = ["num_layers=2", "base_filters=4", "base_kernel=3", "dropout_rate=0.0"]
    sets = [word for field in constants for word in ("--set", f"model.{field}")]
    # Fewer than a search's first rung, which a training alone does not mind.
    sets += ["--set", "train.epochs=3", "--set", "search.grace_epochs=5"]
    result = CliRunner().invoke(
        app,
        ["train", str(config), str(tmp_path / "out"), *words.split(), *sets],
        catch_exceptions=False,
    )
    assert result.exit_code == 0, result.output
    (found,) = asked
    assert found == (
        3,
        tmp_path / "out",
        TrainOptions(3, True, 5, Path("d"), 2, 4, "auto", True, 0, 7, False),
    )


def test_an_interrupted_training_says_that_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train_config(*given, **told):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train_config", train_config)
    config = tmp_path / "config.yaml"
    config.write_text("data: {source: synthetic}\n")

    result = CliRunner().invoke(app, ["train", str(config), str(tmp_path / "out")])

    assert result.exit_code == 130
    assert "the same command goes on" in result.output
