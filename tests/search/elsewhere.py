"""What the tests have done on a cluster's nodes, from a process of its own that joins it.

``python -m tests.search.elsewhere FUNCTION ADDRESS JSON`` prints what the function returns.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.search.raylets import ROOT

PATHS = {"PYTHONPATH": str(ROOT)}
"""For raylets, whose workers are to import this."""


def done_elsewhere(function: str, address: str, **arguments: Any) -> Any:
    """Call a function of this module in a process that joins a cluster; return what it returns."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.search.elsewhere", function, address, json.dumps(arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **PATHS},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# Shards


def note_and_make(task: Any) -> Any:
    """Make a shard slowly, and note where: a node is to be lost meanwhile."""
    import ray

    from data_pipeline.stores.shards import make_shard

    done = make_shard(task)
    node = ray.get_runtime_context().get_node_id()
    # A worker's parent is its node's raylet.
    note = task.folder.parent / f"note-{task.name}-{node}-{os.getppid()}"
    note.write_text("", encoding="utf-8")
    time.sleep(0.3)
    return done


def prepare_and_lose_a_node(address: str, source: str, stores: str) -> dict[str, Any]:
    """Prepare data on a cluster, of which the other node is killed when it has made a shard."""
    import ray

    import data_pipeline.stores.assembling
    import data_pipeline.stores.shards
    from data_pipeline.config import DataConfig
    from data_pipeline.stores.prepare import prepare
    from search.config.settings import ResourceSettings
    from search.data.preparing import AcrossCluster

    for module in (data_pipeline.stores.shards, data_pipeline.stores.assembling):
        module.records_per_shard = lambda shape: 3  # type: ignore[attr-defined]
    warned: list[str] = []
    seen: list[int] = []
    across = AcrossCluster(ResourceSettings(ray_address=address), warned.append)
    killed: list[str] = []

    def lose(done: int, total: int) -> None:
        seen.append(done)
        here = ray.get_runtime_context().get_node_id()
        for path in Path(stores).glob("note-*"):
            node, raylet = path.name.rsplit("-", 2)[1:]
            if node != here and not killed:
                os.kill(int(raylet), signal.SIGKILL)
                killed.append(node)

    store = prepare(
        DataConfig(source=source, image_size=(24, 32), store_path=Path(stores)),
        progress=lose,
        across=lambda make, tasks: across(note_and_make, tasks),
    )
    return {"path": str(store.path), "warned": warned, "seen": seen, "killed": killed}


# Stores


def copy_here(path: str, cache: str) -> tuple[str, int, str]:
    """Find or copy a store on this node; return where, files fetched, and fingerprint."""
    import search.data.store_transfer as transfer
    from data_pipeline.stores.store import Store

    os.environ["XDG_CACHE_HOME"] = cache
    fetched: list[str] = []
    fetch = transfer._fetch

    def counted(source: Any, name: str, *rest: Any) -> None:
        fetched.append(name)
        fetch(source, name, *rest)

    transfer._fetch, transfer.PIECE_BYTES = counted, 1000
    try:
        place = transfer.store_here(Path(path))
    finally:
        transfer._fetch = fetch
    return str(place), len(fetched), Store.open(place).fingerprint


def block_with_a_file(path: str) -> None:
    """Put a file where a folder would have to be made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("in the way", encoding="utf-8")


def leave_half_a_copy(path: str, whole: str) -> None:
    """Leave what an interrupted copy does: a whole file, a spoilt one, and one under way."""
    import shutil

    half = Path(path).with_name(f"{Path(path).name}.copy")
    half.mkdir(parents=True)
    names = sorted(file.name for file in Path(whole).iterdir())
    shutil.copyfile(Path(whole) / names[0], half / names[0])
    (half / names[1]).write_bytes(bytes((Path(whole) / names[1]).stat().st_size))
    (half / f"{names[2]}.part").write_bytes(b"half")


def copy_to_the_node_that_sees_nothing(
    address: str, stores: dict[str, str], cache: str
) -> dict[str, Any]:
    """Serve stores, and have the node that does not see them ask for them, three at once."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from data_pipeline.stores.store import Store
    from search.cluster.connection import connect
    from search.data.store_transfer import cached, serving

    connect(address)
    (node,) = [n["NodeID"] for n in ray.nodes() if n["Resources"].get("CPU") == 1]
    there = {
        "num_cpus": 0,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False),
    }

    def on_node(function: Any, *arguments: Any) -> Any:
        return ray.remote(function).options(**there).remote(*arguments)

    ray.get(on_node(block_with_a_file, str(Path(stores["blocked"]).parent)))
    os.environ["XDG_CACHE_HOME"] = cache
    half = str(cached(Path(stores["blocked"])))
    ray.get(on_node(leave_half_a_copy, half, stores["seen"]))
    answers = {}
    for name, path in stores.items():
        if name != "seen":
            with serving(Store.open(path)):
                asked = [on_node(copy_here, path, cache) for _ in range(3)]
                answers[name] = ray.get(asked)
                answers[f"{name} again"] = [ray.get(on_node(copy_here, path, cache))]
    return answers


if __name__ == "__main__":
    result = globals()[sys.argv[1]](sys.argv[2], **json.loads(sys.argv[3]))
    sys.stdout.write(json.dumps(result) + "\n")
