from __future__ import annotations

import json
from pathlib import Path

import pytest

from results.records.epochs import Epoch
from search.storage.files import trial_folder
from search.study.throughput import FILE, InputLog, Throughput
from search.terminal.table import describe_input
from tests.epochs import epoch_of


def record(
    images: int = 100, shared: int = 100, epoch: int = 1, total: float = 10.0, **made: int
) -> Epoch:
    return epoch_of(
        epoch,
        seconds={"train": 10.0, "input": 2.0, "total": total},
        input={"images": images, "shared": shared, "streams": made},
    )


def test_what_two_trials_read_of_one_stream_was_made_once() -> None:
    throughput = Throughput()
    throughput.count(0, record(a=100), 10)
    throughput.count(1, record(a=100), 11)
    assert (throughput.images, throughput.made, throughput.hit_rate) == (200, 100, 0.5)


def test_streams_of_several_workers_add_up() -> None:
    throughput = Throughput()
    throughput.count(0, record(a=60, b=40), 10)
    throughput.count(1, record(a=80, b=40), 20)
    assert throughput.made == 120
    assert throughput.hit_rate == pytest.approx(0.4)


def test_without_shared_images_there_is_no_hit_rate() -> None:
    throughput = Throughput()
    throughput.count(0, record(shared=0), 10)
    assert throughput.hit_rate is None
    assert throughput.images == 100


def test_an_epoch_of_an_older_version_is_not_counted() -> None:
    throughput = Throughput()
    throughput.count(0, epoch_of(seconds={"train": 1.0}), 10)
    assert throughput.images == 0
    assert describe_input(throughput.summary(10)) == []


def test_an_epoch_that_is_told_again_is_counted_once() -> None:
    throughput = Throughput()
    for _ in range(2):
        throughput.count(0, record(a=100), 10)
    assert throughput.images == 100


def test_each_running_trial_reads_at_the_pace_of_its_last_epoch() -> None:
    throughput = Throughput()
    throughput.count(0, record(images=1000, shared=1000, total=10, a=1000), 600)
    throughput.count(1, record(images=6000, shared=6000, total=600, a=6000), 601)
    read, made = throughput.rates(602)
    assert read == pytest.approx(110)
    assert made == pytest.approx(110 * 6000 / 7000)
    # The long epoch's next one is under way for as long again; the short one's is overdue.
    assert throughput.rates(1100)[0] == pytest.approx(10)
    throughput.end(1)
    assert throughput.rates(1100)[0] == 0


def test_a_line_says_rates_hits_and_waiting() -> None:
    throughput = Throughput()
    throughput.count(0, record(a=100), 10)
    throughput.count(1, record(a=100), 10)
    told = ["50% from the shared cache", "20% of training waits for images"]
    assert describe_input(throughput.summary(10)) == ["trials read 20 images/s, 10 made", *told]
    assert describe_input(throughput.summary(1000)) == told


def test_totals_go_on_over_runs(tmp_path: Path) -> None:
    for run in range(2):  # a further run has workers, and so streams, of its own
        log = InputLog(tmp_path, "service", "asked for")
        log.epoch_ended(2 * run, record(a=100))
        log.epoch_ended(2 * run + 1, record(a=100))
        log.close()
    kept = json.loads((tmp_path / FILE).read_text())
    assert (kept["sharing"], kept["why"]) == ("service", "asked for")
    assert (kept["images"], kept["made"], kept["hit_rate"]) == (400, 200, 0.5)
    assert kept["input_seconds"] == 8.0


def test_a_further_run_counts_what_a_killed_one_did_not_hear_of_and_nothing_twice(
    tmp_path: Path,
) -> None:
    lines = [record(epoch=epoch, a=100 * epoch) for epoch in (1, 2, 3)]
    folder = trial_folder(tmp_path, 4)
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(line.line() for line in lines))
    killed = InputLog(tmp_path, "service", "asked for")
    killed.epoch_ended(4, lines[0])
    killed.close()
    again = InputLog(tmp_path, "service", "asked for")
    again.epoch_ended(4, lines[0])  # told again, as it is where a trial had ended untold
    again.epoch_ended(4, lines[2])
    again.close()
    assert json.loads((tmp_path / FILE).read_text())["images"] == 300


def test_a_broken_account_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{")
    InputLog(tmp_path, "local", "asked for").close()
    assert json.loads((tmp_path / FILE).read_text())["images"] == 0


def test_trials_that_have_ended_are_not_replayed(tmp_path: Path) -> None:
    assert 10_000 in InputLog(tmp_path, "local", "asked for").ended()
