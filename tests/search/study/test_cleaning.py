from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from data_pipeline.stores.prepare import prepare
from results.records.study import load_study
from search.cli.main import app
from search.config.loading import config_from_tree
from search.errors import RunError
from search.process.stop import Stop
from search.storage.lock import study_lock
from search.storage.object_store import ORIGIN
from search.study import cleaning
from search.study.record import record_study
from tests.results.simulated_study import Simulation, write_study
from tests.search.managers import config_in, open_manager, proposal_of, result
from tests.search.tiny import tiny_tree


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Trials of before: 0 COMPLETE, 1 PRUNED and the best, 2 PRUNED, 3 FAIL, 4 RUNNING."""
    states = {1: "PRUNED", 2: "PRUNED", 3: "FAIL"}
    path = write_study(tmp_path / "study", Simulation(trials=5, running=1, states=states))
    for folder in (path / "trials").iterdir():
        for name in ("best.keras", "last.npz", "previous.npz"):
            (folder / name).write_bytes(bytes(1_000_000))
    return path


def names(found: list[cleaning.Leftover], root: Path) -> set[str]:
    return {each.path.relative_to(root).as_posix() for each in found}


def clean(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["clean", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_checkpoints_of_ended_trials_can_go_and_those_of_running_ones_stay(study: Path) -> None:
    found = names(cleaning.leftovers_of_study(study), study)

    ended = range(4)
    checkpoints = {f"trials/{n:05d}/{name}.npz" for n in ended for name in ("last", "previous")}
    assert checkpoints <= found
    assert not any("00004" in name for name in found)
    assert "trials/00003/best.keras" in found, "a failed trial's model is of no use"
    assert "trials/00000/best.keras" not in found
    assert "trials/00001/best.keras" not in found, "among the five best"


def test_a_dry_run_names_everything_and_removes_nothing(study: Path) -> None:
    before = sorted(study.rglob("*"))

    said = clean(str(study), "--dry-run")

    assert sorted(study.rglob("*")) == before
    assert "trials/00000/last.npz: 1.0 MB" in said.replace("\n", "")
    assert "checkpoints of ended trials: 8, 8.0 MB" in said
    assert "would be removed: 9.0 MB" in said


def test_what_is_named_is_removed_and_the_study_is_read_as_before(study: Path) -> None:
    before = load_study(study)

    said = clean(str(study))

    assert "removed: 9.0 MB" in said
    assert not list(study.glob("trials/0000[0-3]/*.npz"))
    assert (study / "trials" / "00004" / "last.npz").exists()
    assert "nothing to remove" in clean(str(study))
    after = load_study(study)
    assert [(t.number, t.state, t.value, len(t.curve)) for t in after.trials] == [
        (t.number, t.state, t.value, len(t.curve)) for t in before.trials
    ]
    assert after.incumbent is not None
    assert (after.incumbent.path / "best.keras").is_file()


def test_a_study_that_is_run_is_left_alone(study: Path) -> None:
    with study_lock(study, Stop()):
        done = CliRunner().invoke(app, ["clean", str(study)])

    assert isinstance(done.exception, RunError)
    assert (study / "trials" / "00000" / "last.npz").exists()


def test_of_a_study_in_an_object_store_the_store_is_cleaned(study: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(study, copy, ignore=shutil.ignore_patterns("*.npz", "*.keras"))
    (copy / ORIGIN).write_text(f"file://{study}", encoding="utf-8")

    clean(str(copy))

    assert not list(study.glob("trials/0000[0-3]/*.npz"))
    assert (study / "trials" / "00004" / "last.npz").exists()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """What lies on a machine on which no Ray node runs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cleaning, "RAY_FOLDER", tmp_path / "ray")
    monkeypatch.setattr(cleaning, "may_be_in_use", lambda: False)
    cache = tmp_path / "cache" / "flexunet-search"
    places = {
        "ours": tmp_path / "ray" / "session_1",
        "another program's": tmp_path / "ray" / "session_2",
        "old store": cache / "stores" / "0123456789abcdef",
        "new store": cache / "stores" / "fedcba9876543210",
        "held study": cache / "studies" / "0123" / "held",
    }
    long_ago = time.time() - 9 * 24 * 3600
    for name, folder in places.items():
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(bytes(2_000_000))
        if name != "new store":
            os.utime(folder / "file", (long_ago, long_ago))
    (places["ours"] / "flexunet-search").touch()
    (tmp_path / "ray" / "session_latest").symlink_to(places["ours"])
    return places


def test_copies_and_rays_folders_stay_where_a_node_may_run(
    study: Path, machine: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "may_be_in_use", lambda: True)

    assert "so data, copies and Ray's folders stay" in clean(str(study), "--machine")
    assert all(path.exists() for path in machine.values())


def test_unused_copies_and_our_ray_folders_go(study: Path, machine: dict[str, Path]) -> None:
    said = clean(str(study), "--machine")

    assert "Ray's folders of searches that ended: 1, 2.0 MB" in said
    there = {name for name, path in machine.items() if path.exists()}
    assert there == {"another program's", "new store"}


def test_a_copy_of_a_study_that_is_held_stays_and_is_named(
    study: Path, machine: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "_last_use", lambda folder: 0.0)
    with study_lock(machine["held study"], Stop()):
        said = clean(str(study), "--machine")

    assert "held stays: " in said.replace("\n", " ")
    assert machine["held study"].exists()
    assert not machine["new store"].exists()


def test_a_ray_node_is_known_by_its_process_and_none_is_ruled_out_without_linux(
    tmp_path: Path,
) -> None:
    (tmp_path / "17").mkdir()
    (tmp_path / "17" / "comm").write_text("python\n")
    assert not cleaning.may_be_in_use(tmp_path)
    (tmp_path / "18").mkdir()
    (tmp_path / "18" / "comm").write_text("raylet\n")
    assert cleaning.may_be_in_use(tmp_path)
    assert cleaning.may_be_in_use(tmp_path / "none")


def test_prepared_data_go_where_the_images_are_there_to_make_them_again(
    tmp_path: Path, synthetic_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "may_be_in_use", lambda: False)
    source = shutil.copytree(synthetic_folder, tmp_path / "data")
    config = config_from_tree(tiny_tree(tmp_path, source))
    store = prepare(config.data)
    config.directory.mkdir()
    record_study(config, store)

    source.rename(tmp_path / "gone")
    done = CliRunner().invoke(app, ["clean", str(config.directory), "--prepared"])
    assert "the prepared data could not be made again" in str(done.exception)
    assert store.path.exists()

    (tmp_path / "gone").rename(source)
    assert "prepared data: 1" in clean(str(config.directory), "--prepared")
    assert not store.path.exists()


def test_a_trial_that_the_journal_does_not_end_keeps_its_checkpoint(tmp_path: Path) -> None:
    config = config_in(tmp_path, num_trials=2)
    manager = open_manager(config)
    journal = config.directory / "optuna.journal"
    job = proposal_of(manager)
    before = journal.read_bytes()
    for name in ("last.npz", "previous.npz"):
        (job.folder / name).touch()
    manager.report(next(iter(manager._live)), result([0.5]))
    manager.finish(next(iter(manager._live)), result([0.5], done=True), error=False)
    (job.folder / "last.npz").touch()
    record = {"format": 1, "name": config.study.name, "created": "2026-11-30T00:00:00+00:00"}
    record |= {"config": {}, "classes": ["background", "Crack"], "objective": "mean"}
    (config.directory / "study.yaml").write_text(yaml.safe_dump(record), encoding="utf-8")
    (found,) = cleaning.leftovers_of_study(config.directory)
    assert found.path.name == "last.npz"

    journal.write_bytes(before)  # as after a power cut

    assert cleaning.leftovers_of_study(config.directory) == []


def test_what_is_no_study_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["clean", str(tmp_path / "none")])

    assert "study.yaml: not there" in str(done.exception)
    assert not (tmp_path / "none").exists()
