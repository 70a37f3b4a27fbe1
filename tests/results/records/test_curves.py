from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from results.records import curves, epochs
from results.records.curves import curve_of
from results.records.epochs import Epoch, read_lines
from tests.results.simulated_study import CLASSES, Simulation, class_names, write_study


def parsed(*lines: object) -> tuple[list[Epoch], list[int]]:
    """Parse the lines and return them with the numbers of those told of."""
    told: list[int] = []
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    found = read_lines(text.encode(), lambda _, number: told.append(number))
    return found, told


def test_both_ways_of_reading_give_the_same_curve(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", Simulation(trials=4, absent=("Fray",)))
    content = (study / "trials" / "00001" / "metrics.jsonl").read_bytes()
    assert len(content) > 1000

    def never(problem: str, number: int) -> None:
        raise AssertionError(problem)

    fast = curve_of(read_lines(content, never), CLASSES)
    slow = curve_of(epochs._read_one_by_one(content, never), CLASSES)
    for column in dataclasses.fields(curves.Curve):
        np.testing.assert_array_equal(getattr(fast, column.name), getattr(slow, column.name))
    assert fast.workers[0].startswith("node-")
    assert np.isfinite(fast.ended).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"dice": {}},
        {"epoch": 0, "dice": {}},
        {"epoch": 1.5, "dice": {}},
        {"epoch": 1, "dice": {"a": "high"}},
        {"epoch": 1, "dice": {}, "counts": {"a": [1, 2]}},
        {"epoch": 1, "dice": {}, "time": "noon"},
        {"epoch": 1, "dice": {}, "worker": {"host": "a"}},
        {"epoch": 1, "dice": None},
        [],
    ],
)
def test_a_wrong_line_is_told_by_its_number_and_the_others_stand(wrong: object) -> None:
    found, told = parsed({"epoch": 1, "dice": {}}, wrong, {"epoch": 2, "dice": {}})
    assert told == [2]
    assert [line.epoch for line in found] == [1, 2]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_no_json_are_read(number: str) -> None:
    found, told = parsed('{"epoch": 1, "dice": {}, "train_loss": ' + number + "}")
    assert told == []
    np.testing.assert_equal(found[0].train_loss, float(number))


def test_bytes_that_are_no_text_are_told() -> None:
    told: list[int] = []
    content = b'{"epoch": 1, "dice": {"\xff": 0.5}}\n{"epoch": 2, "dice": {}}\n'
    found = read_lines(content, lambda _, number: told.append(number))
    assert told == [1]
    assert [line.epoch for line in found] == [2]


def test_epochs_are_ordered_and_classes_put_in_place() -> None:
    found, _ = parsed(
        {"epoch": 2, "dice": {"b": 0.5, "a": 0.25}, "counts": {"b": [1, 2, 3]}},
        {"epoch": 1, "dice": {"b": None, "a": 1}},
    )
    curve = curve_of(found, ("a", "b"))
    np.testing.assert_array_equal(curve.epoch, [1, 2])
    np.testing.assert_array_equal(curve.dice, [[1.0, np.nan], [0.25, 0.5]])
    np.testing.assert_array_equal(curve.counts[1], [[np.nan] * 3, [1, 2, 3]])
    assert np.isnan(curve.counts[0]).all()
    assert np.isnan(curve.soft_dice).all()
    assert np.isnan(curve.ended).all()
    assert curve.workers == ("", "")


@pytest.mark.parametrize("classes", [1, 2, 30])
def test_counts_are_exact_for_any_number_of_classes(classes: int) -> None:
    names = class_names(classes)
    counts = {name: [2**53 - 1 - i, i, 0] for i, name in enumerate(names)}
    line = {"epoch": 1, "dice": dict.fromkeys(names, 0.5), "counts": counts}
    curve = curve_of(parsed(line)[0], names)
    assert curve.dice.shape == (1, classes)
    assert curve.counts[0].astype(np.int64).tolist() == list(counts.values())
