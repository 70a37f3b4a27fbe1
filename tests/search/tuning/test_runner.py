"""Whole studies on a real Ray, with real training."""

from __future__ import annotations

import json
import shutil
import socket
import time
from pathlib import Path

import pytest
import ray
import yaml
from optuna.trial import TrialState

from results.analysis.pareto import pareto_table
from results.exports.export import ExportOptions
from results.records.epochs import Epoch
from results.records.study import load_study
from search.config.errors import ConfigError
from search.config.loading import config_from_tree
from search.config.schema import StudyConfig
from search.errors import RunError
from search.inference.export import export_study
from search.process.resources import WorkerResources
from search.study.opening import open_study
from search.tuning.runner import RunSummary, run_study
from tests.search.managers import Log
from tests.search.simulated import SimulatedWorker
from tests.search.tiny import tiny_study, tiny_tree

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def study(
    ray_session: None, synthetic_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[StudyConfig, RunSummary, Log]:
    config = tiny_study(tmp_path_factory.mktemp("studies"), synthetic_folder, pruner="none")
    log = Log()
    return config, run_study(config, log), log


def test_a_study_ends_with_all_its_trials_told_and_recorded(
    study: tuple[StudyConfig, RunSummary, Log],
) -> None:
    config, summary, log = study
    assert summary.finished
    assert summary.states == {"COMPLETE": 3}
    assert sorted(log.started) == [0, 1, 2]
    assert set(log.epochs) == {(trial, epoch) for trial in range(3) for epoch in (1, 2, 3)}

    record = load_study(config.directory)
    for trial, told in zip(record.trials, open_study(config).get_trials(), strict=True):
        assert (trial.number, trial.state, trial.value) == (
            told.number,
            told.state.name,
            told.value,
        )
        assert dict(trial.params) == told.params
        assert len(told.intermediate_values) == 3
        assert trial.value == trial.curve.objective.max()
        assert (trial.path / "best.keras").exists()
        assert trial.cost is not None
        assert trial.cost.parameters > 0


def test_the_study_directory_says_what_was_run_on_what(
    study: tuple[StudyConfig, RunSummary, Log],
) -> None:
    config, _, _ = study
    record = yaml.safe_load((config.directory / "study.yaml").read_text())
    data = json.loads((config.directory / "data.json").read_text())

    assert config_from_tree(record["config"]) == config
    assert record["data_fingerprint"] == data["fingerprint"]
    assert record["versions"]["optuna"]
    assert not (config.directory / ".ray").exists()


def test_trials_share_worker_processes(study: tuple[StudyConfig, RunSummary, Log]) -> None:
    config, _, _ = study
    starts = [
        (config.directory / "trials" / f"{number:05d}" / "worker.log").read_text()
        for number in range(3)
    ]

    # Two slots, three trials: the third began in a process that had trained before.
    assert sum("process started" in text for text in starts) == 2


class SlowStarts(SimulatedWorker):
    """Takes its time to start in every process but the first."""

    def set_up_process(self, resources: WorkerResources) -> None:
        mark = self._directory.parent / "first"
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            time.sleep(4)


def test_workers_that_start_slowly_are_waited_for_while_others_end_trials(
    ray_session: None, synthetic_folder: Path, tmp_path: Path
) -> None:
    tree = tiny_tree(tmp_path, synthetic_folder, pruner="none", num_trials=14)
    (tmp_path / "simulated.json").write_text('{"seconds": 0.3}')
    summary = run_study(config_from_tree(tree), Log(), worker=SlowStarts)

    assert summary.states == {"COMPLETE": 14}
    logs = [p.read_text() for p in (tmp_path / "tiny" / "trials").glob("*/worker.log")]
    pids = [json.loads(p.read_text())["pid"] for p in (tmp_path / "tiny").rglob("worker.json")]
    # In Tune's order the quick one takes the trial of the slow one, which then begins anew.
    assert sum("process started" in text for text in logs) == 2
    assert len(set(pids)) == 2


def test_a_worker_that_has_grown_too_large_is_replaced_and_no_trial_is_lost(
    ray_session: None, synthetic_folder: Path, tmp_path: Path
) -> None:
    tree = tiny_tree(tmp_path, synthetic_folder, pruner="none")
    tree["resources"] |= {"worker_memory_limit_gb": 0.1, "max_concurrent": 1}
    summary = run_study(config_from_tree(tree), Log())

    assert summary.states == {"COMPLETE": 3}
    record = load_study(tmp_path / "tiny")
    assert all(trial.failures == () for trial in record.trials)
    logs = [(trial.path / "worker.log").read_text() for trial in record.trials]
    assert all("process started" in text for text in logs)


def test_running_a_finished_study_again_changes_nothing(
    study: tuple[StudyConfig, RunSummary, Log],
) -> None:
    config, before, _ = study
    log = Log()
    summary = run_study(config, log)

    assert summary.states == before.states
    assert log.started == []
    assert log.opened == [0, 1, 2]


def test_a_study_goes_on_with_more_trials_but_not_as_another_study(
    study: tuple[StudyConfig, RunSummary, Log], synthetic_folder: Path
) -> None:
    config, _, _ = study
    tree = config.to_tree()
    tree["train"]["epochs"] = 4
    tree["model"]["base_filters"] = {"choice": [2, 4, 8]}
    with pytest.raises(ConfigError) as caught:
        run_study(config_from_tree(tree), Log())
    assert "model.base_filters: expected {'choice': [2, 4]} as in the study" in str(caught.value)
    assert "train.epochs: expected 3 as in the study, received 4" in str(caught.value)

    tree = config.to_tree()
    tree["search"] |= {"num_trials": 5, "repeats_of_best": 1}
    summary = run_study(config_from_tree(tree), Log())
    assert summary.states == {"COMPLETE": 5}
    # The last of them trains the leading config again, with another seed.
    trials = load_study(config.directory).trials
    first = trials[trials[4].repeat_of or 0]
    assert [trial.repeat_of is None for trial in trials] == [True, True, True, True, False]
    assert trials[4].params == first.params
    assert trials[4].seed != first.seed


def test_failing_trials_leave_their_traceback_and_the_search_goes_on(
    ray_session: None, synthetic_folder: Path, tmp_path: Path
) -> None:
    tree = tiny_tree(tmp_path, synthetic_folder, pruner="none")
    config = config_from_tree(tree)
    in_the_way = config.directory / "trials" / "00001"
    in_the_way.mkdir(parents=True)
    # The second trial cannot write its model: a folder stands in the way.
    (in_the_way / "best.keras").mkdir()
    summary = run_study(config, Log())

    trials = load_study(config.directory).trials
    assert summary.states["FAIL"] >= 1
    assert summary.states["COMPLETE"] >= 1
    assert trials[1].state == "FAIL"
    assert "IsADirectoryError" in (trials[1].reason or "")
    assert "Traceback" in (in_the_way / "error.txt").read_text()


def test_asha_prunes_and_pruned_trials_keep_their_epochs(
    ray_session: None, synthetic_folder: Path, tmp_path: Path
) -> None:
    config = tiny_study(tmp_path, synthetic_folder, num_trials=6)
    run_study(config, Log())

    pruned = [t for t in open_study(config).get_trials() if t.state is TrialState.PRUNED]
    assert pruned
    for trial in pruned:
        assert 1 <= len(trial.intermediate_values) < 3


def test_trials_go_through_the_folds_and_are_pruned_between_them(
    ray_session: None, undivided_folder: Path, tmp_path: Path
) -> None:
    tree = tiny_tree(tmp_path, undivided_folder, folds=3, num_trials=5, grace_epochs=2)
    tree["data"]["image_size"] = 32
    tree["train"]["epochs"] = 2
    config = config_from_tree(tree)
    run_study(config, Log())

    study = load_study(config.directory)
    assert [trial.state for trial in study.trials].count("COMPLETE") >= 1
    assert "PRUNED" in {trial.state for trial in study.trials}
    for trial in study.trials:
        folds = trial.curve.fold_values()
        if trial.state == "COMPLETE":
            assert (len(trial.curve), len(folds)) == (study.planned_epochs(trial), 3)
        else:  # rungs after 2 and 4 epochs, the ends of folds
            assert len(trial.curve) in (2, 4)
            assert len(folds) == len(trial.curve) // 2
        row = trial.best_row
        assert row is not None
        assert trial.value == pytest.approx(trial.curve.objective[row])
        assert trial.curve.fold[row] == len(folds) - 1
        left = [path.name for path in trial.path.rglob("*.npz")]
        assert left == [], "checkpoints"
    best = study.incumbent
    assert best is not None
    assert best.fold_words().startswith("over 3 folds, alone 0.")
    assert run_study(config, Log()).finished

    # Its models, one a fold, become one, scored on the images that none of them has seen.
    exported = export_study(config.directory, tmp_path / "best", ExportOptions(ensemble="folds"))
    ensemble = exported.ensemble
    assert ensemble is not None
    assert [member.trial for member in ensemble.members] == [best.number] * 3
    assert len(ensemble.scores) == 4
    assert "on the test split, which no fold trains" in ensemble.measured


def test_limits_several_objectives_and_what_an_earlier_study_knew(
    ray_session: None, synthetic_folder: Path, tmp_path: Path
) -> None:
    search = {"minimize": ["parameters", "latency_ms"], "max_parameters": 100, "pruner": "none"}
    tree = tiny_tree(tmp_path, synthetic_folder, **search)
    tree["train"]["epochs"] = 1
    first = run_study(config_from_tree(tree), Log())
    front = pareto_table(load_study(first.directory))

    assert first.states == {"COMPLETE": 3}
    assert any("refused" in note and "by max_parameters" in note for note in first.notes)
    assert (front["parameters"] <= 100).all()
    assert (front["latency_ms"] > 0).all()
    assert front["front"].any()

    tree["study"]["name"] = "later"
    tree["search"]["num_trials"] = 1
    later = config_from_tree(tree).learning_from([first.directory])
    for added in (3, 0):
        summary = run_study(later, Log())
        assert f"3 trials of earlier studies, {added} of them new" in summary.notes
        assert summary.states == {"COMPLETE": 1}
    (trial,) = load_study(summary.directory).trials
    assert trial.number >= 3  # those of the first study come before it


def test_a_limit_that_nothing_keeps_stops_the_run_with_its_name(
    ray_session: None, synthetic_folder: Path, tmp_path: Path
) -> None:
    config = tiny_study(tmp_path, synthetic_folder, max_parameters=1, sampler="random")
    with pytest.raises(RunError, match="100 by max_parameters"):
        run_study(config, Log())


class Lingering(Log):
    """Holds the driver back at a trial's third epoch until a time: Tune asks for no further one."""

    def __init__(self, until: float) -> None:
        super().__init__()
        self.until = until

    def epoch_ended(self, number: int, epoch: Epoch) -> None:
        super().epoch_ended(number, epoch)
        if epoch.epoch >= 3:
            time.sleep(max(0.0, self.until - time.time()))


def test_the_time_budget_leaves_trials_that_a_further_run_finishes(
    ray_session: None, synthetic_folder: Path, tmp_path: Path
) -> None:
    tree = tiny_tree(tmp_path, synthetic_folder, num_trials=2, pruner="none")
    tree["train"] |= {"epochs": 20}
    tree["search"]["time_budget_minutes"] = 0.25
    summary = run_study(config_from_tree(tree), Lingering(time.time() + 16))
    assert not summary.finished
    assert summary.states == {"RUNNING": 2}
    before = [len(trial.curve) for trial in load_study(tmp_path / "tiny").trials]

    tree["search"]["time_budget_minutes"] = None
    log = Log()
    summary = run_study(config_from_tree(tree), log)
    assert summary.states == {"COMPLETE": 2}
    assert sorted(log.started) == [0, 1]
    for number in (0, 1):
        continued = [epoch for trial, epoch in log.epochs if trial == number]
        # One more where the worker was stopped between its checkpoint and its line.
        assert min(continued) - before[number] in (1, 2)
        assert max(continued) == 20


def test_a_trial_that_fits_on_no_node_is_refused(
    ray_session: None, synthetic_folder: Path, tmp_path: Path
) -> None:
    tree = tiny_tree(tmp_path, synthetic_folder)
    tree["resources"]["cpus_per_trial"] = 64
    with pytest.raises(RunError, match=r"expected a node with \{'CPU': 64.0\}"):
        run_study(config_from_tree(tree), Log())


def test_leaking_splits_are_said_at_the_start(
    ray_session: None, synthetic_folder: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(synthetic_folder, data)
    image = next((data / "train" / "images").iterdir())
    mask = data / "train" / "masks" / f"{image.stem}.png"
    for path in (image, mask):
        shutil.copy(path, data / "valid" / path.parent.name / f"copy_{path.name}")
    log = Log()
    run_study(tiny_study(tmp_path, data, num_trials=1), log)

    assert any("the splits leak" in warning for warning in log.warnings)


def test_ray_listens_on_loopback_alone(ray_session: None) -> None:
    (node,) = ray.nodes()
    assert node["NodeManagerAddress"] == "127.0.0.1"

    host, port = ray.get_runtime_context().gcs_address.split(":")
    socket.create_connection((host, int(port)), timeout=5).close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))  # sends nothing: tells the machine's own address
        except OSError:
            pytest.skip("this machine has no address but loopback")
        own = probe.getsockname()[0]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((own, int(port)), timeout=5)
