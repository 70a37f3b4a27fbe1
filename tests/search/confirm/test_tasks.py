"""The queue's decisions, on a Ray that runs each task where it is handed out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from model.processor import Processor
from results.analysis.confirmation import FAILED, RUNS, Run, failure_of, run_folder
from results.records.epochs import Epoch
from search.config.loading import config_from_tree
from search.config.trial import TrialConfig
from search.confirm.tasks import Place, TrainingQueue, _Live
from search.confirm.worker import BEGUN, SCORING, ConfirmationJob, Ended
from search.process.stop import Stop
from tests.epochs import epoch_of
from tests.search.tiny import PARAMS

CONFIG = config_from_tree({"resources": {"max_failures": 1, "trial_timeout_minutes": None}})


class Calls:
    """An observer that notes what it is told."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def opened(self, epochs: Mapping[Run, int], ended: Sequence[Run]) -> None:
        self.said.append(("opened", len(epochs)))

    def started(self, run: Run) -> None:
        self.said.append(("started", run.name))

    def epoch_ended(self, run: Run, epoch: Epoch) -> None:
        self.said.append(("epoch", run.name, epoch.epoch))

    def ended(self, run: Run, failed: str | None) -> None:
        self.said.append(("ended", run.name, failed))

    def warn(self, message: str) -> None:
        self.said.append(("warn", message))

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        return [said[1:] for said in self.said if said[0] == kind]


class Room:
    """A cluster with room for so many at once; may have more memory to give."""

    def __init__(self, most: int = 2, grows: bool = False) -> None:
        self.most = most
        self.running: set[str] = set()
        self.factors: list[float] = []
        self.learned: list[tuple[TrialConfig, int]] = []
        self._grows = grows

    def __call__(self) -> int:
        return len(self.running) + (len(self.running) < self.most)

    def place(self, name: str, config: TrialConfig, factor: float = 1.0) -> dict[str, float]:
        self.running.add(name)
        self.factors.append(factor)
        return {"CPU": 1.0, "memory": factor}

    def free(self, name: str) -> None:
        self.running.remove(name)

    def can_grow(self, config: TrialConfig) -> bool:
        return self._grows

    def learn(self, config: TrialConfig, epoch: Epoch) -> None:
        self.learned.append((config, epoch.epoch))

    def processors(self) -> set[Processor]:
        return set()


class InPlace:
    """Ray as far as a queue uses it: a task runs as it is handed out, and has ended at once."""

    exceptions = ray.exceptions

    def __init__(self) -> None:
        self.cancelled: list[Any] = []

    def remote(self, **options: Any) -> Callable[[Any], Any]:
        return lambda work: SimpleNamespace(
            options=lambda name: SimpleNamespace(remote=lambda job: _Reference(work, job))
        )

    def wait(self, references: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        ready = [each for each in references if not each.hangs]
        return ready, [each for each in references if each.hangs]

    def get(self, reference: Any) -> Any:
        if isinstance(reference.result, Exception):
            raise reference.result
        return reference.result

    def cancel(self, reference: Any, force: bool) -> None:
        assert force
        self.cancelled.append(reference)


class _Reference:
    def __init__(self, work: Callable[[ConfirmationJob], Any], job: ConfirmationJob) -> None:
        self.result = work(job)
        self.hangs = self.result is None


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> InPlace:
    fake = InPlace()
    monkeypatch.setattr("search.confirm.tasks.ray", fake)
    monkeypatch.setattr("search.confirm.tasks.POLL_SECONDS", 0.0)
    return fake


RUNS_OF_TWO = (Run(3, 0), Run(7, 0), Run(3, 1))


def queue_of(folder: Path, work: Any, **options: Any) -> tuple[TrainingQueue, Calls, Room]:
    (folder / "confirm" / RUNS).mkdir(parents=True, exist_ok=True)
    config = options.pop("config", CONFIG)
    place = Place(folder, config, "test", "none", {None: folder / "store"})
    configs = {run: config.at(PARAMS, run.seed) for run in RUNS_OF_TWO}
    calls, room = Calls(), options.pop("room", Room())
    stop = options.pop("stop", Stop())
    return TrainingQueue(place, configs, room, calls, stop, work, **options), calls, room


def write_epochs(job: ConfirmationJob, count: int) -> None:
    lines = [epoch_of(n + 1, objective=0.1).line() for n in range(count)]
    Path(job.folder, "metrics.jsonl").write_text("".join(lines), encoding="utf-8")


def test_trainings_are_handed_out_in_order_and_told(tmp_path: Path, cluster: InPlace) -> None:
    jobs: list[ConfirmationJob] = []

    def work(job: ConfirmationJob) -> Ended:
        jobs.append(job)
        write_epochs(job, 2)
        return Ended()

    queue, calls, room = queue_of(tmp_path, work)
    queue.run(RUNS_OF_TWO)
    assert [job.name for job in jobs] == [run.name for run in RUNS_OF_TWO]
    assert [(job.trial, job.seed, job.fold, job.split) for job in jobs][1] == (7, 0, None, "test")
    assert jobs[2].config.seed == 1
    assert len({job.owner for job in jobs}) == 3
    assert calls.of("epoch")[:2] == [(jobs[0].name, 1), (jobs[0].name, 2)]
    assert calls.of("ended") == [(run.name, None) for run in RUNS_OF_TWO]
    assert [epoch for _, epoch in room.learned] == [1, 2] * 3
    assert room.running == set()
    assert queue.no_progress is None


def test_a_lost_worker_is_tried_again_under_another_name_and_given_up_in_the_end(
    tmp_path: Path, cluster: InPlace
) -> None:
    owners: list[str] = []

    def work(job: ConfirmationJob) -> Any:
        if job.trial != 7:
            return Ended()
        owners.append(job.owner)
        # One epoch more until the third attempt: what makes progress is no failure in a row.
        write_epochs(job, min(len(owners), 3))
        return ray.exceptions.WorkerCrashedError()

    queue, calls, _ = queue_of(tmp_path, work)
    queue.run(RUNS_OF_TWO)
    assert len(owners) == len(set(owners)) == 4
    (failed,) = [end for end in calls.of("ended") if end[1]]
    assert failed[0] == Run(7, 0).name
    assert failed[1] == "its worker process died; failure 2 in a row after epoch 3"
    assert failure_of(run_folder(tmp_path, Run(7, 0))) == failed[1]
    assert "it goes on after epoch 1 (failure 1, 1 are allowed in a row)" in calls.of("warn")[0][0]


def test_out_of_memory_is_tried_once_with_a_larger_share(tmp_path: Path, cluster: InPlace) -> None:
    def work(job: ConfirmationJob) -> Any:
        if job.trial == 3:
            return Ended()
        return ray.exceptions.OutOfMemoryError(
            "Task was killed due to the node running low on memory"
        )

    queue, calls, room = queue_of(tmp_path, work, room=Room(grows=True))
    queue.run(RUNS_OF_TWO)
    assert sorted(room.factors) == [1.0, 1.0, 1.0, 2.0]
    (failed,) = [end for end in calls.of("ended") if end[1]]
    assert failed[1].startswith("out of memory")
    assert (run_folder(tmp_path, Run(7, 0)) / FAILED).exists()


def test_a_failure_is_written_down_and_the_rest_goes_on(tmp_path: Path, cluster: InPlace) -> None:
    def work(job: ConfirmationJob) -> Ended:
        return Ended(failed="NonFiniteLoss: nan") if job.seed == 0 else Ended()

    queue, calls, _ = queue_of(tmp_path, work)
    queue.run(RUNS_OF_TWO)
    # Not known to be theirs until the last one trains, they are not lost for that.
    assert failure_of(run_folder(tmp_path, Run(3, 0))) == "NonFiniteLoss: nan"
    assert failure_of(run_folder(tmp_path, Run(7, 0))) == "NonFiniteLoss: nan"
    assert failure_of(run_folder(tmp_path, Run(3, 1))) is None
    assert queue.no_progress is None
    assert len(calls.of("ended")) == 3


def test_where_nothing_trains_at_all_nothing_is_written_off(
    tmp_path: Path, cluster: InPlace
) -> None:
    def work(job: ConfirmationJob) -> Ended:
        return Ended(failed="ImportError: no tensorflow")

    queue, _, _ = queue_of(tmp_path, work)
    queue.run(RUNS_OF_TWO)
    assert queue.no_progress is not None
    assert "ImportError: no tensorflow" in queue.no_progress
    assert [run for run in RUNS_OF_TWO if failure_of(run_folder(tmp_path, run))] == []

    # Where others have trained before, it is the training's own failure.
    queue, _, _ = queue_of(tmp_path, work, any_epoch=True)
    queue.run(RUNS_OF_TWO[:1])
    assert queue.no_progress is None
    assert failure_of(run_folder(tmp_path, Run(3, 0))) == "ImportError: no tensorflow"


def test_one_bad_config_among_others_is_not_hopeless(tmp_path: Path, cluster: InPlace) -> None:
    def work(job: ConfirmationJob) -> Ended:
        return Ended() if job.trial == 7 else Ended(failed="ValueError: a bad config")

    bad = [Run(3, 0, fold) for fold in range(4)]
    queue, _, _ = queue_of(tmp_path, work, room=Room(1))
    queue._place = Place(
        tmp_path, CONFIG, "test", "none", dict.fromkeys((None, 0, 1, 2, 3), tmp_path)
    )
    queue._configs = {run: CONFIG.at(PARAMS, 0) for run in (*bad, Run(7, 0))}
    queue.run([*bad, Run(7, 0)])
    assert queue.no_progress is None
    assert all(failure_of(run_folder(tmp_path, run)) for run in bad)


def test_what_failed_before_the_user_ended_it_is_not_called_hopeless(
    tmp_path: Path, cluster: InPlace
) -> None:
    stop = Stop()

    def work(job: ConfirmationJob) -> Ended:
        stop.ask("SIGINT", 130)
        return Ended(failed="ImportError: no tensorflow")

    queue, _, _ = queue_of(tmp_path, work, stop=stop)
    queue.run(RUNS_OF_TWO)
    assert queue.no_progress is None
    assert failure_of(run_folder(tmp_path, RUNS_OF_TWO[0])) is None  # tried again next time


def test_storage_in_trouble_ends_the_run(tmp_path: Path, cluster: InPlace) -> None:
    def work(job: ConfirmationJob) -> Ended:
        return Ended(trouble="the storage is full") if job.trial == 7 else Ended()

    stop = Stop()
    queue, calls, _ = queue_of(tmp_path, work, stop=stop)
    queue.run(RUNS_OF_TWO)
    assert queue.trouble == "the storage is full"
    assert stop.exit_code == 75
    assert len(calls.of("started")) == 2


def test_the_end_waits_for_epochs_in_flight_and_cancels_what_is_left(
    tmp_path: Path, cluster: InPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = Stop(grace=60)
    jobs: list[ConfirmationJob] = []
    polls: list[int] = []

    def work(job: ConfirmationJob) -> None:
        jobs.append(job)
        Path(job.folder, BEGUN).write_text(json.dumps({"owner": job.owner}), encoding="utf-8")

    def wait(references: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        polls.append(len(polls))
        assert len(polls) < 20
        if len(polls) == 2:
            stop.ask("SIGINT", 130, grace=True)
        if len(polls) == 4:
            write_epochs(jobs[0], 1)
        if len(polls) == 6:
            write_epochs(jobs[1], 1)
        return [], references

    monkeypatch.setattr(cluster, "wait", wait)
    queue, calls, _ = queue_of(tmp_path, work, stop=stop)
    queue.run(RUNS_OF_TWO)
    assert len(polls) == 6
    assert len(calls.of("epoch")) == 2
    assert len(jobs) == 2  # nothing was begun any more
    assert len(cluster.cancelled) == 2


def test_a_training_that_hangs_is_killed_and_goes_on(
    tmp_path: Path, cluster: InPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung: list[ConfirmationJob] = []

    def work(job: ConfirmationJob) -> Ended | None:
        Path(job.folder, BEGUN).write_text(json.dumps({"owner": job.owner}), encoding="utf-8")
        if job.trial == 7 and not hung:
            hung.append(job)
            return None
        return Ended()

    def cancel(reference: Any, force: bool) -> None:
        reference.result, reference.hangs = ray.exceptions.WorkerCrashedError(), False

    monkeypatch.setattr(cluster, "cancel", cancel)
    resources = CONFIG.resources.model_copy(update={"trial_timeout_minutes": 1e-6})
    config = CONFIG.model_copy(update={"resources": resources})
    queue, calls, _ = queue_of(tmp_path, work, config=config)
    queue.run(RUNS_OF_TWO)
    assert "no report for 1e-06 minutes" in calls.of("warn")[0][0]
    assert sorted(calls.of("ended")) == sorted((run.name, None) for run in RUNS_OF_TWO)


def test_scoring_is_a_sign_of_life_and_a_success_wins(tmp_path: Path, cluster: InPlace) -> None:
    queue, calls, _ = queue_of(tmp_path, lambda job: Ended())
    run = RUNS_OF_TWO[0]
    live, seen = _Live(run, "me", 1), queue._liveness._last_seen
    queue._liveness.seen("me", at=1.0)
    queue._look(live)
    assert seen["me"] == 1.0
    (run_folder(tmp_path, run) / SCORING).touch()
    queue._look(live)
    assert seen["me"] > 1.0
    # Given up for hanging, and ended at the same moment.
    live.lost = "no report"
    queue._capacity.place(run.name, queue._configs[run])
    queue._end(SimpleNamespace(result=Ended()), live)
    assert calls.of("ended") == [(run.name, None)]
    assert not calls.of("warn")


def test_a_scoring_that_fails_is_tried_once_more(tmp_path: Path, cluster: InPlace) -> None:
    asked: list[str] = []

    def work(job: ConfirmationJob) -> Ended:
        asked.append(job.name)
        write_epochs(job, 1)
        fails = job.trial == 7 or (job.seed == 0 and len(asked) == 1)
        return Ended(failed="OSError: gone", scoring=True) if fails else Ended()

    queue, calls, _ = queue_of(tmp_path, work, room=Room(1))
    queue.run(RUNS_OF_TWO)
    assert sorted(calls.of("ended")) == sorted(
        (run.name, "OSError: gone" if run.trial == 7 else None) for run in RUNS_OF_TWO
    )
    assert [asked.count(run.name) for run in RUNS_OF_TWO] == [2, 2, 1]
    assert len(calls.of("warn")) == 2
