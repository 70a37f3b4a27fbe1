"""Data prepared on a real Ray of several nodes, one of which is lost; and who may take part."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections import deque
from pathlib import Path
from typing import Any

import pytest
import ray

import data_pipeline.stores.assembling
import data_pipeline.stores.shards
import search.data.preparing
from data_pipeline.config import DataConfig
from data_pipeline.stores.prepare import prepare
from search.config.loading import config_from_tree
from search.config.settings import ResourceSettings
from search.data.preparing import hindrance, prepare_study
from tests.data_pipeline.files import write_undivided
from tests.search.elsewhere import PATHS, done_elsewhere
from tests.search.raylets import raylets
from tests.search.tiny import tiny_tree

# By default Ray misses a killed node after a quarter of a minute.
QUICK = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "2"}


@pytest.mark.cluster
def test_nodes_share_the_work_and_a_lost_one_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_undivided(tmp_path / "data", 30)
    stores = tmp_path / "stores"
    with raylets({"num_cpus": 1}, env=PATHS | QUICK, num_cpus=1) as addresses:
        told = done_elsewhere(
            "prepare_and_lose_a_node", addresses["address"], source=str(root), stores=str(stores)
        )
    for module in (data_pipeline.stores.shards, data_pipeline.stores.assembling):
        monkeypatch.setattr(module, "records_per_shard", lambda shape: 3)
    across = Path(told["path"])
    shutil.move(across, tmp_path / "across")
    alone = prepare(DataConfig(source=str(root), image_size=(24, 32), store_path=stores))

    assert told["seen"] == list(range(3, 31, 3))
    (lost,) = told["killed"]
    (warning,) = told["warned"]
    assert lost[:6] in warning
    assert "any more: it is lost" in warning
    nodes = {path.name.split("-")[3] for path in stores.glob("note-*")}
    assert len(nodes) == 2
    files = sorted(path.name for path in alone.path.iterdir())
    assert files == sorted(path.name for path in (tmp_path / "across").iterdir())
    for name in files:
        assert (tmp_path / "across" / name).read_bytes() == (alone.path / name).read_bytes()


@pytest.mark.cluster
def test_on_this_machine_alone_threads_prepare(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.data.preparing.AcrossCluster, "_run", None)
    root = write_undivided(tmp_path / "data", 12)
    tree = tiny_tree(tmp_path, root)
    seen: list[int] = []
    warned: list[str] = []

    store = prepare_study(
        config_from_tree(tree), lambda done, total: seen.append(done), warned.append
    )

    assert sum(split.count for split in store.splits.values()) == 12
    assert seen == list(range(1, 13))
    assert not warned


@pytest.fixture
def token(tmp_path: Path) -> Path:
    folder = tmp_path / "stores" / ".token"
    folder.mkdir(parents=True)
    (folder / "driver").write_text("driver", encoding="utf-8")
    return folder


def test_a_node_must_see_the_data_and_share_the_stores(
    token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.cluster.inspector.SHARED_SECONDS", 0.0)
    decoders = search.data.preparing._decoders()
    file = token.parent / "a.png"
    file.write_bytes(b"12345")
    elsewhere = str(token.parent / "elsewhere")

    assert set(decoders) == {"NumPy", "OpenCV", "machine"}
    assert hindrance(str(token), "node", {str(file): 5}, decoders) is None
    assert (token / "node").read_text(encoding="utf-8") == "node"
    other = hindrance(str(token), "node", {str(file): 6}, decoders) or ""
    assert "of 6 bytes, received 5" in other
    unseen = hindrance(str(token), "node", {elsewhere: 6}, decoders) or ""
    assert "of 6 bytes, received None" in unseen
    apart = hindrance(elsewhere, "node", {str(file): 5}, decoders) or ""
    assert "does not share the folder of stores" in apart
    older = hindrance(str(token), "node", {str(file): 5}, {**decoders, "NumPy": "1.0"}) or ""
    assert "'NumPy': '1.0'" in older


class FakeRemote:
    """Takes the place of a Ray function: remembers which node each task was sent to."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []

    def options(self, scheduling_strategy: Any, **_: Any) -> FakeRemote:
        self._node = scheduling_strategy.node_id
        return self

    def remote(self, task: int) -> int:
        self.sent.append((self._node, task))
        return task


def test_nodes_get_shards_in_turn() -> None:
    remote = FakeRemote()
    ids = ["a" * 56, "b" * 56]
    crew = [
        search.data.preparing._Node(ids[0], "a", 64),
        search.data.preparing._Node(ids[1], "b", 2),
    ]
    search.data.preparing._hand_out(remote, deque(range(6)), {}, crew)
    assert [task for node, task in remote.sent if node == ids[1]] == [1, 3]


def test_the_driver_helps_where_the_cluster_is_full(
    ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.data.preparing, "IDLE_SECONDS", 0.2)
    taken = ray.remote(lambda: time.sleep(60)).options(num_cpus=2).remote()
    warned: list[str] = []
    across = search.data.preparing.AcrossCluster(ResourceSettings(), warned.append)
    (node,) = ray.nodes()
    crew = [search.data.preparing._Node(node["NodeID"], "here", 2)]
    made = list(across._run(lambda task: task, ["a", "b", "c"], crew, contextlib.ExitStack()))
    ray.cancel(taken, force=True)
    assert sorted(made) == ["a", "b", "c"]
    assert warned == ["the cluster's CPUs are taken: this machine helps to prepare the data"]
