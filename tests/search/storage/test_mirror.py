"""Studies in an object store: a real server, real drivers killed with their disks."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from results.records.study import load_study
from search.cli.main import app
from search.config.loading import config_from_tree
from search.errors import RunError, SupersededError
from search.process.stop import Stop
from search.storage import lock
from search.storage.lock import remote_lock
from search.storage.mirror import StudyCopy, TrialCopy
from search.storage.object_store import RemoteFolder
from search.tuning.runner import run_study
from tests.search.managers import Log
from tests.search.nodes import Driver
from tests.search.s3 import BUCKET, S3Server, s3_server
from tests.search.tiny import tiny_tree


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as server:
        yield server


def tree_of(folder: Path, source: Path, url: str, trials: int) -> dict[str, Any]:
    tree = tiny_tree(folder, source, sampler="random", pruner="none", num_trials=trials)
    tree["study"] |= {"storage_path": url, "cache_path": str(folder / "cache")}
    tree["data"]["store_path"] = str(folder / "store")
    tree["train"] |= {"epochs": 8, "learning_rate": {"float": [1e-4, 1e-2], "log": True}}
    return tree


def epochs_in(origin: RemoteFolder) -> dict[str, int]:
    names = [entry.name for entry in origin.list() if entry.name.endswith("metrics.jsonl")]
    return {name.split("/")[1]: origin.read(name).count(b"\n") for name in names}


def finished_in(origin: RemoteFolder) -> dict[str, dict[str, Any]]:
    names = [entry.name for entry in origin.list() if entry.name.endswith("trial.json")]
    trials = {name.split("/")[1]: json.loads(origin.read(name)) for name in names}
    return {number: t for number, t in trials.items() if t["state"] != "RUNNING"}


@pytest.mark.soak
@pytest.mark.cluster
def test_a_driver_killed_with_its_disk_and_a_store_out_of_reach_lose_nothing(
    server: S3Server, tmp_path: Path, synthetic_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    url = f"s3://{BUCKET}/killed"
    tree = tree_of(tmp_path, synthetic_folder, url, trials=5)
    config = config_from_tree(tree)
    assert config.origin is not None
    origin = RemoteFolder(config.origin)
    driver = Driver(tree, tmp_path)
    driver.study = config.directory
    config.directory.parent.mkdir(parents=True)
    try:
        driver.start(seconds=0.2)
        driver.until(lambda: finished_in(origin))
        driver.send(signal.SIGKILL)
        driver.wait()
        before = finished_in(origin)
        shutil.rmtree(tmp_path / "cache")

        config.directory.parent.mkdir(parents=True)
        driver.start(seconds=0.2)
        seen = sum(epochs_in(origin).values())
        driver.until(lambda: sum(epochs_in(origin).values()) > seen + 1)
        server.line.cut()
        driver.until(lambda: "the storage does not answer" in driver.text)
        server.line.mend()
        assert driver.wait(200) == 0, driver.text
    finally:
        driver.end()
    end = finished_in(origin)
    assert {number: end[number] for number in before} == before
    assert [(number, t["state"]) for number, t in sorted(end.items())] == [
        (f"{number:05d}", "COMPLETE") for number in range(5)
    ]
    assert epochs_in(origin) == dict.fromkeys(end, 8)
    assert all(t["failures"] == [] for t in end.values())
    assert origin.read("run.lock") == b""
    for entry in origin.list():
        assert b"t0p-s3cret" not in origin.read(entry.name), entry.name

    # The commands take the URL; what they write goes back.
    shown = CliRunner().invoke(app, ["status", f"{url}/tiny"])
    assert shown.exit_code == 0, shown.output
    assert "5 COMPLETE" in shown.output
    made = CliRunner().invoke(app, ["report", f"{url}/tiny"])
    assert f"report: {url}/tiny/report.html" in made.output.replace("\n", "")
    assert b"<html" in origin.read("report.html")


@pytest.mark.cluster
def test_real_training_keeps_models_and_checkpoints_in_the_store(
    ray_session: None, tmp_path: Path, synthetic_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    tree = tree_of(tmp_path, synthetic_folder, f"file://{tmp_path}/far", trials=1)
    tree["train"] |= {"epochs": 3}
    assert run_study(config_from_tree(tree), Log()).states == {"COMPLETE": 1}

    trial = tmp_path / "far" / "tiny" / "trials" / "00000"
    there = {path.name for path in trial.iterdir()}
    assert {"best.keras", "metrics.jsonl", "trial.json"} <= there
    assert not {"last.npz", "previous.npz"} & there, "nothing goes on from them"
    assert len(load_study(tmp_path / "far" / "tiny").trials[0].curve) == 3
    url = f"file://{tmp_path}/far/tiny"
    exported = CliRunner().invoke(app, ["export", url, str(tmp_path / "best")])
    assert exported.exit_code == 0, exported.output
    model = (tmp_path / "best" / "best.keras").read_bytes()
    assert model == (trial / "best.keras").read_bytes()
    assert not list((tmp_path / "cache").rglob("last.npz"))  # the worker's scratch is gone


def trial_copy(folder: Path, owner: str) -> TrialCopy:
    local = folder / owner
    local.mkdir()
    return TrialCopy(f"file://{folder}/far/00001", local, owner)


def write(folder: Path, **contents: str) -> None:
    for name, content in contents.items():
        (folder / name.replace("__", ".")).write_text(content, encoding="utf-8")


def test_a_trial_goes_on_elsewhere_from_what_was_pushed(tmp_path: Path) -> None:
    first = trial_copy(tmp_path, "first")
    local, far = tmp_path / "first", tmp_path / "far" / "00001"
    write(local, best__keras="m1", last__npz="c1", metrics__jsonl="1\n", owner="first")
    first.push()
    write(local, last__npz="c2+", metrics__jsonl="1\n2\n")
    first.push()
    names = {"best.keras", "last.npz", "previous.npz", "metrics.jsonl", "owner"}
    assert {path.name for path in far.iterdir()} == names
    assert (far / "previous.npz").read_text() == "c1"

    trial_copy(tmp_path, "second")
    fetched = {path.name: path.read_text() for path in (tmp_path / "second").iterdir()}
    assert fetched == {
        "best.keras": "m1", "last.npz": "c2+", "previous.npz": "c1", "metrics.jsonl": "1\n2\n"
    }  # fmt: skip
    write(local, last__npz="c3 of the first")
    with pytest.raises(SupersededError, match="second's"):
        first.push()
    assert (far / "last.npz").read_text() == "c2+"


def test_a_push_cut_short_leaves_the_lines_behind_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = trial_copy(tmp_path, "first")
    local = tmp_path / "first"
    write(local, metrics__jsonl="1\n", last__npz="c1", best__keras="m1", error__txt="e")
    uploaded: list[str] = []
    upload = RemoteFolder.upload

    def failing(self: RemoteFolder, path: Path, name: str) -> None:
        uploaded.append(name)
        if name == "error.txt":
            raise OSError("cut")
        upload(self, path, name)

    monkeypatch.setattr(RemoteFolder, "upload", failing)
    with pytest.raises(OSError, match="cut"):
        copy.push()
    assert uploaded == ["best.keras", "last.npz", "error.txt"]
    monkeypatch.undo()
    copy.push()  # goes on with what is left
    assert (tmp_path / "far" / "00001" / "metrics.jsonl").read_text() == "1\n"


def test_the_copy_is_thrown_away_for_what_the_store_holds(tmp_path: Path) -> None:
    here, far = tmp_path / "here", tmp_path / "far"
    (here / "trials" / "00007").mkdir(parents=True)
    write(here, optuna__journal="of a run that nobody knows of", run__lock="mine")
    (far / "trials" / "00000").mkdir(parents=True)
    write(far, optuna__journal="1\n", study__yaml="s")
    write(far / "trials" / "00000", trial__json="{}", last__npz="large")
    copy = StudyCopy(f"file://{far}", here)
    copy.pull()

    assert (here / "optuna.journal").read_text() == "1\n"
    assert (here / "run.lock").read_text() == "mine"
    assert [path.name for path in here.rglob("trials/*")] == ["00000"]
    assert not (here / "trials" / "00000" / "last.npz").exists()

    before = (far / "study.yaml").stat().st_mtime_ns
    write(here, optuna__journal="1\n2\n")
    copy.push(urgent=False)
    write(here, optuna__journal="1\n2\n3\n")
    copy.push(urgent=False)  # too soon after the other
    assert (far / "optuna.journal").read_text() == "1\n2\n"
    copy.push()
    assert (far / "optuna.journal").read_text() == "1\n2\n3\n"
    assert (far / "study.yaml").stat().st_mtime_ns == before


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(lock, "MISSED_BEATS", 10)
    monkeypatch.setattr(lock, "SETTLE_SECONDS", 0.05)


@pytest.mark.usefixtures("quick")
def test_a_living_holder_is_named_and_one_that_left_in_order_is_not_waited_for(
    tmp_path: Path,
) -> None:
    url = f"file://{tmp_path}/far"
    with remote_lock(url, Stop()):
        for take_over in (False, True):
            with (
                pytest.raises(RunError, match=f"on {socket.gethostname()}, which is alive"),
                remote_lock(url, Stop(), take_over),
            ):
                pass
    with remote_lock(url, Stop()):
        pass


@pytest.mark.usefixtures("quick")
def test_a_silent_holder_is_taken_over_on_request_and_learns_of_it(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/far"
    holder = {"host": "elsewhere", "pid": 4711, "run": "old", "beats": 3}
    RemoteFolder(url).write("run.lock", json.dumps(holder).encode())
    with pytest.raises(RunError, match=r"process 4711 on elsewhere, .* --take-over"):
        remote_lock(url, Stop()).__enter__()
    stop = Stop()
    with remote_lock(url, stop, take_over=True):
        RemoteFolder(url).write("run.lock", json.dumps(holder).encode())
        end = time.monotonic() + 10
        while not stop.superseded and time.monotonic() < end:
            time.sleep(0.05)
        assert stop.superseded
    assert json.loads(RemoteFolder(url).read("run.lock")) == holder


@pytest.mark.usefixtures("quick")
def test_a_killed_driver_of_this_machine_needs_no_take_over(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/far"
    boot = lock._boot()
    holder = {"host": socket.gethostname(), "pid": 2**22 + 1, "boot": boot, "run": "old"}
    RemoteFolder(url).write("run.lock", json.dumps(holder).encode())
    with remote_lock(url, Stop()):
        pass
