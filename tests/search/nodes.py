"""A Ray cluster of several nodes on this machine, whose nodes come and go."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from ray.cluster_utils import Cluster

from results.records.study import StudyRecord, load_study

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def cluster_of(nodes: int) -> Iterator[Cluster]:
    """Start a head without slots and so many nodes of one slot; all are ended afterwards."""
    head = {"num_cpus": 0, "include_dashboard": False, "node_ip_address": own_address()}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(nodes):
            add_node(cluster)
        yield cluster
    finally:
        cluster.shutdown()


def add_node(cluster: Cluster) -> None:
    """Add a node of one slot."""
    cluster.add_node(num_cpus=1, node_ip_address=own_address())


def own_address() -> str:
    """The machine's address, as Ray takes it; once connected, Ray tells that of its own node."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))  # sends nothing
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


class Driver:
    """A search in a process of its own, as a user starts one."""

    def __init__(self, tree: dict[str, Any], folder: Path, module: str = "tests.search.simulated"):
        self.study = Path(tree["study"]["storage_path"]) / tree["study"]["name"]
        self.log = folder / "driver.log"
        self._config = folder / "config.yaml"
        self._config.write_text(yaml.safe_dump(tree), encoding="utf-8")
        self._command = [sys.executable, "-m", *module.split(), str(self._config)]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str, **simulated: Any) -> Driver:
        """Start the search; what is simulated goes to simulated.json."""
        (self.study.parent / "simulated.json").write_text(json.dumps(simulated), encoding="utf-8")
        # Ray's workers import the tests' modules, too.
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        variables = {**os.environ, "PYTHONPATH": paths}
        with open(self.log, "ab") as file:
            self.process = subprocess.Popen(
                [*self._command, *options], stdout=file, stderr=file, env=variables
            )
        return self

    def end(self) -> None:
        """Leave no process behind, whatever the test came to."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def send(self, signal: int) -> None:
        assert self.process is not None
        self.process.send_signal(signal)

    def wait(self, seconds: float = 120) -> int:
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"still running after {seconds} s:\n{self.text}") from None

    @property
    def text(self) -> str:
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""

    def until(self, condition: Callable[[], Any], seconds: float = 90) -> None:
        """Wait until something is so, while the search runs."""
        end = time.monotonic() + seconds
        while not condition():
            assert self.process is not None
            assert self.process.poll() is None, self.text
            assert time.monotonic() < end, self.text
            time.sleep(0.05)

    def record(self) -> StudyRecord:
        return load_study(self.study)

    def epochs(self) -> dict[int, int]:
        """Whole epochs on disk by trial."""
        found = {}
        for path in sorted(self.study.glob("trials/*/metrics.jsonl")):
            found[int(path.parent.name)] = path.read_text(encoding="utf-8").count("\n")
        return found

    def states(self) -> dict[int, str]:
        return {trial.number: trial.state for trial in self.record().trials}
