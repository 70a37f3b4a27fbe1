from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from search.config.errors import ConfigError
from search.config.loading import config_from_tree
from search.config.locations import is_url
from search.config.schema import StudyConfig
from search.storage.object_store import Entry, RemoteFolder, RemoteTroubleError, fetch, fetch_models
from search.storage.retry import storage_trouble
from tests.search.postgres import free_port
from tests.search.s3 import BUCKET, S3Server, s3_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as server:
        yield server


@pytest.fixture(params=["s3", "fsspec"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> RemoteFolder:
    if request.param == "fsspec":
        return RemoteFolder(f"file://{tmp_path}/store")
    request.getfixturevalue("server")
    return RemoteFolder(f"s3://{BUCKET}/{tmp_path.name}")


def test_files_are_written_listed_read_and_copied(folder: RemoteFolder, tmp_path: Path) -> None:
    assert folder.list() == []
    source = tmp_path / "source"
    source.write_bytes(b"x" * 10_000_000)  # more than a part
    below = folder.at("study", "trials")
    below.upload(source, "00001/last.npz")
    below.write("empty", b"")
    below.copy("00001/last.npz", "00001/previous.npz")

    assert sorted(folder.list(), key=lambda entry: entry.name) == [
        Entry("study/trials/00001/last.npz", 10_000_000),
        Entry("study/trials/00001/previous.npz", 10_000_000),
        Entry("study/trials/empty", 0),
    ]
    assert below.read("empty") == b""
    below.download("00001/previous.npz", tmp_path / "new" / "copy")
    assert (tmp_path / "new" / "copy").read_bytes() == source.read_bytes()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["copy"]


class Overtaken:
    """A file system on which somebody writes the file anew each time it has been opened."""

    def __init__(self, fs: Any, contents: list[bytes]) -> None:
        self._fs = fs
        self._contents = contents

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fs, name)

    def open_input_stream(self, path: str) -> Any:
        stream = self._fs.open_input_stream(path)
        if self._contents:
            with self._fs.open_output_stream(path) as out:
                out.write(self._contents.pop())
        return stream


@pytest.mark.parametrize("times", [1, 3])
def test_a_file_that_is_written_anew_meanwhile_is_read_whole(server: S3Server, times: int) -> None:
    folder = RemoteFolder(f"s3://{BUCKET}/anew{times}")
    folder.write("file", b"A" * 10)
    fs, root = folder._filesystem()
    newest = b"B" * 1000
    folder._opened = (Overtaken(fs, [newest, b"C" * 100, b"D" * 50][:times]), root)

    assert folder.read("file") == newest


def test_a_file_that_never_rests_is_a_trouble(server: S3Server) -> None:
    folder = RemoteFolder(f"s3://{BUCKET}/restless")
    folder.write("file", b"A" * 10)
    fs, root = folder._filesystem()
    folder._opened = (Overtaken(fs, [b"B" * size for size in range(1, 50)]), root)

    with pytest.raises(RemoteTroubleError, match="written anew all the time"):
        folder.read("file")


def test_a_file_that_is_not_there_is_no_trouble(folder: RemoteFolder, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        folder.read("nothing")
    with pytest.raises(FileNotFoundError):
        folder.download("nothing", tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_store_that_refuses_or_is_away_is_a_trouble_to_wait_for(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(RemoteTroubleError, match="NO_SUCH_BUCKET") as refused:
        RemoteFolder("s3://no-such-bucket/x").write("a", b"a")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(RemoteTroubleError, match="NETWORK_CONNECTION") as away:
        RemoteFolder(f"s3://{BUCKET}/x").read("a")

    (tmp_path / "study.yaml").touch()
    for caught in (refused, away):
        assert caught.value.errno == errno.EHOSTUNREACH
        said = storage_trouble(caught.value, tmp_path) or ""
        assert said.startswith("the storage does not answer (s3://")
        assert "t0p-s3cret" not in said


def test_urls_are_told_from_paths() -> None:
    assert is_url("s3://bucket/prefix")
    assert is_url("gs://bucket")
    assert not is_url("studies")
    assert not is_url("/a:b//c")


@pytest.mark.parametrize(
    "url", ["s3://key:hidden@bucket/x", "s3://bucket/x?secret_key=hidden", "s3:///x"]
)
def test_a_url_with_credentials_or_without_a_bucket_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"study.storage_path: expected a URL"):
        config_from_tree({"study": {"storage_path": url}})


def test_a_study_in_a_store_has_its_own_copy_here(tmp_path: Path) -> None:
    def config(url: str, name: str = "mine") -> StudyConfig:
        study = {"storage_path": url, "name": name, "cache_path": str(tmp_path)}
        return config_from_tree({"study": study})

    assert config("s3://b/x?region=eu-1").origin == "s3://b/x/mine?region=eu-1"
    folders = {config(url).directory for url in ("s3://b/x", "s3://b/y", "s3://c/x")}
    assert len(folders) == 3
    assert all(folder.is_relative_to(tmp_path) for folder in folders)
    assert config("s3://b/x/").directory == config("s3://b/x?region=eu-1").directory
    assert config(str(tmp_path)).origin is None
    assert config(str(tmp_path)).directory == tmp_path / "mine"


def test_a_copy_has_what_tells_of_trials_and_of_their_scores_but_no_models(tmp_path: Path) -> None:
    origin = RemoteFolder(f"file://{tmp_path}/far")
    told = {
        "study.yaml",
        "refused.jsonl",
        "trials/00001/metrics.jsonl",
        "evaluation/valid-trial-00001.npz",
        "evaluation/pictures/valid-0000.jpg",
        "confirm/confirm.json",
        "confirm/runs/trial-00001-seed-0/evaluation.npz",
        "confirm/runs/trial-00001-seed-0/failed.json",
    }
    models = {"trials/00001/best.keras", "confirm/runs/trial-00001-seed-0/last.npz"}
    for name in told | models:
        origin.write(name, b"x")
    fetch(origin, tmp_path / "copy")
    found = {str(p.relative_to(tmp_path / "copy")) for p in (tmp_path / "copy").rglob("*.*")}
    assert found - {".origin"} == told
    fetch_models(tmp_path / "copy", ["00001", "00002"])
    assert (tmp_path / "copy" / "trials" / "00001" / "best.keras").is_file()
    assert not list((tmp_path / "copy" / "trials" / "00002").glob("*"))
