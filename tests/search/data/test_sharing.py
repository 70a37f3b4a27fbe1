"""Whether trials share a pipeline, and its actors on a real Ray: killed, begun again, ended."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.stores.prepare import prepare
from data_pipeline.streams.sharing import shared_dataset
from search.config.loading import config_from_tree
from search.data import sharing
from search.data.sharing import SharedPipeline, decide, shared_pipeline
from search.errors import RunError
from tests.epochs import epoch_of
from tests.search.managers import Log
from tests.search.tiny import tiny_tree

POLICY = AugmentConfig(preset="none")


def test_a_cluster_without_room_for_a_worker_is_an_error_of_the_run(ray_session: None) -> None:
    config = config_from_tree({"pipeline": {"sharing": "service", "cpus_per_worker": 64}})
    with pytest.raises(RunError, match="expected a node with 64 CPUs"):
        decide(config)


@pytest.fixture(scope="module")
def pipeline(
    ray_session: None, tmp_path_factory: pytest.TempPathFactory, synthetic_folder: Path
) -> Iterator[SharedPipeline]:
    tree = tiny_tree(tmp_path_factory.mktemp("sharing"), synthetic_folder)
    config = config_from_tree(tree | {"pipeline": {"sharing": "service"}})
    with shared_pipeline(config, prepare(config.data), Log()) as running:
        assert isinstance(running, SharedPipeline)
        yield running


def read(told: dict[str, Any], trainer: str) -> Iterator[Any]:
    stream = told.stream
    return iter(shared_dataset(stream, trainer, 4, most_requests=2))


def pid_of(actor: Any) -> int:
    return int(ray.get(actor.pid.remote(), timeout=60))


def await_another(actor: Any, pid: int) -> None:
    deadline = time.monotonic() + 60
    while pid_of(actor) == pid:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_trials_read_while_every_process_of_it_is_killed(pipeline: SharedPipeline) -> None:
    told = pipeline.of_trial(POLICY, "run/a")
    assert told is not None
    assert (told.trainer, told.most_requests) == ("run/a", 4)
    first, second = read(told, "a"), read(told, "b")
    for one, other in itertools.islice(zip(first, second, strict=True), 5):
        assert one[2].numpy().tolist() == other[2].numpy().tolist()

    dispatcher = pid_of(pipeline.dispatcher)
    os.kill(dispatcher, signal.SIGKILL)
    next(first)
    await_another(pipeline.dispatcher, dispatcher)

    ((worker,),) = pipeline.workers.values()
    before = pid_of(worker)
    os.kill(before, signal.SIGKILL)
    for _ in range(200):  # past what was on its way: from the worker that Ray has begun again
        next(first)
    await_another(worker, before)

    # The journal has kept the pipeline: who comes now reads it, too.
    again = pipeline.of_trial(POLICY, "run/c")
    assert again is not None
    assert again.stream == told.stream
    next(read(again, "c"))


def test_a_policy_that_cannot_be_had_is_said_once_and_trials_go_on(
    pipeline: SharedPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Log()
    monkeypatch.setattr(pipeline, "_observer", heard)
    monkeypatch.setattr(pipeline, "_rests_until", 0.0)
    impossible = AugmentConfig(preset="none", sampling="natural", oversample={"no such class": 2.0})
    assert [pipeline.of_trial(impossible, f"run/{n}") for n in range(2)] == [None, None]
    (said,) = heard.warnings
    assert "no such class" in said


def test_a_stream_that_trials_have_left_in_a_row_is_not_offered_for_a_while(
    pipeline: SharedPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Log()
    monkeypatch.setattr(pipeline, "_observer", heard)
    monkeypatch.setattr(pipeline, "_rests_until", 0.0)
    monkeypatch.setattr(pipeline, "_streams", {POLICY.model_dump_json(): {}})
    left = epoch_of(input={"source": "local", "trouble": "gave nothing for 60 s"})
    read = epoch_of(input={"source": "service", "trouble": None})
    for record in (left, read, left):
        pipeline.epoch_ended(record)
        assert pipeline.of_trial(POLICY, "run/a") is not None
    pipeline.epoch_ended(left)
    assert pipeline.of_trial(POLICY, "run/a") is None
    assert "gave nothing for 60 s" in heard.warnings[0]


def test_until_a_worker_has_started_trials_have_pipelines_of_their_own(
    ray_session: None, tmp_path: Path, synthetic_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "START_SECONDS", 0.1)
    config = config_from_tree(tiny_tree(tmp_path, synthetic_folder))
    heard = Log()
    with shared_pipeline(config, prepare(config.data), heard) as running:
        assert running.of_trial(POLICY, "run/a") is None
    assert "pipelines of their own" in heard.warnings[0]
