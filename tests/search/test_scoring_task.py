"""The end of a run: its models scored on the cluster, wherever the study is kept."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from results.evaluation import load_evaluations
from results.records import load_study
from results.tables import baselines_by_rank
from search import scoring_task
from search.cli import app
from search.config import ConfigError, StudyConfig
from search.runner import run_study
from search.scoring_task import score_at_end
from search.study_scoring import models_of
from tests.results.simulated_study import write_study
from tests.search.test_runner import Log
from tests.search.tiny import tiny_tree


@pytest.mark.cluster
def test_a_run_in_an_object_store_is_scored_at_its_end_and_later_by_the_command(
    ray_session: None, tmp_path: Path, synthetic_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    tree = tiny_tree(tmp_path, synthetic_folder, num_trials=3, pruner="none", score_at_end=True)
    tree["train"]["epochs"] = 1
    tree["study"]["storage_path"] = f"file://{tmp_path}/far"
    baseline = {"model.num_layers": 1, "model.base_filters": 2, "train.learning_rate": 0.01}
    tree["search"]["baselines"] = [{"name": "known", "params": baseline}]
    log = Log()
    config = StudyConfig.from_tree(tree)
    assert run_study(config, log).finished
    assert log.warnings == []

    study = load_study(tmp_path / "far" / "tiny")
    found, problems = load_evaluations(study.path)
    assert problems == ()
    assert {e.trial for e in found} == {0, study.incumbent.number}
    assert {e.resolution for e in found} == {"native"}
    # Images of the prepared size: the very counts that the trial's best epoch had.
    for one in found:
        record = study.trials[one.trial]
        assert one.epoch == record.best_epoch
        assert len(one.images) == len(set(one.images)) > 0
        assert one.pixels.tolist() == one.sizes.prod(axis=1).tolist()
    listed = json.loads((study.path / "evaluation" / "pictures.json").read_text())
    assert set(listed["models"]) == {e.name for e in found}
    assert (study.path / "evaluation" / "augmentation.jpg").is_file()
    assert (config.directory / "evaluation" / "pictures.json").is_file()  # the driver's copy

    other = next(n for n in range(3) if n not in {e.trial for e in found})
    url = f"file://{tmp_path}/far/tiny"
    monkeypatch.setattr("search.worker.set_up_process", lambda resources: None)
    made = CliRunner().invoke(app, ["score", url, "--trial", str(other)])
    assert made.exit_code == 0, made.output
    assert f"trial-{other:05d} scored on" in made.output
    assert len(load_evaluations(study.path)[0]) == len(found) + 1
    again = CliRunner().invoke(app, ["score", str(study.path), "--trial", str(other)])
    assert "nothing new to score" in again.output
    gone = ["score", str(study.path), "--split", "test", "--source", str(tmp_path / "gone")]
    monkeypatch.setattr("search.cli_review._prepared_before", lambda *_: _store_of(config))
    there = CliRunner().invoke(app, gone)
    assert there.exit_code == 0, there.output
    assert "has no untouched test split any more" in there.output.replace("\n", " ")
    assert "prepared size" in there.output
    _check_counts_of_the_best_epoch(study, "test")


def _store_of(config: StudyConfig) -> Any:
    from data_pipeline.prepare import prepare

    return prepare(config.data)


def _check_counts_of_the_best_epoch(study: Any, split: str) -> None:
    found = [e for e in load_evaluations(study.path)[0] if e.split == split]
    assert {e.resolution for e in found} == {"prepared"}
    assert all((e.sizes == 16).all() for e in found)


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


def _end(config: StudyConfig, log: Log, copy: Any = None, **book: Any) -> None:
    calm = {"stop": SimpleNamespace(reason=None), "hopeless": False}
    calm |= {"proposer": SimpleNamespace(stuck=None), **book}
    score_at_end(config, SimpleNamespace(**calm), None, None, log, copy)  # type: ignore[arg-type]


def test_a_finished_run_never_fails_by_its_scoring(
    tmp_path: Path, synthetic_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = StudyConfig.from_tree(tiny_tree(tmp_path, synthetic_folder, score_at_end=True))
    log = Log()
    _end(config, log, _Copy())
    _end(config, log)  # there is no study.yaml
    assert "not scored for the report: the store is out of reach" in log.warnings[0]
    assert f"do it by: flexunet-search score {config.directory}" in log.warnings[0]
    assert "study.yaml" in log.warnings[1]

    monkeypatch.setattr(scoring_task, "_to_score", lambda *_: pytest.fail("not asked for"))
    _end(config, log, stop=SimpleNamespace(reason="SIGINT"))
    _end(config, log, hopeless=True)
    _end(StudyConfig.from_tree(tiny_tree(tmp_path, synthetic_folder)), log)
    assert len(log.warnings) == 2
