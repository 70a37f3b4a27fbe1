"""TensorBoard and MLflow: written by real searches, read back by their own readers."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import msgspec
import pytest
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from results.records.epochs import Epoch
from results.records.study import StudyRecord, TrialRecord, load_study
from search.config.loading import config_from_tree
from search.config.schema import StudyConfig
from search.storage.epochs import scalars, unwritten
from search.study.opening import open_study
from search.tuning.logs import LoggedObserver, MlflowLog
from search.tuning.runner import run_study
from tests.search.managers import Log
from tests.search.nodes import Driver
from tests.search.postgres import free_port
from tests.search.simulated import SimulatedWorker, epoch_of
from tests.search.tiny import tiny_tree


def tree_of(folder: Path, source: Path) -> dict[str, Any]:
    tree = tiny_tree(folder, source, sampler="random", pruner="none", num_trials=3)
    tree["train"] |= {"epochs": 6, "learning_rate": {"float": [1e-4, 1e-2], "log": True}}
    tree["study"] |= {"tensorboard": True, "mlflow": f"file://{folder / 'mlruns'}"}
    return tree


@pytest.fixture(scope="module")
def studies(
    ray_session: None, synthetic_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[StudyConfig, StudyRecord]:
    """A study whose driver was killed in mid-run, finished by a second run."""
    folder = tmp_path_factory.mktemp("studies")
    tree = tree_of(folder, synthetic_folder)
    faults = {"1": {"fault": "raise", "epoch": 3, "times": 99}}
    driver = Driver(tree, folder).start(seconds=0.2, faults=faults)
    try:
        driver.until(lambda: sum(driver.epochs().values()) >= 5)
        driver.send(signal.SIGKILL)
        driver.wait()
    finally:
        driver.end()
    config = config_from_tree(tree)
    assert run_study(config, Log(), worker=SimulatedWorker).states == {"COMPLETE": 2, "FAIL": 1}
    return config, load_study(config.directory)


def events_of(study: StudyConfig, number: int) -> EventAccumulator:
    events = EventAccumulator(str(study.directory / "tensorboard" / f"{number:05d}"))
    return events.Reload()


def expected_steps(trial: TrialRecord) -> list[int]:
    return trial.curve.epoch.tolist()


@pytest.mark.cluster
def test_tensorboard_reads_every_epoch_and_the_hparams_with_the_value(
    studies: tuple[StudyConfig, StudyRecord],
) -> None:
    config, record = studies
    for trial in record.trials:
        events = events_of(config, trial.number)
        for name in ("loss/train", "loss/validation", "learning_rate", "objective", "dice/Crack"):
            steps = sorted({event.step for event in events.Scalars(name)})
            assert steps == expected_steps(trial), (trial.number, name)
        objective = {event.step: event.value for event in events.Scalars("objective")}
        assert [objective[e] for e in expected_steps(trial)] == pytest.approx(
            trial.curve.objective.tolist()
        )
        data = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        start = plugin_data_pb2.HParamsPluginData.FromString(data).session_start_info
        hparams = {k: v.number_value or v.string_value for k, v in start.hparams.items()}
        assert hparams.pop("state") == trial.state
        assert hparams == pytest.approx(dict(trial.params))
        assert events.Scalars("hparam/objective")[-1].value == pytest.approx(trial.value)


@pytest.mark.cluster
def test_mlflow_holds_one_run_a_trial_with_each_epoch_once(
    studies: tuple[StudyConfig, StudyRecord],
) -> None:
    config, record = studies
    client = MlflowClient(config.study.mlflow)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = {
        int(run.data.tags["flexunet_search.trial"]): run
        for run in client.search_runs([experiment.experiment_id])
    }
    assert len(client.search_runs([experiment.experiment_id])) == len(record.trials) == 3
    for trial in record.trials:
        run = runs[trial.number]
        for name in ("loss/train", "objective", "dice/Break"):
            history = client.get_metric_history(run.info.run_id, name)
            assert sorted(metric.step for metric in history) == expected_steps(trial)
        assert {k: float(v) for k, v in run.data.params.items()} == pytest.approx(
            dict(trial.params)
        )
        assert run.data.tags["state"] == trial.state
        assert run.info.status == ("FINISHED" if trial.state == "COMPLETE" else "FAILED")
        assert json.loads(run.data.tags["best_value"]) == trial.value
    assert "a defect" in runs[1].data.tags["reason"]


def test_a_run_that_a_killed_driver_has_left_without_parameters_gets_them(tmp_path: Path) -> None:
    uri = f"file://{tmp_path / 'mlruns'}"
    config = config_from_tree(
        {"study": {"name": "s", "storage_path": str(tmp_path), "mlflow": uri}}
    )
    killed, again = MlflowLog(config, "id"), MlflowLog(config, "id")
    killed._log_params = lambda run, params: None  # type: ignore[method-assign]
    killed.trial_started(0, {"train.learning_rate": 0.01}, None)
    again.trial_started(0, {"train.learning_rate": 0.01}, None)

    client = MlflowClient(uri)
    (run,) = client.search_runs([again._experiment_id()])
    assert run.data.params == {"train.learning_rate": "0.01"}


@pytest.mark.cluster
def test_logs_that_lack_trials_are_made_up_for_when_the_study_is_run_again(
    studies: tuple[StudyConfig, StudyRecord], tmp_path: Path
) -> None:
    config, record = studies
    tree = config.to_tree()
    tree["study"]["mlflow"] = f"file://{tmp_path / 'later'}"
    shutil.rmtree(config.directory / "tensorboard" / "00002")
    later = config_from_tree(tree)
    assert run_study(later, Log(), worker=SimulatedWorker).finished

    events = events_of(config, 2)
    assert [e.step for e in events.Scalars("objective")] == expected_steps(record.trials[2])
    client = MlflowClient(tree["study"]["mlflow"])
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED", "FINISHED"]
    assert run_study(later, Log(), worker=SimulatedWorker).finished
    assert len(client.search_runs([experiment.experiment_id])) == 3


@pytest.mark.cluster
def test_optuna_dashboard_opens_the_study_of_a_run(
    studies: tuple[StudyConfig, StudyRecord],
) -> None:
    config, record = studies
    port = free_port()
    journal = str(config.directory / "optuna.journal")
    server = subprocess.Popen(
        [sys.executable, "-c", "from optuna_dashboard._cli import main; main()", journal,
         "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        (summary,) = page(port, "/api/studies")["study_summaries"]
        detail = page(port, f"/api/studies/{summary['study_id']}")
    finally:
        server.terminate()
        server.wait(20)
    assert summary["study_name"] == "tiny"
    told = {trial.number: trial for trial in open_study(config).get_trials()}
    assert {shown["number"] for shown in detail["trials"]} == {t.number for t in record.trials}
    for shown, trial in zip(detail["trials"], record.trials, strict=True):
        assert shown["state"].upper() == trial.state
        if trial.state == "COMPLETE":
            assert shown["values"] == [trial.value]
        steps = {value["step"]: value["value"] for value in shown["intermediate_values"]}
        assert steps == told[trial.number].intermediate_values
        attributes = {item["key"]: item["value"] for item in shown["user_attrs"]}
        assert json.loads(attributes["best_epoch"]) == trial.best_epoch
        assert attributes.get("reason") == trial.reason
        assert {p["name"] for p in shown["params"]} == set(trial.params)


def page(port: int, path: str) -> dict[str, Any]:
    """What the dashboard's page asks for, as soon as the server answers."""
    end = time.monotonic() + 60
    while True:
        try:
            with urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
                return json.load(answer)  # type: ignore[no-any-return]
        except URLError:
            assert time.monotonic() < end
            time.sleep(0.2)


class Failing:
    """A log whose server has gone."""

    name = "MLflow"

    def __init__(self) -> None:
        self.told = 0

    def epoch_ended(self, number: int, epoch: Epoch) -> None:
        self.told += 1
        raise ConnectionError("http://user:secret@host refused")


def test_a_log_that_fails_is_warned_of_once_and_the_rest_is_told(tmp_path: Path) -> None:
    heard, failing = Log(), Failing()
    observer = LoggedObserver(heard, [failing], tmp_path)  # type: ignore[list-item]
    for epoch in (1, 2, 3):
        observer.epoch_ended(7, epoch_of(epoch, 0.5))
    observer.close()

    assert heard.epochs == [(7, 1), (7, 2), (7, 3)]
    assert failing.told == 1
    (warning,) = heard.warnings
    assert "MLflow is written no more" in warning
    assert "secret" not in warning


def test_epochs_that_a_killed_driver_did_not_hear_of_are_made_up_for(tmp_path: Path) -> None:
    lines = [epoch_of(epoch, 0.1 * epoch).line() for epoch in (1, 2, 3)]
    (tmp_path / "metrics.jsonl").write_text("".join(lines) + '{"epo', encoding="utf-8")

    def epochs(last: int, epoch: int) -> list[int]:
        return [each.epoch for each in unwritten(tmp_path, last, epoch_of(epoch, 0.4))]

    assert epochs(1, 4) == [2, 3, 4]
    assert epochs(3, 4) == [4]
    assert epochs(4, 4) == []


def test_undefined_numbers_are_left_out() -> None:
    dice = {"background": 1.0, "Crack": None}
    epoch = msgspec.structs.replace(
        epoch_of(1, 0.5), objective=None, train_loss=float("nan"), dice=dice
    )
    named = scalars(epoch)

    assert named["dice/background"] == 1.0
    assert not {"objective", "loss/train", "dice/Crack"} & named.keys()
