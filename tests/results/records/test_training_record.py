from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from results.records.study import RecordError
from results.records.training_record import load_training
from tests.results.simulated_training import write_training


def test_a_training_is_read_with_its_best_epoch_and_iou(tmp_path: Path) -> None:
    training = load_training(write_training(tmp_path / "out"))
    assert training.classes == ("background", "Blowhole", "Crack")
    assert training.colors[1] == (255, 0, 0)
    assert training.epochs == 9
    assert training.best_row == 3
    dice = training.curve.dice
    np.testing.assert_allclose(training.iou, dice / (2 - dice))


def test_of_a_final_training_the_last_epoch_is_the_models(tmp_path: Path) -> None:
    training = load_training(write_training(tmp_path / "out", final=True))
    assert training.best_row == 4
    assert training.epochs == 7
    assert np.isnan(training.iou).all()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("training.yaml", None, "training.yaml: not found"),
        ("training.yaml", "{a: [", "training.yaml: cannot be read"),
        ("training.yaml", "config: {}", "expected the fields config, classes"),
        (
            "training.yaml",
            "{config: {}, classes: {a: [1, 2], b: [0, 0, 256]}}",
            r"expected \[r, g, b\] for \['a', 'b'\]",
        ),
        ("metrics.jsonl", '{"epoch": 0, "dice": {}}\n{}\n', "line 1: .*\n.*line 2: "),
    ],
)
def test_what_cannot_be_read_is_said(
    tmp_path: Path, name: str, text: str | None, said: str
) -> None:
    folder = write_training(tmp_path / "out")
    if text is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(text)
    with pytest.raises(RecordError, match=said):
        load_training(folder)
