"""What ended trials leave on the disk, by a manager over a real Optuna journal."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.config.schema import StudyConfig
from search.interfaces.messages import TrialReport
from search.storage.files import trial_folder
from search.study.retention import EndedTrial, ModelRanking, unneeded
from search.study.trials import TrialManager
from tests.disks import mounted_disk
from tests.search.managers import Log, config_in, open_manager, proposal_of, result

FILES = ("best.keras", "last.npz", "metrics.jsonl", "previous.npz")


def train(manager: TrialManager, name: str, bytes_each: int = 1) -> int:
    """Let a worker have a trial and leave what it writes; return its number."""
    job = manager.propose(name)
    assert job is not None
    for file in FILES:
        (job.folder / file).write_bytes(bytes(1 if file == "metrics.jsonl" else bytes_each))
    return job.number


def files(config: StudyConfig, number: int) -> set[str]:
    there = {path.name for path in trial_folder(config.directory, number).iterdir()}
    return there & set(FILES)


def prune(manager: TrialManager, name: str, value: float) -> None:
    manager._live[name].pruned = True
    manager.report(name, result([value]))
    manager.finish(name, result([value]), error=False)


def complete(manager: TrialManager, name: str, value: float) -> None:
    manager.finish(name, result([value], done=True), error=False)


def test_a_finished_trial_keeps_its_model_and_its_lines_alone(config: StudyConfig) -> None:
    manager = open_manager(config)
    number = train(manager, "a")
    complete(manager, "a", 0.5)

    assert files(config, number) == {"best.keras", "metrics.jsonl"}


def test_checkpoints_stay_until_the_end_is_safe_on_the_disk(config: StudyConfig) -> None:
    manager = open_manager(config)
    first, second = train(manager, "a"), train(manager, "b")
    complete(manager, "a", 0.5)
    assert "last.npz" in files(config, first), "the journal may lack its end after a power cut"

    train(manager, "c")  # a proposal waits for the disk

    assert "last.npz" not in files(config, first)
    assert "last.npz" in files(config, second), "it is in training"


def test_a_trial_that_only_stopped_keeps_all(config: StudyConfig) -> None:
    manager = open_manager(config)
    number = train(manager, "a")
    manager.report("a", result([0.5]))
    manager.stop.ask("SIGINT")
    manager.finish("a", result([0.5]), error=False)

    assert files(config, number) == set(FILES)


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        # Of the values 0.5 (COMPLETE), 0.1, 0.6, 0.3, 0.7 (all pruned).
        (2, {0, 2, 4}),
        (3, {0, 2, 4}),
        (4, {0, 2, 3, 4}),
        (0, {0}),
        ("all", {0, 1, 2, 3, 4}),
    ],
)
def test_pruned_trials_keep_their_models_while_among_the_best(
    tmp_path: Path, keep: int | str, kept: set[int]
) -> None:
    config = config_in(tmp_path, keep_models=keep)
    manager = open_manager(config)
    train(manager, "a")
    complete(manager, "a", 0.5)
    for name, value in zip("bcde", (0.1, 0.6, 0.3, 0.7), strict=True):
        train(manager, name)
        prune(manager, name, value)

    assert {number for number in range(5) if "best.keras" in files(config, number)} == kept
    assert not any("last.npz" in files(config, number) for number in range(5))


def test_baselines_and_models_that_were_scored_stay(tmp_path: Path) -> None:
    params = {
        **{"model.num_layers": 3, "model.base_filters": 8, "model.base_kernel": 3},
        **{"model.dropout_rate": 0.0, "train.learning_rate": 0.01},
    }
    baselines = [{"name": "usual", "params": params}]
    config = config_in(tmp_path, keep_models=0, baselines=baselines)
    manager = open_manager(config)
    (config.directory / "evaluation").mkdir()
    (config.directory / "evaluation" / "valid-trial-00001.npz").touch()
    for name in "abc":
        train(manager, name)
        prune(manager, name, 0.1)

    assert ["best.keras" in files(config, number) for number in range(3)] == [True, True, False]


def test_failed_trials_keep_their_lines_and_no_model(config: StudyConfig) -> None:
    manager = open_manager(config)
    number = train(manager, "a")
    manager.report("a", result([0.9]))
    manager.finish("a", TrialReport(failed="a defect"), error=False)

    assert files(config, number) == {"metrics.jsonl"}


def test_a_continued_study_lets_go_of_what_earlier_trials_have_left(config: StudyConfig) -> None:
    manager = open_manager(config)
    number = train(manager, "a")
    complete(manager, "a", 0.5)
    for file in ("last.npz", "previous.npz"):  # as an older version, or a driver killed before
        (trial_folder(config.directory, number) / file).touch()

    proposal_of(open_manager(config))

    assert files(config, number) == {"best.keras", "metrics.jsonl"}


def test_a_run_goes_on_where_a_file_cannot_be_removed(
    config: StudyConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    manager = open_manager(config)
    number = train(manager, "a")
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == "last.npz":
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    complete(manager, "a", 0.5)

    assert isinstance(manager.observer, Log)
    assert len(manager.observer.ended) == 1
    assert "last.npz" in files(config, number)
    assert "last.npz is not removed: [Errno 30]" in caplog.text


def test_an_end_that_is_told_twice_counts_once() -> None:
    ranking = ModelRanking(2)
    first, second = EndedTrial(0, False, 0.9, False), EndedTrial(1, False, 0.95, False)

    assert [list(ranking.add(trial)) for trial in (first, first, second)] == [[], [], []]


def test_of_equal_values_the_earlier_trial_is_the_better() -> None:
    pruned = [EndedTrial(number, False, 0.5, False) for number in range(3)]

    gone = [number for number, name in unneeded(pruned, 1) if name == "best.keras"]

    assert gone == [1, 2]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 10 MB."""
    with mounted_disk(tmp_path / "disk", 10 * 2**20) as folder:
        yield folder


def test_fifty_trials_fit_on_a_disk_that_holds_the_files_of_ten(small_disk: Path) -> None:
    config = config_in(small_disk, num_trials=50, pruner="none")
    manager = open_manager(config)
    names = [f"ray-{number}" for number in range(50)]
    for batch in (names[first : first + 2] for first in range(0, 50, 2)):
        for name in batch:
            train(manager, name, bytes_each=250_000)
        complete(manager, batch[0], 0.5)
        prune(manager, batch[1], 0.1)

    assert manager.trouble is None
    assert len(manager.observer.ended) == 50  # type: ignore[attr-defined]
