from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from results.analysis.timeline import epochs_table, partitioned, pauses_between, timeline
from results.records.schemas import Failure
from results.records.study import Curve, StudyRecord, TrialRecord, load_study
from tests.results.conftest import MakeStudy

T0 = 1_000_000.0


@pytest.fixture(scope="module")
def record(make_study: MakeStudy) -> StudyRecord:
    return load_study(make_study(trials=2, epochs=2, running=0))


def curve(like: Curve, ends: list[float], workers: list[str], seconds: float = 10.0) -> Curve:
    """Epochs of 10 seconds: 6 train (1 of them waiting), 3 validate, 1 is something else."""
    count = len(ends)
    numbers = {
        name: np.full(count, share * seconds)
        for name, share in (
            ("total_seconds", 1.0),
            ("train_seconds", 0.6),
            ("input_seconds", 0.1),
            ("validate_seconds", 0.3),
        )
    }
    blank = {
        name: np.full((count, *getattr(like, name).shape[1:]), np.nan)
        for name in ("objective", "dice", "soft_dice", "counts", "pooled_dice")
    }
    epoch, ended = np.arange(1, count + 1), np.array(ends) + T0
    return replace(like, epoch=epoch, ended=ended, workers=tuple(workers), **numbers, **blank)


def trial(record: StudyRecord, number: int, ends: list[float], workers: list[str]) -> TrialRecord:
    like = record.trials[0]
    drawn = curve(like.curve, ends, workers)
    return replace(like, number=number, state="COMPLETE", curve=drawn, failures=(), finished=None)


def test_epochs_have_their_start_and_their_parts(record: StudyRecord) -> None:
    study = replace(record, trials=(trial(record, 0, [10, 25], ["a/1", "a/1"]),))
    table = epochs_table(study)

    assert (table["start"] - T0).to_list() == [0, 15]
    assert table.loc[0, ["total", "training", "validation", "input", "other"]].to_list() == (
        pytest.approx([10, 5, 3, 1, 1])
    )


def test_a_lane_holds_the_processes_of_a_node_one_after_another(record: StudyRecord) -> None:
    trials = (
        trial(record, 0, [10, 20], ["a/1", "a/1"]),
        trial(record, 1, [40], ["a/1"]),  # 10 seconds after trial 0
        trial(record, 2, [30], ["a/2"]),  # while worker 1 had a trial: a lane of its own
        trial(record, 3, [60], ["a/3"]),  # after both
        trial(record, 4, [30], ["b/9"]),
    )
    found = timeline(replace(record, trials=trials))
    segments = found.segments.set_index("number")

    assert found.reason is None
    assert found.workers_known
    assert segments["lane"].to_dict() == {0: 0, 1: 0, 2: 1, 3: 1, 4: 2}
    assert segments.loc[0, ["start", "end"]].to_list() == [T0, T0 + 20]
    assert segments.loc[0, ["epochs", "first", "last", "node"]].to_list() == [2, 1, 2, "a"]
    assert found.lanes[["lane", "node", "workers", "seconds"]].to_numpy().tolist() == [
        [0, "a", 1, 30.0],
        [1, "a", 2, 20.0],
        [2, "b", 1, 10.0],
    ]
    gaps = found.gaps
    assert gaps["lane"].to_list() == [0, 1]
    assert gaps["seconds"].to_list() == [10, 20]
    use = found.utilisation.set_index("node")
    # Node a: 2 lanes from 0 to 60, of which 50 seconds were epochs.
    assert use.loc["a", ["lanes", "span"]].to_list() == [2, 120]
    columns = ["busy", "training", "validation", "input", "other", "idle"]
    expected = [50 / 120, 25 / 120, 15 / 120, 5 / 120, 5 / 120, 70 / 120]
    assert use.loc["a", columns].to_list() == pytest.approx(expected)
    assert use.loc["all", ["lanes", "span"]].to_list() == [3, 180]
    assert use.loc["all", "busy"] == pytest.approx(60 / 180)


def test_a_trial_that_lost_its_worker_has_two_segments_and_a_mark(record: StudyRecord) -> None:
    lost = trial(record, 0, [10, 20, 50], ["a/1", "a/1", "b/2"])
    lost = replace(lost, failures=(Failure(epoch=2, reason="killed"),))
    found = timeline(replace(record, trials=(lost,)))

    assert found.segments[["worker", "first", "last"]].to_numpy().tolist() == [
        ["a/1", 1, 2],
        ["b/2", 3, 3],
    ]
    assert found.marks.to_numpy().tolist() == [[0, 0, T0 + 20, "lost worker", "killed"]]


def test_a_failure_is_marked_where_the_trial_ended(record: StudyRecord) -> None:
    iso = datetime.fromtimestamp(T0 + 31, UTC).isoformat()
    ran = replace(trial(record, 0, [10, 20], ["a/1", "a/1"]), state="FAIL", reason="NaN")
    never = replace(
        trial(record, 1, [], []), state="FAIL", reason=None, finished=iso, started="soon"
    )
    nowhere = replace(trial(record, 2, [], []), state="FAIL", started=None)
    marks = timeline(replace(record, trials=(ran, never, nowhere))).marks

    assert marks.to_numpy().tolist() == [
        [0, 0, T0 + 20, "failed", "NaN"],
        [1, -1, T0 + 31, "failed", "no reason recorded"],
    ]


def test_old_records_are_laid_out_on_as_few_lanes_as_hold_them(record: StudyRecord) -> None:
    trials = (
        trial(record, 0, [10, 20], ["", ""]),
        trial(record, 1, [15, 25], ["", ""]),
        trial(record, 2, [31], [""]),
        trial(record, 3, [11, 500], ["", ""]),  # a long wait: resumed, a segment of its own
    )
    found = timeline(replace(record, trials=trials))

    assert not found.workers_known
    assert set(found.lanes["workers"]) == {0}
    assert found.segments.groupby("number")["lane"].apply(list).to_dict() == {
        0: [0],
        1: [2],
        2: [1],
        3: [1, 0],
    }


def test_pauses_are_no_idleness(record: StudyRecord) -> None:
    trials = (trial(record, 0, [10], ["a/1"]), trial(record, 1, [7210], ["a/2"]))
    found = timeline(replace(record, trials=trials))

    assert found.paused == 7190
    assert found.utilisation.set_index("node").loc["all", ["span", "busy"]].to_list() == [20, 1.0]
    starts, ends = np.array([0.0, 5.0, 2000.0]), np.array([1000.0, 10.0, 2010.0])
    assert pauses_between(starts, ends) == [(1000.0, 2000.0)]
    assert pauses_between(np.empty(0), np.empty(0)) == []


def test_what_is_not_recorded_is_told(record: StudyRecord) -> None:
    silent = trial(record, 0, [np.nan], [""])
    found = timeline(replace(record, trials=(silent,)))
    assert (found.reason, found.unknown) == ("No epoch's record says when it ended.", 1)
    assert found.segments.empty
    assert found.utilisation.empty
    nothing = timeline(replace(record, trials=()))
    assert (nothing.reason, nothing.unknown) == ("No epoch has ended yet.", 0)


def test_intervals_are_partitioned() -> None:
    starts, ends = np.array([0.0, 1.0, 2.0, 3.0]), np.array([2.0, 4.0, 3.0, 5.0])
    assert partitioned(starts, ends).tolist() == [0, 1, 0, 0]
    assert partitioned(starts, ends + 0.5).tolist() == [0, 1, 2, 0]
    assert partitioned(starts, ends + 0.5, slack=0.5).tolist() == [0, 1, 0, 0]
