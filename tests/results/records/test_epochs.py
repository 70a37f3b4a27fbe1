from __future__ import annotations

import json
from pathlib import Path

import pytest

from results.records.epochs import METRICS, Epoch, Worker, best_of, epochs_in, read_lines
from tests.epochs import epoch_of

SAVED = Path(__file__).parents[2] / "data" / "saved" / "saved-training" / METRICS


def test_a_line_is_written_as_it_was_read() -> None:
    lines = SAVED.read_text(encoding="utf-8").splitlines(keepends=True)
    first, *_ = epochs_in(SAVED.parent)

    assert json.loads(first.line()) == json.loads(lines[0])
    assert Epoch.of(json.loads(first.line())) == first


def test_the_later_line_of_an_epoch_stands(tmp_path: Path) -> None:
    lines = [epoch_of(1, objective=0.1), epoch_of(1, objective=0.3), epoch_of(2)]
    (tmp_path / METRICS).write_text("".join(line.line() for line in lines), encoding="utf-8")

    epochs = epochs_in(tmp_path)

    assert epochs == lines[1:]
    assert best_of(epochs) == lines[1]
    assert epochs_in(tmp_path / "nowhere") == []


def test_the_earliest_of_equals_is_the_best() -> None:
    epochs = [epoch_of(1), epoch_of(2, objective=0.5), epoch_of(3, objective=0.5)]

    assert best_of(epochs) == epochs[1]
    assert best_of(epochs[:1]) is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"epoch": 0, "dice": {}}', "epoch: expected int >= 1"),
        ('{"epoch": 1, "dice": {"a": "high"}}', "dice[...]: expected float | null, got str"),
        ('{"epoch": 1}', "object missing required field dice"),
        ("{", "expected JSON: Expecting property name enclosed in double quotes"),
    ],
)
def test_a_wrong_line_is_told_by_field_and_what_was_expected(line: str, said: str) -> None:
    told: list[tuple[str, int]] = []
    content = f'{line}\n{{"epoch": 2, "dice": {{}}}}\n'.encode()

    (found,) = read_lines(content, lambda problem, number: told.append((problem, number)))

    assert found.epoch == 2
    ((problem, number),) = told
    assert problem.startswith(said)
    assert number == 1


def test_a_worker_says_nothing_while_its_file_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "worker.json"
    assert Worker.read(path) is None
    path.write_text('{"host": "a", ', encoding="utf-8")
    assert Worker.read(path) is None
    path.write_text('{"host": "a", "pid": 1, "owner": "x"}', encoding="utf-8")
    assert Worker.read(path) == Worker("a", 1)
