"""A real Ray of several nodes on this machine, in a process of its own.

``python -m tests.search.raylets '{"workers": [{"num_cpus": 1}]}'`` prints the addresses, as JSON,
and ends the nodes when its standard input is closed. The head has no slots.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def raylets(
    *workers: dict[str, Any], env: dict[str, str] | None = None, **head: Any
) -> Iterator[dict[str, str]]:
    """Start nodes; a worker's ``env`` is its own, ``env`` that of all.

    A worker's ``hide`` is a folder in whose place it sees an empty one, as a machine does that has
    not mounted what the others share; it needs ``unshare``.

    Yields:
        Ray's ``address``, and those of ``client`` and ``dashboard`` where the head has them.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.search.raylets", json.dumps([head, *workers])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
    )
    try:
        line = next((line for line in process.stdout or () if line.startswith("{")), None)
        assert line is not None, "the nodes did not start"
        yield json.loads(line)
    finally:
        process.communicate()


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _main(head: dict[str, Any], *workers: dict[str, Any]) -> None:
    from ray.cluster_utils import Cluster

    arguments = {
        "num_cpus": 0,
        "include_dashboard": False,
        "object_store_memory": 10**8,
        # By default all heads of a machine want the same one.
        "dashboard_agent_listen_port": free_port(),
        **head,
    }
    cluster = Cluster(initialize_head=True, head_node_args=arguments)
    hidden = [_join_hidden(cluster.address, w.pop("hide")) for w in workers if "hide" in w]
    for worker in workers:
        if worker:  # its "hide" is taken out
            _join(cluster, worker)
    _wait_for(cluster, 1 + len(workers))
    port = head.get("ray_client_server_port")
    if port is not None:
        _wait_for_listener(port)
    addresses = {
        "address": cluster.address,
        "client": f"ray://127.0.0.1:{port}",
        "dashboard": f"http://{cluster.head_node.webui_url}",
    }
    sys.stdout.write(json.dumps(addresses) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    cluster.shutdown()
    for process in hidden:  # after the head: alive, it would be asked to drain them
        process.terminate()
        process.wait()


def _join(cluster: Any, worker: dict[str, Any]) -> None:
    own = worker.pop("env", {})
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    cluster.add_node(object_store_memory=10**8, **worker)
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


def _join_hidden(address: str, folder: str) -> subprocess.Popen[bytes]:
    ray = Path(sys.executable).with_name("ray")
    start = f"{ray} start --address {address} --num-cpus 1 --block --disable-usage-stats"
    script = f"mount -t tmpfs none '{folder}' && exec {start} --object-store-memory 100000000"
    return subprocess.Popen(
        ["unshare", "-rm", "sh", "-c", script],
        stdout=subprocess.DEVNULL,
        # Otherwise it waits half a minute for the head, which has ended.
        env={**os.environ, "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"},
    )


def _wait_for(cluster: Any, nodes: int) -> None:
    deadline = time.monotonic() + 60
    while len(cluster.global_state._live_node_ids()) < nodes:
        if time.monotonic() > deadline:
            raise TimeoutError(f"expected {nodes} nodes")
        time.sleep(0.1)


def _wait_for_listener(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


if __name__ == "__main__":
    _main(*json.loads(sys.argv[1]))
