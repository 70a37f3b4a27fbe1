from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from search.cli.main import app
from search.errors import RunError
from search.process.stop import Stop
from search.storage.lock import study_lock
from search.storage.object_store import ORIGIN
from search.study import cleaning
from tests.results.simulated_study import Simulation, write_study


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
    reported = CliRunner().invoke(app, ["status", str(study), "--json"]).output

    said = clean(str(study))

    assert "removed: 9.0 MB" in said
    assert not list(study.glob("trials/0000[0-3]/*.npz"))
    assert (study / "trials" / "00004" / "last.npz").exists()
    assert "nothing to remove" in clean(str(study))
    assert CliRunner().invoke(app, ["status", str(study), "--json"]).output[:200] == reported[:200]


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


def test_copies_and_rays_folders_go_where_no_node_runs(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cleaning, "RAY_FOLDER", tmp_path / "ray")
    ours, others = tmp_path / "ray" / "session_1", tmp_path / "ray" / "session_2"
    store = tmp_path / "cache" / "flexunet-search" / "stores" / "0123456789abcdef"
    for folder in (ours, others, store):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(bytes(2_000_000))
    (ours / "flexunet-search").touch()

    monkeypatch.setattr(cleaning, "machine_in_use", lambda: True)
    assert "so copies and Ray's folders stay" in clean(str(study), "--machine")
    assert ours.exists()
    assert store.exists()

    monkeypatch.setattr(cleaning, "machine_in_use", lambda: False)
    said = clean(str(study), "--machine")
    assert "Ray's folders of searches that ended: 1, 2.0 MB" in said
    assert [path.exists() for path in (ours, others, store)] == [False, True, False]


def test_a_ray_node_is_known_by_its_process(tmp_path: Path) -> None:
    (tmp_path / "17").mkdir()
    (tmp_path / "17" / "comm").write_text("python\n")
    assert not cleaning.machine_in_use(tmp_path)
    (tmp_path / "18").mkdir()
    (tmp_path / "18" / "comm").write_text("raylet\n")
    assert cleaning.machine_in_use(tmp_path)


def test_what_is_no_study_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["clean", str(tmp_path / "none")])

    assert "study.yaml: not there" in str(done.exception)
    assert not (tmp_path / "none").exists()
