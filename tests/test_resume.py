"""Drivers killed in mid-search, on a real Ray with real training: nothing finished is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from results.records.study import load_study
from search.config.loading import config_from_tree
from search.study.opening import open_study
from tests.search.nodes import Driver
from tests.search.tiny import tiny_tree

EPOCHS = 30
TRIALS = 4


def start(config: Path, log: Path) -> subprocess.Popen[bytes]:
    with open(log, "ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "search", "run", str(config)], stdout=file, stderr=file
        )


def lines_of(study: Path) -> dict[str, list[str]]:
    """Whole lines of every metrics.jsonl."""
    found = {}
    for path in sorted(study.glob("trials/*/metrics.jsonl")):
        text = path.read_text(encoding="utf-8")
        found[path.parent.name] = text.splitlines() if text.endswith("\n") else []
    return found


def finished(study: Path) -> dict[int, tuple[Any, ...]]:
    return {
        trial.number: (trial.state, trial.value, trial.best_epoch, dict(trial.params))
        for trial in load_study(study).trials
        if trial.state != "RUNNING"
    }


def wait_for_epochs(study: Path, epochs: int, driver: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until so many epochs stand in the study's metrics."""
    deadline = time.monotonic() + 240
    while sum(map(len, lines_of(study).values())) < epochs:
        assert driver.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def run_with_kills(
    tmp_path: Path, source: Path, kills: int, rng: random.Random, folds: int = 0
) -> None:
    tree = tiny_tree(tmp_path, source, num_trials=TRIALS, pruner="none", repeats_of_best=1)
    # With all that a checkpoint has to hold or a stream to find again: averaged weights, windows
    # that grow, and a trial that repeats another.
    tree["train"] |= {"epochs": EPOCHS, "steps_per_epoch": 8, "weight_averaging": 0.9}
    tree["augment"] = {"patch_size": 12, "patch_stages": 3, "paste": 0.2}
    if folds:
        tree["search"]["folds"] = folds
        tree["train"]["epochs"] = EPOCHS // folds
        tree["data"]["image_size"] = 32
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    study, log = tmp_path / "tiny", tmp_path / "log.txt"
    total = EPOCHS * TRIALS
    for kill in range(kills):
        before = lines_of(study)
        driver = start(path, log)
        # From the first epochs of all to the last trial's last ones.
        low, high = total * kill // kills, total * (kill + 1) // kills
        wait_for_epochs(study, min(rng.randint(low + 2, high), total - 3), driver, log)
        done = finished(study)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        time.sleep(1)  # its Ray dies with it
        after = lines_of(study)
        for trial, lines in before.items():
            # An epoch written before the last kill is not trained again but for the one in flight.
            kept = max(0, len(lines) - 1)
            assert after[trial][:kept] == lines[:kept]
        assert {number: finished(study)[number] for number in done} == done

    done = finished(study)
    driver = start(path, log)
    assert driver.wait(timeout=400) == 0, log.read_text()
    end = finished(study)
    assert {number: end[number] for number in done} == done
    assert sorted(end) == list(range(TRIALS))
    assert {state for state, *_ in end.values()} == {"COMPLETE"}
    repeated = [trial.repeat_of for trial in load_study(study).trials]
    assert [number is not None for number in repeated] == [False, False, False, True]
    for lines in lines_of(study).values():
        assert [json.loads(line)["epoch"] for line in lines] == list(range(1, EPOCHS + 1))
    for trial in open_study(config_from_tree(tree)).get_trials():
        assert sorted(trial.intermediate_values) == list(range(1, EPOCHS + 1))
        assert trial.value == end[trial.number][1]


@pytest.mark.cluster
def test_a_killed_driver_loses_no_finished_trial_and_no_epoch(
    tmp_path: Path, synthetic_folder: Path
) -> None:
    run_with_kills(tmp_path, synthetic_folder, kills=1, rng=random.Random(0))


@pytest.mark.soak
@pytest.mark.cluster
def test_a_driver_killed_again_and_again_loses_nothing(
    tmp_path: Path, synthetic_folder: Path
) -> None:
    kills = int(os.environ.get("SOAK_KILLS", "8"))
    run_with_kills(tmp_path, synthetic_folder, kills=kills, rng=random.Random(kills))


@pytest.mark.soak
@pytest.mark.cluster
def test_a_driver_killed_again_and_again_over_folds_loses_nothing(
    tmp_path: Path, undivided_folder: Path
) -> None:
    kills = int(os.environ.get("SOAK_KILLS", "8"))
    run_with_kills(tmp_path, undivided_folder, kills, random.Random(kills), folds=3)


@pytest.mark.soak
@pytest.mark.cluster
def test_a_driver_killed_at_random_moments_of_a_simulated_study_loses_nothing(
    tmp_path: Path, synthetic_folder: Path
) -> None:
    kills = int(os.environ.get("SOAK_KILLS", "20"))
    rng = random.Random(kills)
    tree = tiny_tree(tmp_path, synthetic_folder, num_trials=6 * kills, grace_epochs=2)
    tree["train"] |= {"epochs": 9, "learning_rate": {"float": [1e-4, 1e-2], "log": True}}
    driver = Driver(tree, tmp_path)
    done: dict[int, tuple[Any, ...]] = {}
    for _ in range(kills):
        driver.start(seconds=0.1)
        time.sleep(rng.uniform(2.0, 10.0))
        driver.send(signal.SIGKILL)
        driver.wait()
        if (tmp_path / "tiny" / "study.yaml").exists():
            now = finished(tmp_path / "tiny")
            assert {number: now[number] for number in done} == done
            done = now
    assert driver.start(seconds=0.02).wait(400) == 0, driver.text

    end = finished(tmp_path / "tiny")
    assert {number: end[number] for number in done} == done
    assert sorted(end) == list(range(6 * kills))
    assert {state for state, *_ in end.values()} == {"COMPLETE", "PRUNED"}
    told = open_study(config_from_tree(tree)).get_trials()
    record = load_study(tmp_path / "tiny")
    for trial, frozen in zip(record.trials, told, strict=True):
        assert trial.state == frozen.state.name
        assert trial.curve.epoch.tolist() == list(range(1, len(trial.curve) + 1))
        assert trial.failures == ()  # a killed driver is no failure of a trial
        steps = len(frozen.intermediate_values)
        assert steps == 9 if trial.state == "COMPLETE" else steps in (2, 4, 8)
