from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from results.analysis.intervals import MEAN
from results.records.evaluation import load_evaluations
from results.records.study import StudyRecord, load_study
from results.tables import comparison, trials_table
from tests.results.conftest import MakeStudy
from tests.results.simulated_evaluation import write_evaluations
from tests.results.simulated_study import Simulation

Pair = tuple[dict[str, StudyRecord], dict[str, tuple]]


@pytest.fixture(scope="module")
def pair(make_study: MakeStudy) -> Pair:
    """Two searches of one data set, both scored: one with trials of its own, one with another's."""
    simulation = Simulation(trials=12, name="one")
    studies, scored = {}, {}
    for label, trials in (("one", [0]), ("other", None)):
        path = make_study(trials=12, name=label)
        write_evaluations(path, simulation, trials)
        studies[label] = load_study(path)
        scored[label] = load_evaluations(path)[0]
    # The first one's incumbent is its collapsed baseline: a difference that is known to be real.
    first = studies["one"]
    studies["one"] = replace(first, trials=first.trials[:1])
    return studies, scored


def test_studies_called_alike_are_told_apart(pair: Pair) -> None:
    one = pair[0]["one"]
    elsewhere = replace(one, path=Path("/data/second/study"))
    here = replace(one, path=Path("/data/first/study"))

    assert comparison.labels([here, elsewhere]) == ["one (first)", "one (second)"]
    assert comparison.labels([here, here]) == ["one (first) #1", "one (first) #2"]
    assert comparison.labels([here, replace(one, name="two")]) == ["one", "two"]


def test_incumbents_have_intervals_where_they_were_scored(pair: Pair) -> None:
    studies, scored = pair
    table = comparison.incumbents_table(studies, {"one": scored["one"], "other": ()})

    one, other = (table[table["study"] == name] for name in ("one", "other"))
    assert set(one["resolution"]) == {"native"}
    assert set(other["resolution"]) == {"epoch"}
    assert other["low"].isna().all()
    best = studies["other"].incumbent
    assert best is not None
    mean = other[other["kind"] == "mean"]["dice"].item()
    assert mean == pytest.approx(float(best.curve.mean_foreground_dice[best.best_row or 0]))


def test_incumbents_on_the_same_images_are_compared_in_pairs(pair: Pair) -> None:
    studies, scored = pair
    table, reasons = comparison.differences_table(studies, scored)

    assert not reasons
    mean = table[table["kind"] == "mean"].iloc[0]
    assert mean["study"] == "other"
    assert mean["class"] == MEAN
    assert 0 < mean["low"] < mean["difference"] < mean["high"]


def test_what_cannot_be_compared_in_pairs_has_its_reason(pair: Pair) -> None:
    studies, scored = pair
    unscored, reasons = comparison.differences_table(studies, scored | {"other": ()})
    assert unscored.empty
    assert "flexunet-search score" in reasons["other"]

    (found,) = [e for e in scored["other"] if e.trial == studies["other"].incumbent.number]  # type: ignore[union-attr]
    renamed = replace(found, images=tuple(f"x{name}" for name in found.images))
    _, reasons = comparison.differences_table(studies, scored | {"other": (renamed,)})
    assert "expected the same images" in reasons["other"]


def test_another_split_is_said(pair: Pair) -> None:
    studies, scored = pair
    assert comparison.split_warnings(studies, scored) == []

    moved = {**studies, "other": replace(studies["other"], data_fingerprint="else")}
    (same,) = comparison.split_warnings(moved, scored)
    assert "validated on images of the same" in same
    (unknown,) = comparison.split_warnings(moved, scored | {"other": ()})
    assert "another split" in unknown
    half = tuple(
        replace(e, images=tuple(f"x{n}" if i % 2 else n for i, n in enumerate(e.images)))
        for e in scored["other"]
    )
    (different,) = comparison.split_warnings(moved, scored | {"other": half})
    count = len(scored["one"][0].images)
    assert f"{math.ceil(count / 2):,} of its {count:,} validation images" in different


def test_other_classes_and_objectives_are_said(pair: Pair) -> None:
    studies, scored = pair
    other = replace(studies["other"], classes=("background", "a"), objective="worst_class_dice")
    warnings = comparison.split_warnings({**studies, "other": other}, scored)

    assert warnings[0] == "other has other classes than one."
    assert "worst_class_dice" in warnings[1]


def test_only_fields_that_differ_are_listed(pair: Pair) -> None:
    one, other = pair[0]["one"], pair[0]["other"]
    train = {**other.config["train"], "epochs": 9, "learning_rate": {"float": [0.1, 1.0]}}
    changed = replace(other, config={**other.config, "train": train, "provenance": {"study": "x"}})
    table = comparison.config_differences({"one": one, "other": changed})

    assert list(table.index) == ["study.name", "train.epochs", "train.learning_rate"]
    assert table.loc["train.epochs"].to_list() == ["27", "9"]
    assert table.loc["train.learning_rate", "other"] == "{'float': [0.1, 1.0]}"


def test_data_are_compared_fact_by_fact(pair: Pair) -> None:
    one, other = pair[0]["one"], pair[0]["other"]
    data = {**other.data, "splits": {**other.data["splits"], "valid": {"images": 9, "groups": 3}}}
    table = comparison.data_differences({"one": one, "other": replace(other, data=data)})

    assert list(table.index[table["differs"]]) == ["Split valid"]
    assert table.loc["Split valid", "other"] == "9 images of 3 objects"
    assert not comparison.data_differences({"one": one, "other": one})["differs"].any()


def test_progress_is_in_the_order_of_ends(make_study: MakeStudy) -> None:
    study = load_study(make_study(trials=3, running=0, states={0: "COMPLETE", 1: "COMPLETE"}))
    late, early, failed = (
        replace(
            t, started="2026-01-01T00:00:00+00:00", finished=f"2026-01-01T0{h}:00:00+00:00", **v
        )
        for t, h, v in zip(
            study.trials,
            (3, 1, 2),
            (
                {"value": 0.4, "epochs": 27},
                {"value": 0.5, "epochs": 27},
                {"state": "FAIL", "value": None, "epochs": 2},
            ),
            strict=True,
        )
    )
    failed = replace(failed, curve=study.trials[0].curve)
    study = replace(study, trials=(late, early, failed))
    table = comparison.progress_table(study, trials_table(study))

    assert table["hours"].to_list() == [1.0, 2.0, 3.0]
    assert table["best"].to_list() == [0.5, 0.5, 0.5]
    assert table["epochs"].to_list() == [27, 54, 81]
    assert table["number"].to_list() == [1, 2, 3]
