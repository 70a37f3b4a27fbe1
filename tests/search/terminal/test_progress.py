from __future__ import annotations

import io
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from rich.cells import cell_len
from rich.console import Console

from results.records.epochs import Epoch
from search.config.loading import config_from_tree
from search.terminal.display import Display, preparation
from search.terminal.progress import Board, RunObserver, run_display
from search.terminal.table import describe_dice, draw, duration
from tests.epochs import epoch_of

PARAMS = {"model.num_layers": 4, "train.learning_rate": 0.00123}


def record(epoch: int, objective: float | None, crack: float | None = 0.5, **more: Any) -> Epoch:
    dice = {"background": 0.9, "Crack": crack}
    return epoch_of(epoch, objective=objective, dice=dice, **more)


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
    return board_of(4)


def board_of(trials: int) -> Board:
    return Board(config_from_tree({"search": {"num_trials": trials}}))


def written(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_the_headline_counts_finished_trials_and_names_the_best(board: Board) -> None:
    for number, value in ((0, 0.2), (1, 0.4)):
        board.start(number, PARAMS, None)
        board.epoch(number, record(1, value))
    board.end(ended(0, TrialState.COMPLETE, best_value=0.2))

    assert board.headline().startswith(
        "1/4 trials finished · best 0.2000 (trial 0) · ahead of it 0.4000 (trial 1, RUNNING)"
    )
    assert "left" in board.headline()


def test_what_is_left_is_estimated_by_node_where_nodes_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board, now = board_of(10), time.monotonic()
    monkeypatch.setattr("search.terminal.progress.time.monotonic", lambda: now)

    def epoch(number: int, host: str, speed: float) -> None:
        on = {"gflops_per_second": speed, "worker": {"host": host, "pid": 1}}
        board.epoch(number, record(1, 0.2, **on))

    def run(number: int, host: str, speed: float, seconds: float) -> None:
        nonlocal now
        board.start(number, PARAMS, None)
        now += seconds
        epoch(number, host, speed)

    for number in range(3):
        run(number, "a", 80.0, 100)
        board.end(ended(number, TrialState.COMPLETE, best_value=0.2))
    for number in range(3, 6):
        run(number, "b", 20.0, 0)
    run(6, "a", 80.0, 0)
    now += 80

    # 3 trials of 100 s on a have not begun; b has 80 s of each of three to do, a 20 s of one: 1.75
    # such seconds a second, 320 s for the last of b. The pace of those that ended says 887 s.
    assert "about 5 min left" in board.headline()


def test_only_a_complete_trial_is_the_best_where_there_is_one(board: Board) -> None:
    for number, value in ((0, 0.9), (1, 0.8), (2, 0.3)):
        board.start(number, PARAMS, None)
        board.epoch(number, record(1, value))
    board.end(ended(0, TrialState.FAIL, best_value=0.9, reason="a defect"))
    board.end(ended(1, TrialState.PRUNED, best_value=0.8))
    assert "best so far 0.8000 (trial 1, PRUNED)" in board.headline()

    board.end(ended(2, TrialState.COMPLETE, best_value=0.3))
    assert "best 0.3000 (trial 2)" in board.headline()
    assert "0.8" not in board.headline()
    assert [row.number for row in board.leaders] == [2, 1]


def test_where_leading_configs_are_trained_again_the_mean_leads() -> None:
    board = Board(config_from_tree({"search": {"repeats_of_best": 1}}))
    state = TrialState.COMPLETE
    for number, value, original in ((0, 0.5, None), (1, 0.6, None), (2, 0.3, 1), (3, 0.46, 0)):
        board.end(ended(number, state, best_value=value, repeat_of=original))
    assert board.best_parts() == [
        "best 0.5000 (trial 0, mean of 2 trainings 0.4800, 0.4600 to 0.5000)"
    ]


def test_over_folds_a_trial_shows_what_its_finished_folds_say(board: Board) -> None:
    board.start(0, {}, None)
    shown = []
    for number, fold, value, done in (
        (1, 0, 0.5, False), (2, 0, 0.9, True), (3, 1, 0.3, False), (4, 1, 0.7, True),
        (5, 2, 0.8, False), (6, 2, 0.6, True),
    ):  # fmt: skip
        line = epoch_of(number, objective=value, dice={"Crack": value}, fold=fold, fold_done=done)
        row = board.epoch(0, line)
        shown.append((row.value, row.dice["Crack"]))
    assert [value for value, _ in shown] == [0.5, 0.9, 0.9, 0.7, 0.7, 0.8]
    assert all(value == dice for value, dice in shown)


def test_a_trial_that_ends_without_having_been_started_is_counted(board: Board) -> None:
    row = board.end(ended(7, TrialState.COMPLETE, best_value=0.7))

    assert (row.number, row.value, board.finished) == (7, 0.7, 1)


def test_a_continued_study_counts_what_earlier_runs_finished(board: Board) -> None:
    console = Console(file=io.StringIO(), width=120)
    RunObserver(board, Display(console, board.picture)).study_opened(
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
    lines = RunObserver(board, Display(console, board.picture))
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
    lines = str(draw(board.picture(), 120)).splitlines()

    rows = [line for line in lines if "RUNNING " in line or "COMPLETE " in line]
    assert "RUNNING" in rows[0]
    assert "0.1900" in rows[1]
    assert len(rows) == 13
    assert "and 7 more finished trials" in lines[-1]


def test_the_table_tells_what_trials_read_and_wait_for(board: Board) -> None:
    for number in range(2):
        board.start(number, PARAMS, None)
        read = {"images": 100, "shared": 100, "streams": {"7": 100}}
        seconds = {"train": 10.0, "input": 1.0, "total": 10.0}
        board.epoch(number, record(1, 0.1, input=read, seconds=seconds))
    text = str(draw(board.picture(), 120))

    assert "input: trials read 20 images/s, 10 made" in text
    assert "50% from the shared cache · 10% of training waits for images" in text
    assert " Wait " in text


def test_markup_in_names_is_text(board: Board) -> None:
    board.start(0, {"model.activation": "[red]relu[/red]"}, "[bold]x")
    console = Console(file=io.StringIO(), width=120)
    console.print(draw(board.picture(), 120))

    assert "[red]relu[/red]" in written(console)
    assert "[bold]x" in written(console)


def test_a_terminal_gets_the_live_table(board: Board) -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with run_display(board.config, console) as observer:
        observer.study_opened([])
        observer.trial_started(0, PARAMS, None)
        observer.epoch_ended(0, record(3, 0.25))
        observer.warn("the splits leak")

    assert "0.2500" in written(console)
    assert written(console).count("the splits leak") >= 2  # above the table, and in it


def test_the_best_of_an_earlier_run_shows_its_dice(tmp_path: Path) -> None:
    config = config_from_tree({"study": {"name": "s", "storage_path": str(tmp_path)}})
    folder = tmp_path / "s" / "trials" / "00003"
    folder.mkdir(parents=True)
    lines = [record(1, 0.2, crack=0.1), record(2, 0.6, crack=0.7), record(3, 0.3, crack=0.2)]
    (folder / "metrics.jsonl").write_text("".join(line.line() for line in lines), encoding="utf-8")
    board = Board(config)
    board.open([ended(3, TrialState.COMPLETE, best_value=0.6), ended(4, TrialState.RUNNING)])

    assert "Dice: Crack 0.70" in str(draw(board.picture(), 80))


def crowded(running: int, finished: int) -> Board:
    board = Board(config_from_tree({"search": {"num_trials": 12000}}))
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.PRUNED, TrialState.FAIL)
    dice = dict.fromkeys(("background", "Blowhole", "Break", "Crack", "Fray", "Uneven"), 0.5)
    for number in range(finished + running):
        board.start(number, {**PARAMS, "train.loss": "focal_tversky"}, "hand-tuned by " * 3)
        value = number % 97 / 100
        board.epoch(number, epoch_of(12, objective=value, dice=dice, images_per_second=1234.5))
        if number < finished:
            state = states[number % 4]
            board.end(ended(number, state, best_value=value, reason="out of memory: " + 40 * "x "))
    board.notes.append("trial 17: " + "its worker process died; " * 9)
    return board


@pytest.mark.parametrize("width", [40, 80, 160])
@pytest.mark.parametrize("height", [24, 40])
@pytest.mark.parametrize("running", [0, 1, 8, 200])
@pytest.mark.parametrize("finished", [0, 60])
def test_the_table_fits_any_terminal(width: int, height: int, running: int, finished: int) -> None:
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(draw(crowded(running, finished).picture(), width, height))
    lines = written(console).splitlines()

    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width
    assert sum("RUNNING" in line for line in lines) >= min(running, 4)
    assert sum("COMPLETE" in line for line in lines) >= min(finished, 3)
    assert ("more running" in written(console)) == (running == 200)
    assert "worker process died" in lines[-1] or width == 40


def test_a_draw_of_10000_finished_trials_is_cheap() -> None:
    board = crowded(200, 10_000)
    console = Console(file=io.StringIO(), width=80, height=40)
    seconds = []
    for _ in range(5):
        started = time.thread_time()
        console.print(draw(board.picture(), 80, 40))
        seconds.append(time.thread_time() - started)

    assert min(seconds) < 0.02
    assert "10000/12000 trials finished" in written(console)


def test_images_are_prepared_behind_a_bar_that_goes_or_with_plain_lines() -> None:
    terminal = Console(file=io.StringIO(), width=80, force_terminal=True)
    with preparation(terminal) as show:
        show(1, 10)
        show(10, 10)
        assert "preparing images" in written(terminal)
        shown = len(written(terminal))
    assert len(written(terminal)) == shown  # it went when all was done

    plain = Console(file=io.StringIO(), width=80)
    with preparation(plain) as show:
        for done in range(1, 101):
            show(done, 100)
    assert len(written(plain).splitlines()) == 11


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.4, "4 s"), (89, "89 s"), (120, "2 min"), (11100, "3 h 05 min")]
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_undefined_dice_are_dashes_and_background_is_left_out() -> None:
    dice = {"background": 0.9, "Crack": None, "Fray": float("nan"), "Break": 0.123}

    assert describe_dice(dice) == "Crack –, Fray –, Break 0.12"
