from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from data_pipeline.stores.prepare import prepare
from results.analysis.confirmation import EVALUATION, FOLDER, Run, load_confirmation, run_folder
from results.records.epochs import Epoch
from search.config.errors import ConfigError
from search.config.loading import config_from_tree
from search.confirm.confirming import ConfirmOptions, _exit_code, confirm_study
from search.errors import RunError
from search.process.stop import Stop
from search.study.record import record_study
from tests.search.tiny import tiny_tree

BEST = {"model.num_layers": 1, "model.base_filters": 2, "train.learning_rate": 0.01}


def searched_study(folder: Path, source: Path, epochs: int = 2) -> Path:
    """A study whose search has ended: trial 0, a baseline, and the better trial 1."""
    tree = tiny_tree(folder, source)
    tree["train"] |= {"epochs": epochs}
    tree["search"]["score_flips"] = "horizontal"
    config = config_from_tree(tree)
    config.directory.mkdir(parents=True)
    record_study(config, prepare(config.data))
    for number, (value, baseline) in enumerate([(0.1, "recipe"), (0.2, None)]):
        path = config.directory / "trials" / f"{number:05d}"
        path.mkdir()
        params = BEST | {"model.base_filters": 2 + 2 * number}
        trial = {"number": number, "state": "COMPLETE", "value": value, "params": params}
        trial |= {"baseline": baseline, "best_epoch": 1, "epochs": 1}
        (path / "trial.json").write_text(json.dumps(trial))
        (path / "metrics.jsonl").write_text(
            json.dumps({"epoch": 1, "objective": value, "dice": {}}) + "\n"
        )
    return config.directory


class Noted:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.before: list[Run] = []
        self.epochs: list[tuple[Run, int]] = []
        self.ends: dict[Run, str | None] = {}
        self.warnings: list[str] = []

    def opened(self, epochs: Mapping[Run, int], ended: Sequence[Run]) -> None:
        self.before = list(ended)

    def started(self, run: Run) -> None:
        """Nothing."""

    def epoch_ended(self, run: Run, epoch: Epoch) -> None:
        self.epochs.append((run, epoch.epoch))

    def ended(self, run: Run, failed: str | None) -> None:
        self.ends[run] = failed

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def traces(study: Path) -> dict[str, tuple[bytes, int]]:
    """Of each training that is scored: its epochs, and when it was scored."""
    return {
        path.parent.name: (
            (path.parent / "metrics.jsonl").read_bytes(),
            path.stat().st_mtime_ns,
        )
        for path in sorted(study.glob(f"{FOLDER}/runs/*/{EVALUATION}"))
    }


@pytest.mark.cluster
def test_confirming_again_with_more_seeds_adds_what_is_missing(
    tmp_path: Path, synthetic_folder: Path, ray_session: None
) -> None:
    study = searched_study(tmp_path, synthetic_folder)
    told = Noted()
    outcome = confirm_study(study, ConfirmOptions(top=1, seeds=2), told)
    assert outcome.exit_code == 0
    assert told.ends == dict.fromkeys(outcome.confirmation.plan.runs)
    assert len(told.ends) == 4
    assert sorted(epoch for run, epoch in told.epochs if run == Run(1, 0)) == [1, 2]
    assert any("few groups of the test split" in warning for warning in told.warnings)
    first = traces(study)

    told = Noted()
    outcome = confirm_study(study, ConfirmOptions(seeds=3), told)
    assert sorted(run.name for run in told.before) == sorted(first)
    assert set(told.ends) == {Run(1, 2), Run(0, 2)}
    again = traces(study)
    assert len(again) == 6
    assert {name: again[name] for name in first} == first

    found = outcome.confirmation
    assert found.incumbent in (0, 1)
    assert found.ranking["seeds"].tolist() == [3, 3]
    scored = found.evaluations[Run(1, 2)]
    assert (scored.name, scored.trial, scored.seed, scored.split) == (
        "trial-00001-seed-2",
        1,
        2,
        "test",
    )
    assert (scored.resolution, scored.flips) == ("native", "horizontal")
    store = prepare(config_from_tree(tiny_tree(tmp_path, synthetic_folder)).data)
    assert scored.images == tuple(f"test/{stem}" for stem in store.splits["test"].stems)
    # Seeds differ, configs are paired.
    records = {name: metrics for name, (metrics, _) in again.items()}
    assert records["trial-00001-seed-0"] != records["trial-00001-seed-1"]


def test_other_data_than_the_studys_are_refused(tmp_path: Path, synthetic_folder: Path) -> None:
    study = searched_study(tmp_path, synthetic_folder)
    header = yaml.safe_load((study / "study.yaml").read_text())
    (study / "study.yaml").write_text(yaml.safe_dump(header | {"data_fingerprint": "f" * 64}))
    with pytest.raises(ConfigError, match="expected the study's, of fingerprint ffff"):
        confirm_study(study, ConfirmOptions(), Noted())
    assert not (study / FOLDER).exists()


def test_a_ray_client_is_refused_with_what_to_do(tmp_path: Path, synthetic_folder: Path) -> None:
    study = searched_study(tmp_path, synthetic_folder)
    options = ConfirmOptions(overrides=("resources.ray_address=ray://head:10001",))
    with pytest.raises(RunError, match="from a machine of the cluster"):
        confirm_study(study, options, Noted())


def test_folds_that_cannot_train_a_class_are_told_before_anything_runs(
    tmp_path: Path, synthetic_folder: Path
) -> None:
    study = searched_study(tmp_path, synthetic_folder)
    with pytest.raises(ConfigError) as caught:
        confirm_study(study, ConfirmOptions(folds=3), Noted())
    assert "fold 0 of 3: data.source: expected pixels of class 'Blowhole'" in str(caught.value)
    assert "every fold trains on a class that 3 groups show; fewer show Blowhole in 2" in str(
        caught.value
    )
    assert load_confirmation(study) is None


@pytest.mark.parametrize(("missing", "incumbent", "code"), [(1, None, 1), (0, 3, 0), (0, None, 1)])
def test_what_is_not_confirmed_is_no_success(
    missing: int, incumbent: int | None, code: int
) -> None:
    found = SimpleNamespace(missing=(Run(3, 0),) * missing, incumbent=incumbent)
    stop = Stop()
    assert _exit_code(found, stop) == code  # type: ignore[arg-type]
    stop.ask("SIGINT", 130)
    assert _exit_code(found, stop) == (130 if missing else code)  # type: ignore[arg-type]


@pytest.mark.soak
@pytest.mark.cluster
def test_a_driver_killed_again_and_again_trains_nothing_twice(
    tmp_path: Path, synthetic_folder: Path
) -> None:
    kills = int(os.environ.get("SOAK_KILLS", "4"))
    epochs, rng = 12, random.Random(kills)
    study = searched_study(tmp_path, synthetic_folder, epochs)
    log = tmp_path / "log.txt"
    command = [sys.executable, "-m", "search", "confirm", str(study), "--top", "1", "--seeds", "2"]

    def start() -> subprocess.Popen[bytes]:
        with open(log, "ab") as file:
            return subprocess.Popen(command, stdout=file, stderr=file)

    def trained() -> dict[str, list[str]]:
        found = {}
        for path in sorted(study.glob(f"{FOLDER}/runs/*/metrics.jsonl")):
            text = path.read_text(encoding="utf-8")
            found[path.parent.name] = text.splitlines() if text.endswith("\n") else []
        return found

    total = 4 * epochs
    for kill in range(kills):
        before, done = trained(), traces(study)
        driver = start()
        goal = rng.randint(total * kill // kills + 1, total * (kill + 1) // kills - 1)
        deadline = time.monotonic() + 240
        while sum(map(len, trained().values())) < goal:
            assert driver.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        time.sleep(1)  # its Ray dies with it
        after = trained()
        for name, lines in before.items():
            kept = max(0, len(lines) - 1)  # but for the epoch in flight
            assert after[name][:kept] == lines[:kept]
        assert {name: traces(study)[name] for name in done} == done

    done = traces(study)
    driver = start()
    assert driver.wait(timeout=400) == 0, log.read_text()
    end = traces(study)
    assert {name: end[name] for name in done} == done
    assert len(end) == 4
    for lines in trained().values():
        assert [json.loads(line)["epoch"] for line in lines] == list(range(1, epochs + 1))
    found = load_confirmation(study)
    assert found is not None
    assert found.incumbent is not None
    assert not list(study.glob(f"{FOLDER}/runs/*/failed.json"))
    assert run_folder(study, Run(1, 1)).is_dir()
