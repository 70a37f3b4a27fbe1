from __future__ import annotations

import io
from datetime import datetime

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from rich.console import Console

from search.config import StudyConfig
from search.progress import Board, PlainLines, describe_dice, display, duration, table_of

PARAMS = {"model.num_layers": 4, "train.learning_rate": 0.00123}


def record(epoch: int, objective: float | None, crack: float | None = 0.5) -> dict:
    return {"epoch": epoch, "objective": objective, "dice": {"background": 0.9, "Crack": crack}}


def ended(number: int, state: TrialState, **attributes: object) -> FrozenTrial:
    trial = create_trial(
        state=state,
        value=0.4 if state is TrialState.COMPLETE else None,
        user_attrs=dict(attributes),
    )
    trial.number = number
    trial.datetime_start = trial.datetime_complete = datetime(2026, 1, 1)
    return trial


@pytest.fixture
def board() -> Board:
    return Board(StudyConfig.from_tree({"search": {"num_trials": 4}}))


def written(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_the_headline_counts_finished_trials_and_names_the_best(board: Board) -> None:
    for number, value in ((0, 0.2), (1, 0.4)):
        board.start(number, PARAMS, None)
        board.epoch(number, record(1, value))
    board.end(ended(0, TrialState.COMPLETE, best_value=0.2))

    assert board.headline().startswith("1/4 trials finished · best 0.4000 (trial 1)")
    assert "left" in board.headline()


def test_a_continued_study_counts_what_earlier_runs_finished(board: Board) -> None:
    console = Console(file=io.StringIO(), width=120)
    PlainLines(board, console).study_opened(
        [
            ended(0, TrialState.COMPLETE, best_value=0.3),
            ended(1, TrialState.FAIL),
            ended(2, TrialState.RUNNING),
        ]
    )

    assert "continuing: 2/4 trials finished · best 0.3000 (trial 0)" in written(console)


def test_a_trial_shows_its_best_epoch(board: Board) -> None:
    board.start(0, PARAMS, None)
    board.epoch(0, record(1, 0.5, crack=0.5))
    row = board.epoch(0, record(2, 0.3, crack=0.3))

    assert (row.epoch, row.value, row.dice["Crack"]) == (2, 0.5, 0.5)


def test_plain_lines_tell_start_end_and_reason(board: Board) -> None:
    console = Console(file=io.StringIO(), width=60)
    lines = PlainLines(board, console)
    lines.trial_started(0, PARAMS, "hand-tuned")
    lines.epoch_ended(0, record(1, 0.2))
    lines.trial_ended(
        ended(0, TrialState.FAIL, reason="NonFiniteLoss: [nan]", baseline="hand-tuned")
    )

    assert written(console).splitlines()[:2] == [
        "trial 0 (hand-tuned) started: num_layers 4, learning_rate 0.00123",
        "trial 0 (hand-tuned) FAIL after 1 epochs: NonFiniteLoss: [nan]",
    ]


def test_the_table_shows_running_trials_first_and_hides_the_many(board: Board) -> None:
    for number in range(20):
        board.start(number, PARAMS, None)
        board.epoch(number, record(1, number / 100))
        if number:
            board.end(ended(number, TrialState.COMPLETE, best_value=number / 100))
    console = Console(file=io.StringIO(), width=120)
    console.print(table_of(board))

    rows = [line for line in written(console).splitlines() if "│" in line]
    assert "RUNNING" in rows[0]
    assert "0.1900" in rows[1]
    assert "and 7 more finished trials" in written(console)


def test_markup_in_names_is_text(board: Board) -> None:
    board.start(0, {"model.activation": "[red]relu[/red]"}, "[bold]x")
    console = Console(file=io.StringIO(), width=120)
    console.print(table_of(board))

    assert "[red]relu[/red]" in written(console)
    assert "[bold]x" in written(console)


def test_a_terminal_gets_the_live_table(board: Board) -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with display(board, console) as observer:
        observer.trial_started(0, PARAMS, None)
        observer.epoch_ended(0, record(3, 0.25))

    assert "0.2500" in written(console)


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.4, "4 s"), (89, "89 s"), (120, "2 min"), (11100, "3 h 05 min")]
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_undefined_dice_are_dashes_and_background_is_left_out() -> None:
    dice = {"background": 0.9, "Crack": None, "Fray": float("nan"), "Break": 0.123}

    assert describe_dice(dice) == "Crack –, Fray –, Break 0.12"
