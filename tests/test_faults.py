"""What happens to a cluster happens to the search: several real nodes, real processes killed.

The training is simulated where the fault does not concern it (``tests/search/simulated.py``).
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from search.config.loading import config_from_tree
from search.study.opening import open_study
from tests.search.nodes import Driver, add_node, cluster_of
from tests.search.tiny import tiny_tree

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with cluster_of(2) as cluster:
        yield cluster


Drive = Callable[[dict[str, Any], Path], Driver]


@pytest.fixture
def drive() -> Iterator[Drive]:
    """Starts drivers, and ends those that a failed test leaves."""
    drivers: list[Driver] = []

    def make(tree: dict[str, Any], folder: Path) -> Driver:
        drivers.append(Driver(tree, folder))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.end()


def simulated(folder: Path, source: Path, address: str | None, **sections: Any) -> dict[str, Any]:
    tree = tiny_tree(folder, source, pruner="none", **sections.get("search", {}))
    tree["train"] |= {"epochs": 6, "learning_rate": {"float": [1e-4, 1e-2], "log": True}}
    tree["resources"] |= {"ray_address": address, "min_free_disk_gb": 0}
    tree["resources"] |= sections.get("resources", {})
    if address:
        del tree["resources"]["num_cpus"]
    return tree


def test_each_fault_of_a_trial_ends_in_its_stated_way(
    cluster: Cluster, tmp_path: Path, synthetic_folder: Path, drive: Drive
) -> None:
    tree = simulated(
        tmp_path,
        synthetic_folder,
        cluster.address,
        search={"num_trials": 8},
        resources={"max_failures": 2, "trial_timeout_minutes": 0.05},
    )
    plan = {
        0: ("raise", 1),
        1: ("nan", 1),
        2: ("memory", 1),
        3: ("hang", 1),
        4: ("die", 1),
        5: ("die", 99),
    }
    faults = {n: {"fault": f, "epoch": 3, "times": times} for n, (f, times) in plan.items()}
    driver = drive(tree, tmp_path).start(faults=faults)

    assert driver.wait() == 0, driver.text
    trials = {trial.number: trial for trial in driver.record().trials}
    expected = {
        0: ("FAIL", "ValueError: a defect"),
        1: ("FAIL", "received nan at step 3"),
        2: ("FAIL", "out of memory: cannot allocate"),
        3: ("COMPLETE", None),  # killed, and gone on from epoch 2
        4: ("COMPLETE", None),
        5: ("FAIL", "its worker process died; failure 3 in a row after epoch 2"),
        6: ("COMPLETE", None),
        7: ("COMPLETE", None),
    }
    for number, (state, reason) in expected.items():
        assert trials[number].state == state, (number, trials[number].reason)
        assert (reason or "") in (trials[number].reason or "")
    assert [f.reason for f in trials[3].failures] == [
        "no report for 0.05 minutes (trial_timeout_minutes)"
    ]
    assert [f.epoch for f in trials[5].failures] == [2, 2, 2]
    assert all(len(trials[number].curve) == 6 for number in (3, 4, 6, 7))


def started(driver: Driver) -> bool:
    return len(driver.epochs()) > 0


def all_complete(driver: Driver, trials: int) -> None:
    """The end that every lost node and process must lead to: all told, no epoch missing."""
    record = driver.record()
    assert [(t.number, t.state) for t in record.trials] == [
        (number, "COMPLETE") for number in range(trials)
    ], driver.text
    for trial in record.trials:
        assert trial.curve.epoch.tolist() == list(range(1, len(trial.curve) + 1))


@pytest.mark.soak
def test_nodes_that_die_come_back_and_are_added_neither_lose_nor_idle_trials(
    tmp_path: Path, synthetic_folder: Path, drive: Drive
) -> None:
    with cluster_of(2) as cluster:
        tree = simulated(tmp_path, synthetic_folder, cluster.address, search={"num_trials": 6})
        tree["train"]["epochs"] = 24
        driver = drive(tree, tmp_path).start(seconds=0.2)

        # One node with its trial: that goes on elsewhere.
        driver.until(lambda: sum(driver.epochs().values()) >= 8 and len(driver.epochs()) >= 2)
        cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
        driver.until(lambda: "it goes on after epoch" in driver.text)

        # The other one too: the search waits, and goes on when a node comes back.
        cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
        driver.until(lambda: driver.text.count("it goes on after epoch") >= 2)
        before = driver.epochs()
        time.sleep(2)
        assert driver.epochs() == before
        add_node(cluster)
        driver.until(lambda: sum(driver.epochs().values()) > sum(before.values()) + 2)

        # A second one, added while the search runs, is used.
        add_node(cluster)
        driver.until(lambda: list(driver.states().values()).count("RUNNING") == 2)
        assert driver.wait(200) == 0, driver.text

    all_complete(driver, 6)
    lost = [failure for trial in driver.record().trials for failure in trial.failures]
    assert {f.reason for f in lost} <= {"its node was lost", "its worker cannot be reached"}
    assert any(failure.epoch > 0 for failure in lost)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.soak)],
)
def test_a_signal_ends_the_run_in_order_and_it_goes_on_when_run_again(
    cluster: Cluster, tmp_path: Path, synthetic_folder: Path, drive: Drive, number: int, code: int
) -> None:
    tree = simulated(tmp_path, synthetic_folder, cluster.address, search={"num_trials": 2})
    driver = drive(tree, tmp_path).start(seconds=0.5)
    driver.until(lambda: min([0, *driver.epochs().values()][-2:]) >= 1)
    driver.send(number)

    assert driver.wait(40) == code, driver.text
    assert f"stopped: {signal.Signals(number).name}" in driver.text
    epochs = driver.epochs()
    assert set(driver.states().values()) == {"RUNNING"}
    assert all(0 < count < 6 for count in epochs.values())
    # The epochs in flight were waited for, and told.
    told = open_study(config_from_tree(tree)).get_trials()
    assert {t.number: len(t.intermediate_values) for t in told} == epochs

    assert driver.start().wait() == 0, driver.text
    all_complete(driver, 2)


@pytest.mark.soak
def test_a_second_signal_leaves_at_once(
    cluster: Cluster, tmp_path: Path, synthetic_folder: Path, drive: Drive
) -> None:
    tree = simulated(tmp_path, synthetic_folder, cluster.address, search={"num_trials": 1})
    driver = drive(tree, tmp_path).start(seconds=4)
    driver.until(lambda: "started" in driver.text and (driver.study / "trials/00000/owner").exists)
    driver.send(signal.SIGINT)
    time.sleep(0.5)
    began = time.monotonic()
    driver.send(signal.SIGINT)

    assert driver.wait(5) == 130
    assert time.monotonic() - began < 2
    assert driver.start().wait() == 0, driver.text
    all_complete(driver, 1)


@pytest.mark.soak
def test_a_second_driver_is_refused_by_name_and_a_dead_ones_study_is_taken_over(
    cluster: Cluster, tmp_path: Path, synthetic_folder: Path, drive: Drive
) -> None:
    tree = simulated(tmp_path, synthetic_folder, cluster.address, search={"num_trials": 1})
    driver = drive(tree, tmp_path).start(seconds=2)
    driver.until(lambda: started(driver))
    assert driver.process is not None
    (tmp_path / "second").mkdir()
    second = drive(tree, tmp_path / "second")

    assert second.start("--take-over", seconds=2).wait() == 2
    assert f"is being run by process {driver.process.pid} on {socket.gethostname()}" in second.text
    assert "alive" in second.text

    driver.send(signal.SIGSTOP)  # neither dead nor alive: it holds the lock and moves no more
    assert second.start(seconds=2).wait() == 2
    assert "--take-over" in second.text
    assert second.start("--take-over", seconds=0.1).wait() == 0, second.text
    all_complete(second, 1)
    before = (driver.study / "optuna.journal").read_bytes()

    driver.send(signal.SIGCONT)  # the first one wakes up, and must not write any more
    assert driver.wait(60) == 75, driver.text
    assert "another process has taken the study over" in driver.text
    assert (driver.study / "optuna.journal").read_bytes() == before


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 kB of its own, which can be taken away and brought back."""
    folder, share = tmp_path / "disk", tmp_path / "share"
    folder.mkdir()
    share.mkdir()
    try:
        mount("-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder))
    except subprocess.CalledProcessError:
        pytest.skip("needs the right to mount a file system")
    mount("--bind", str(folder), str(share))
    yield share
    for path in (share, folder):
        subprocess.run(["umount", "-l", str(path)], check=False, capture_output=True)


def take_away(share: Path) -> None:
    subprocess.run(["umount", "-l", str(share)], check=True)


def bring_back(share: Path, *, read_only: bool = False) -> None:
    mount("--bind", str(share.with_name("disk")), str(share))
    if read_only:
        mount("-o", "remount,ro,bind", str(share))


def fill(folder: Path) -> Path:
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
        while True:
            file.write(b"x" * 512)
    return ballast


def test_a_storage_full_gone_and_read_only_pauses_the_search_and_no_trial_is_lost(
    cluster: Cluster, tmp_path: Path, synthetic_folder: Path, drive: Drive, disk: Path
) -> None:
    tree = simulated(disk, synthetic_folder, cluster.address, search={"num_trials": 4})
    tree["train"]["epochs"] = 12
    tree["data"]["store_path"] = str(tmp_path / "store")
    driver = drive(tree, tmp_path).start(seconds=0.3)

    def goes_on() -> None:
        done = sum(driver.epochs().values())
        driver.until(lambda: sum(driver.epochs().values()) > done + 2)

    goes_on()
    ballast = fill(disk)
    driver.until(lambda: "the storage is full" in driver.text)
    ballast.unlink()
    goes_on()

    take_away(disk)
    driver.until(lambda: "the storage is gone" in driver.text)
    time.sleep(1)
    assert list(disk.iterdir()) == []  # nothing is begun anew below the mount point
    bring_back(disk, read_only=True)
    driver.until(lambda: "the storage is read-only" in driver.text)
    take_away(disk)
    bring_back(disk)

    assert driver.wait(120) == 0, driver.text
    assert "writing again" in driver.text
    all_complete(driver, 4)


@pytest.mark.soak
def test_a_storage_that_stays_away_ends_the_run_in_order(
    cluster: Cluster, tmp_path: Path, synthetic_folder: Path, drive: Drive, disk: Path
) -> None:
    tree = simulated(
        disk,
        synthetic_folder,
        cluster.address,
        search={"num_trials": 3},
        resources={"storage_patience_minutes": 0.1},
    )
    tree["data"]["store_path"] = str(tmp_path / "store")
    driver = drive(tree, tmp_path).start(seconds=0.3)
    driver.until(lambda: sum(driver.epochs().values()) >= 4)
    take_away(disk)

    assert driver.wait(90) == 75, driver.text
    assert "the storage is gone" in driver.text
    bring_back(disk)
    assert driver.start().wait() == 0, driver.text
    all_complete(driver, 3)
