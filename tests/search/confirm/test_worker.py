from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.config.loading import config_from_tree
from search.confirm.worker import BEGUN, SCORING, ConfirmationJob, Ended, train_and_score
from search.data.store_transfer import StoreTransferError
from search.errors import SupersededError
from search.process.resources import WorkerResources
from tests.epochs import epoch_of
from tests.search.tiny import PARAMS


@pytest.fixture
def job(tmp_path: Path) -> ConfirmationJob:
    (tmp_path / "study.yaml").write_text("format: 1\n")
    folder = tmp_path / "confirm" / "runs" / "trial-00001-seed-0"
    folder.mkdir(parents=True)
    return ConfirmationJob(
        name=folder.name,
        trial=1,
        seed=0,
        fold=None,
        config=config_from_tree({}).at(PARAMS),
        store=tmp_path / "store",
        split="test",
        flips="none",
        study=tmp_path,
        folder=folder,
        owner="me",
        resources=WorkerResources(cpus=1),
    )


def ends(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def work(*_: Any) -> Ended:
        raise error

    monkeypatch.setattr("search.confirm.worker._work", work)


def test_a_training_says_where_it_is_and_who_trains(
    job: ConfirmationJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.confirm.worker._work", lambda *_: Ended())
    assert train_and_score(job) == Ended()
    begun = json.loads(Path(job.folder, BEGUN).read_text())
    assert begun["owner"] == "me"
    assert begun["pid"]


@pytest.mark.parametrize(
    ("error", "ended"),
    [
        (lambda: ValueError("a bad\nvalue"), Ended(failed="ValueError: a bad")),
        (lambda: MemoryError("all of it"), Ended(failed="out of memory: all of it")),
        (lambda: StoreTransferError("no room"), Ended(lost="no room")),
        (lambda: SupersededError("another's"), Ended(lost="another's")),
        (
            lambda: OSError(errno.ENOSPC, "No space left on device"),
            Ended(trouble="the storage is full (No space left on device)"),
        ),
    ],
)
def test_what_is_raised_becomes_a_failure_a_loss_or_trouble(
    job: ConfirmationJob,
    monkeypatch: pytest.MonkeyPatch,
    error: Callable[[], Exception],
    ended: Ended,
) -> None:
    ends(monkeypatch, error())
    assert train_and_score(job) == ended
    told = Path(job.folder, "error.txt")
    assert told.exists() == (ended.failed is not None)


def test_what_fails_while_it_is_scored_is_told_from_training(
    job: ConfirmationJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = SimpleNamespace(done=True, best=epoch_of(), close=lambda: None)
    monkeypatch.setattr("search.training.trial_run.TrialRun", lambda *_, **__: run)
    store = SimpleNamespace(image_shape=(128, 128, 1))
    monkeypatch.setattr("data_pipeline.stores.store.Store.open", lambda path: store)
    for name in ("set_up_process", "store_here"):
        monkeypatch.setattr(f"search.confirm.worker.{name}", lambda _: None)
    windows = {"patch_size": 64, "preset": "none"}
    config = config_from_tree({"augment": windows, "train": {"batch_size": 4}}).at(PARAMS, 0)
    beats: list[bool] = []

    def score_model(*_: Any, beat: Callable[[], None], batch_size: int, **__: Any) -> None:
        # Windows are trained on in batches that as many whole images would be too large for.
        assert batch_size == 2
        Path(job.folder, SCORING).unlink()
        beat()
        beats.append(Path(job.folder, SCORING).exists())
        raise ValueError("the source is gone")

    monkeypatch.setattr("search.scoring.model.score_model", score_model)
    ended = train_and_score(replace(job, config=config))
    assert ended.scoring
    assert "the source is gone" in str(ended.failed)
    assert beats == [True]


def test_a_study_that_is_gone_is_trouble_and_no_failure(job: ConfirmationJob) -> None:
    Path(job.study, "study.yaml").unlink()
    ended = train_and_score(job)
    assert ended.failed is None
    assert "is gone" in str(ended.trouble)
    assert not Path(job.folder, "error.txt").exists()
