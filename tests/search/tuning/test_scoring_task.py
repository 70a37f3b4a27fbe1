"""The end of a run: its models scored on the cluster, wherever the study is kept."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from results.analysis.baselines import baselines_by_rank
from results.records.evaluation import load_evaluations, of_trial
from results.records.study import load_study
from search.cli.main import app
from search.config.errors import ConfigError
from search.config.loading import config_from_tree
from search.config.schema import StudyConfig
from search.process.stop import Stop
from search.scoring.study import models_of
from search.tuning import scoring_task, scoring_worker
from search.tuning.runner import run_study
from search.tuning.scoring_task import NotScoredError, _expect, _largest, _notes, score_at_end
from search.tuning.scoring_worker import _own_copy, beating
from tests.results.simulated_study import write_study
from tests.search.managers import Log
from tests.search.tiny import tiny_tree


@pytest.mark.soak
@pytest.mark.cluster
def test_a_run_in_an_object_store_is_scored_at_its_end_and_later_by_the_command(
    ray_session: None, tmp_path: Path, synthetic_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    source = shutil.copytree(synthetic_folder, tmp_path / "data")
    tree = tiny_tree(tmp_path, source, num_trials=2, pruner="none", score_at_end=True)
    tree["search"]["score_flips"] = "horizontal"
    tree["train"]["epochs"] = 1
    tree["study"]["storage_path"] = f"file://{tmp_path}/far"
    log = Log()
    config = config_from_tree(tree)
    assert run_study(config, log).finished
    assert log.warnings == []
    (mirrored,), _ = load_evaluations(tmp_path / "far" / "tiny")
    assert mirrored.flips == "horizontal"
    # Run again without mirror images, the finished study is scored anew.
    tree["search"]["score_flips"] = "none"
    assert run_study(config_from_tree(tree), log).finished
    assert log.warnings == []

    study = load_study(tmp_path / "far" / "tiny")
    best = study.incumbent
    (found,), problems = load_evaluations(study.path)
    assert problems == ()
    assert (found.trial, found.epoch, found.resolution) == (best.number, 1, "native")
    assert found.flips == "none"
    assert found.pixels.tolist() == found.sizes.prod(axis=1).tolist()
    listed = json.loads((study.path / "evaluation" / "pictures.json").read_text())
    assert set(listed["models"]) == {found.name}
    assert (study.path / "evaluation" / "augmentation.jpg").is_file()
    assert (config.directory / "evaluation" / "pictures.json").is_file()  # the driver's copy

    # Later, by its URL, and then without the images: the counts that the trial's epoch had.
    monkeypatch.setattr("search.process.setup.set_up_process", lambda resources: None)
    other = 1 - best.number
    url = f"file://{tmp_path}/far/tiny"
    text = call("score", url, "--trial", other)
    assert f"trial-{other:05d} scored on {len(found.images)} images, native size" in text
    assert len(load_evaluations(study.path)[0]) == 2
    assert "nothing new to score" in call("score", study.path, "--trial", other)
    source.rename(tmp_path / "elsewhere")
    (study.path / "evaluation" / f"valid-trial-{other:05d}.npz").unlink()
    text = call("score", study.path, "--trial", other)
    assert "scored at the size of the prepared data" in text
    assert "data: expected a folder (data.source), found none" in text
    again = of_trial(load_evaluations(study.path)[0], other)
    record = study.trials[other]
    np.testing.assert_array_equal(again.counts.sum(axis=0), record.curve.counts[record.best_row])

    # Only what is to be used at the end, and says so.
    text = call("score", study.path, "--split", "test", "--source", tmp_path / "elsewhere")
    assert "has no untouched test split any more" in text
    assert of_trial(load_evaluations(study.path)[0], best.number, "test").resolution == "native"


def call(*arguments: Any) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def test_the_incumbent_comes_first_then_baselines_then_those_asked_for(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path / "study"))
    best, known = study.incumbent.number, [t.number for t in baselines_by_rank(study)][:4]
    assert best not in known
    other = next(t.number for t in study.trials if t.number not in (best, *known))
    have = {best, other, *known[1:]}

    def numbers(*asked: int) -> list[int]:
        return [m.trial.number for m in models_of(study, asked, lambda t: t.number in have)]

    assert numbers() == [best, *known[1:]]
    assert numbers(other, best) == [best, *known[1:], other]
    with pytest.raises(ConfigError, match=r"--trial 99999: expected a trial with a") as caught:
        numbers(other, known[0], 99999)
    assert len(caught.value.problems) == 2
    assert models_of(study, has_model=lambda trial: False) == []
    model = models_of(study, has_model=lambda trial: True)[0]
    assert model.place("valid") == f"evaluation/valid-trial-{best:05d}.npz"
    assert model.epoch == study.incumbent.best_epoch


class _Copy:
    def push(self) -> None:
        raise OSError("the store is out of reach")

    def refresh(self) -> None:
        """Not reached."""


def _end(config: StudyConfig, log: Log, copy: Any = None, **manager: Any) -> None:
    calm = {"stop": SimpleNamespace(reason=None), "no_progress": False}
    calm |= {"proposer": SimpleNamespace(stuck=None), **manager}
    standby = scoring_task.Standby(config)
    score_at_end(config, SimpleNamespace(**calm), None, None, log, copy, standby)  # type: ignore[arg-type]


def test_a_finished_run_never_fails_by_its_scoring(
    tmp_path: Path, synthetic_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_from_tree(tiny_tree(tmp_path, synthetic_folder, score_at_end=True))
    log = Log()
    _end(config, log, _Copy())
    _end(config, log)  # there is no study.yaml
    assert "not scored for the report: the store is out of reach" in log.warnings[0]
    assert f"do it by: flexunet-search score {config.directory}" in log.warnings[0]
    assert "study.yaml" in log.warnings[1]

    monkeypatch.setattr(scoring_task, "_to_score", lambda *_: pytest.fail("not asked for"))
    _end(config, log, stop=SimpleNamespace(reason="SIGINT"))
    _end(config, log, no_progress=True)
    _end(config_from_tree(tiny_tree(tmp_path, synthetic_folder)), log)
    assert len(log.warnings) == 2


def _hangs() -> Any:
    yield "begun"
    time.sleep(600)


def _never(*_: Any) -> Any:
    yield


@pytest.mark.cluster
def test_a_cluster_without_room_and_a_run_that_is_to_end_are_not_waited_for(
    ray_session: None,
) -> None:
    import ray

    task = ray.remote(_never).options(num_cpus=99, num_returns="streaming")
    calm, asked = Stop(), Stop()
    asked.ask("SIGTERM")
    with pytest.raises(NotScoredError, match=r"no room for it within 0.1 s"):
        _expect(task.remote(), calm, 0.1)
    with pytest.raises(NotScoredError, match=r"SIGTERM"):
        _expect(task.remote(), asked, 60)
    hanging = ray.remote(_hangs).options(num_cpus=0, num_returns="streaming").remote()
    with pytest.raises(NotScoredError, match=r"said nothing for 5 s"):
        _notes(hanging, calm, 5)
    ray.cancel(hanging, force=True)


@pytest.mark.cluster
def test_a_process_stands_by_once_and_scores_when_it_is_asked(
    ray_session: None, tmp_path: Path, synthetic_folder: Path
) -> None:
    import ray

    config = config_from_tree(tiny_tree(tmp_path, synthetic_folder, score_at_end=True))
    standby = scoring_task.Standby(config)
    standby.start()
    worker = standby.take()
    standby.start()
    assert standby.take() is None, "once"
    said = worker.score.options(num_returns="streaming").remote(config.to_tree(), str(tmp_path))
    assert ray.get(next(said)) == scoring_worker.BEGUN
    ray.kill(worker)


@pytest.mark.cluster
@pytest.mark.parametrize("why", ["not to be scored", "a cluster of others", "memory is short"])
def test_no_process_stands_by_where_it_is_not_wanted_or_would_be_in_the_way(
    why: str,
    ray_session: None,
    tmp_path: Path,
    synthetic_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tree = tiny_tree(tmp_path, synthetic_folder, score_at_end=why != "not to be scored")
    if why == "a cluster of others":
        tree["resources"]["ray_address"] = "auto"
    if why == "memory is short":
        monkeypatch.setattr(scoring_task, "free_memory", lambda: 1e9)
    standby = scoring_task.Standby(config_from_tree(tree))

    standby.start()

    assert standby.take() is None


class _Scorer:
    def score(self, tree: Any, store: str) -> Any:
        yield scoring_worker.BEGUN
        yield ["a note"]


@pytest.mark.cluster
def test_a_process_that_stood_by_and_died_has_a_successor(
    ray_session: None, tmp_path: Path, synthetic_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    config = config_from_tree(tiny_tree(tmp_path, synthetic_folder))
    scorer = ray.remote(_Scorer).options(num_cpus=0)
    standby = scoring_task.Standby(config)
    standby._worker = scorer.remote()
    ray.kill(standby._worker)
    monkeypatch.setattr(scoring_task, "_worker", lambda *_: scorer.remote())
    freed: list[str] = []
    capacity: Any = SimpleNamespace(free=freed.append)
    store: Any = SimpleNamespace(path=tmp_path)

    assert scoring_task._scored(config, [], store, capacity, Stop(), standby) == ["a note"]
    assert freed == ["scoring"]


def test_the_scoring_beats_while_it_goes_on_and_raises_what_went_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work(beat: Callable[[], None]) -> list[str]:
        beat()
        beat()
        return ["a note"]

    assert list(beating(work)) == ["beat", ["a note"]]  # the second came too soon
    monkeypatch.setattr(scoring_worker, "BEAT_SECONDS", 0.0)
    assert list(beating(work)) == ["beat", "beat", ["a note"]]
    with pytest.raises(ZeroDivisionError):
        list(beating(lambda beat: 1 // 0))


def test_the_task_has_room_for_the_largest_model() -> None:
    bundles = {1: {"CPU": 1, "GPU": 0.25}, 2: {"CPU": 1, "GPU": 0.5}, 3: {"CPU": 4}}
    taken: list[str] = []

    def place(name: str, constants: int) -> dict[str, float]:
        assert not taken
        taken.append(name)
        return bundles[constants]

    capacity: Any = SimpleNamespace(place=place, free=taken.remove)
    config: Any = SimpleNamespace(at=lambda params: params["size"])
    models: Any = [SimpleNamespace(trial=SimpleNamespace(params={"size": n})) for n in bundles]
    assert _largest(config, models, capacity) == 2
    assert not taken


def test_the_copy_of_a_study_is_dropped_when_it_is_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetched(_: Any, copy: Path) -> None:
        copy.mkdir(parents=True)
        (copy / "best.keras").touch()

    monkeypatch.setattr(scoring_worker, "_fetch_scored", fetched)
    study = SimpleNamespace(storage_path="s3://b/p", name="tiny", cache_path=tmp_path)
    config: Any = SimpleNamespace(study=study, origin="s3://b/p/tiny")
    with _own_copy(config) as copy:
        assert (copy / "best.keras").is_file()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
