from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from results.figures.training import (
    NO_EPOCH,
    NOTHING_VALIDATED,
    classes_figure,
    losses_figure,
    rate_figure,
    scores_figure,
)
from results.records.training_record import TrainingRecord, load_training
from tests.results.simulated_training import write_training

ALL = (losses_figure, scores_figure, classes_figure, rate_figure)


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> TrainingRecord:
    return load_training(write_training(tmp_path_factory.mktemp("training") / "out"))


def test_lines_are_the_epochs_numbers(training: TrainingRecord) -> None:
    losses = losses_figure(training).figure
    assert [line.name for line in losses.data] == ["training", "validation"]
    np.testing.assert_allclose(losses.data[0].y, 2.0 / np.arange(1, 6), rtol=1e-6)
    classes = classes_figure(training).figure
    assert [line.name for line in classes.data] == ["Blowhole", "Crack"]
    np.testing.assert_allclose(classes.data[1].y, training.curve.dice[:, 2], rtol=1e-6)
    scores = scores_figure(training).figure
    np.testing.assert_allclose(scores.data[1].y, training.iou[:, 1:].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(rate_figure(training).figure.data[0].y, training.curve.learning_rate)


def test_the_best_epoch_is_marked_and_told(training: TrainingRecord) -> None:
    for make in ALL[:3]:
        figure = make(training).figure
        assert [shape.x0 for shape in figure.layout.shapes] == [4]
        assert figure.layout.annotations[0].text == "best, epoch 4"
    assert "lowest in epoch 3 of 5, 1.0000" in losses_figure(training).says
    assert "Epoch 4 of 5 is the best by mean foreground Dice" in scores_figure(training).says
    assert "Blowhole has a Dice of 0.769, Crack of 0.760" in classes_figure(training).says


def test_a_final_training_has_losses_and_says_why_nothing_else(tmp_path: Path) -> None:
    training = load_training(write_training(tmp_path / "out", final=True))
    assert [line.name for line in losses_figure(training).figure.data] == ["training"]
    assert losses_figure(training).figure.layout.shapes == ()
    for make in (scores_figure, classes_figure):
        assert (make(training).figure, make(training).note) == (None, NOTHING_VALIDATED)


def test_before_an_epoch_every_figure_says_so(tmp_path: Path) -> None:
    training = load_training(write_training(tmp_path / "out", epochs=0))
    assert [make(training).note for make in ALL] == [NO_EPOCH] * 4
