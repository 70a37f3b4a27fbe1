"""Stores copied to a node that does not see them, on a real Ray of two nodes.

Both are on this machine. The second has a mount namespace of its own, in which an empty disk lies
over the folder of stores: it sees nothing of what the first one wrote there, as over a network.
The network itself is the loopback.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import search.data.store_transfer as transfer
from data_pipeline.config import DataConfig
from data_pipeline.stores.prepare import prepare
from data_pipeline.stores.store import Store
from search.data.store_transfer import StoreSource, StoreTransferError, cached, store_here
from tests.data_pipeline.files import write_divided
from tests.search.cluster.test_doctor import unshare_works
from tests.search.elsewhere import PATHS, done_elsewhere
from tests.search.raylets import ROOT, raylets
from tests.search.tiny import tiny_tree


@pytest.fixture
def store(tmp_path: Path) -> Store:
    root = write_divided(tmp_path / "data")
    return prepare(
        DataConfig(source=str(root), image_size=(24, 32), store_path=tmp_path / "shared" / "stores")
    )


@pytest.mark.soak
@pytest.mark.cluster
def test_a_node_that_sees_no_store_copies_it_once(store: Store, tmp_path: Path) -> None:
    if not unshare_works():
        pytest.skip("unshare -rm does not work here, so no node can be given folders of its own")
    blocked = tmp_path / "shared" / "blocked" / store.path.name
    shutil.copytree(store.path, blocked)
    seen = tmp_path / "seen" / store.path.name
    shutil.copytree(store.path, seen)
    paths = {"open": str(store.path), "blocked": str(blocked), "seen": str(seen)}
    with raylets({"hide": str(tmp_path / "shared")}, env=PATHS) as addresses:
        answers = done_elsewhere(
            "copy_to_the_node_that_sees_nothing",
            addresses["address"],
            stores=paths,
            cache=str(tmp_path / "cache"),
        )

    files = len(list(store.path.iterdir()))
    cache = tmp_path / "cache" / "flexunet-search" / "stores" / store.path.name
    for name, place, count in (
        ("open", store.path, files),
        ("blocked", cache, files - 1),  # goes on from the one whole file that was there
    ):
        assert {tuple(answer[::2]) for answer in answers[name]} == {(str(place), store.fingerprint)}
        assert sorted(fetched for _, fetched, _ in answers[name]) == [0, 0, count]
        assert answers[f"{name} again"] == [[str(place), 0, store.fingerprint]]
    assert content(cache) == content(store.path)
    left = {path.name for path in cache.parent.iterdir()}
    assert left == {cache.name, f".{cache.name}.copy.lock"}


@pytest.mark.soak
@pytest.mark.cluster
def test_a_search_runs_where_only_the_driver_sees_the_data(
    tmp_path: Path, synthetic_folder: Path
) -> None:
    if not unshare_works():
        pytest.skip("unshare -rm does not work here, so no node can be given folders of its own")
    tree = tiny_tree(tmp_path, synthetic_folder, num_trials=2)
    tree["data"]["store_path"] = str(tmp_path / "hidden" / "stores")
    tree["resources"] = {"cpus_per_trial": 1}
    (tmp_path / "hidden").mkdir()
    config = tmp_path / "study.yaml"
    config.write_text(yaml.safe_dump(tree), encoding="utf-8")
    with raylets({"hide": str(tmp_path / "hidden")}, env=PATHS) as addresses:
        done = subprocess.run(
            [sys.executable, "-m", "search", "run", str(config), "--address", addresses["address"]],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, **PATHS, "COLUMNS": "200"},
        )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "they are copied there" in done.stdout
    assert "takes no part in preparing the data" in done.stdout
    assert "COMPLETE" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Without Ray: the source is called in this process.


class _Call:
    def __init__(self, method: Callable[..., Any]) -> None:
        self.remote = method


class NearSource:
    """A source as an actor's handle looks; spoils pieces where it is told to."""

    def __init__(self, path: Path, spoil: bool = False) -> None:
        source = StoreSource(str(path))
        self.listing, self.digest = _Call(source.listing), _Call(source.digest)

        def piece(name: str, offset: int, size: int) -> Any:
            data = source.piece(name, offset, size)
            return data + np.uint8(1) if spoil and name == "train-00000.images" else data

        self.piece = _Call(piece)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Any], None]:
    def serve_from(source: Any) -> None:
        monkeypatch.setattr(transfer, "_find_source", lambda path: source)

    monkeypatch.setattr(transfer.ray, "get", lambda value: value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return serve_from


def test_a_store_that_is_seen_is_not_copied(store: Store) -> None:
    assert store_here(store.path) == store.path


def test_where_nobody_serves_it_the_path_is_left_alone(tmp_path: Path) -> None:
    for name in ("0123456789abcdef", "mine"):
        assert store_here(tmp_path / name) == tmp_path / name


def test_a_copy_that_is_not_what_was_served_gets_no_name(
    store: Store, tmp_path: Path, serve: Callable[[Any], None]
) -> None:
    path = tmp_path / "node" / store.path.name
    serve(NearSource(store.path, spoil=True))
    with pytest.raises(StoreTransferError, match=r"train-00000.images: expected sha256 \w{16}"):
        store_here(path)
    assert not path.exists()

    serve(NearSource(store.path))
    assert store_here(path) == path
    assert content(path) == content(store.path)


def test_a_store_of_other_data_at_its_path_is_left_alone(
    store: Store, tmp_path: Path, serve: Callable[[Any], None]
) -> None:
    path = tmp_path / "node" / store.path.name
    path.mkdir(parents=True)
    (path / "manifest.json").write_text('{"fingerprint": "0000"}', encoding="utf-8")
    serve(NearSource(store.path))

    assert store_here(path) == cached(path)
    assert os.listdir(path) == ["manifest.json"]
    assert Store.open(cached(path)).fingerprint == store.fingerprint


def test_no_room_is_said_of_each_place(
    store: Store,
    tmp_path: Path,
    serve: Callable[[Any], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transfer, "_SLACK_BYTES", 10**18)
    serve(NearSource(store.path))
    with pytest.raises(StoreTransferError, match=r"(?s)cannot hold the store:.*GB free.*GB free"):
        store_here(tmp_path / "node" / store.path.name)
