"""Clusters looked at, on a real Ray of several nodes: well, and broken one way at a time."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from data_pipeline.stores.prepare import prepare
from data_pipeline.stores.store import Store
from model.processor import this_processor
from search.cluster.doctor import DoctorFinding, check_cluster, examine, findings_table
from search.cluster.inspector import PACKAGES, Inspector
from search.config.loading import config_from_tree
from search.config.schema import StudyConfig
from search.errors import RunError
from tests.search.raylets import ROOT, free_port, raylets
from tests.search.tiny import tiny_tree

TOKEN = "the-tests-own-token-0123456789abcdef"
AUTHENTICATED = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}


def call(*arguments: object, code: int = 0, cwd: Path = ROOT, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "search", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **AUTHENTICATED, "COLUMNS": "160", **env},
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def config(tmp_path: Path, synthetic_folder: Path) -> Path:
    return write_config(tmp_path, synthetic_folder)


def write_config(folder: Path, source: Path) -> Path:
    tree = tiny_tree(folder, source, num_trials=2)
    tree["resources"] = {"cpus_per_trial": 1}
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A head without slots, one good node and one where another Optuna is found, with a token."""
    other = tmp_path_factory.mktemp("other")
    (other / "optuna-4.1.0.dist-info").mkdir()
    metadata = "Metadata-Version: 2.1\nName: optuna\nVersion: 4.1.0\n"
    (other / "optuna-4.1.0.dist-info" / "METADATA").write_text(metadata, encoding="utf-8")
    strange = {
        "num_cpus": 1,
        "memory": 10**14,  # it promises what it has not
        # Slower than the good node, whatever processor this machine has.
        "env": {
            "PYTHONPATH": str(other),
            "TF_ENABLE_ONEDNN_OPTS": "0",
            "ONEDNN_MAX_CPU_ISA": "SSE41",
        },
    }
    with raylets({"num_cpus": 1}, strange, env=AUTHENTICATED) as addresses:
        yield addresses["address"]


@pytest.mark.cluster
def test_each_problem_of_each_node_is_found(cluster: str, config: Path) -> None:
    text = call(
        *("doctor", config, "--address", cluster),
        *("--set", "resources.min_free_disk_gb=1e9"),
        *("--set", "resources.memory_per_trial=90000"),
        code=1,
    )

    problems = [line for line in text.splitlines() if "; " in line]
    assert sum(": versions: optuna 4.1.0 here" in line for line in problems) == 1
    assert sum(": disk: study: expected 1e+09 GB free" in line for line in problems) == 3
    assert sum(": disk: Ray: expected 1e+09 GB free" in line for line in problems) == 3
    assert sum(": memory: " in line for line in problems) == 1
    assert sum("make room" in line for line in problems) == 6
    assert "│ processor " in text
    for check in ("answers", "data", "storage", "shared storage", "clock", "ports"):
        assert not any(f": {check}: " in line for line in problems), text
        assert f"│ {check} " in text


@pytest.mark.cluster
def test_a_run_does_not_start_on_a_cluster_with_a_problem(cluster: str, config: Path) -> None:
    text = call("run", config, "--address", cluster, code=2)

    assert "versions: optuna 4.1.0 here" in text
    other = f"SSE, no oneDNN kernels, where the fastest node has {this_processor()}; trials take"
    assert text.count(f": processor: {other}") == 1, "and the head, without slots, is not compared"
    assert "trial 0" not in text


@pytest.mark.soak
@pytest.mark.cluster
def test_a_wrong_token_is_refused_and_said(cluster: str, config: Path) -> None:
    text = call("doctor", config, "--address", cluster, code=2, RAY_AUTH_TOKEN="wrong" * 8)

    assert "expected a Ray cluster at" in text
    assert "RAY_AUTH_TOKEN" in text


def unshare_works() -> bool:
    command = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs none /mnt"]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.soak
@pytest.mark.cluster
def test_a_node_that_sees_nothing_of_the_shared_folder_is_found_and_has_this_code_all_the_same(
    tmp_path: Path, synthetic_folder: Path
) -> None:
    if not unshare_works():
        pytest.skip("unshare -rm does not work here, so no node can be given folders of its own")
    shared = tmp_path / "shared"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, shared / "code" / name)
    # Other code than what is installed: the node has it by the run alone.
    with open(shared / "code" / "model" / "cost.py", "a", encoding="utf-8") as file:
        file.write("# changed\n")
    config = write_config(shared, synthetic_folder)
    extra = ("--set", f"data.store_path={shared / 'stores'}")
    with raylets({"hide": str(shared)}, env=AUTHENTICATED) as addresses:
        text = call(
            *("doctor", config, "--address", addresses["address"], *extra),
            code=1,
            cwd=shared / "code",
            PYTHONPATH=str(shared / "code"),
        )

    problems = [line for line in text.splitlines() if "; " in line]
    assert len(problems) == 3, text
    assert len({line.split(": ")[0] for line in problems}) == 1
    assert "data: expected the prepared data in" in text
    assert "storage: FileNotFoundError" in text
    assert "shared storage: cannot read what " in text


def test_an_address_where_nothing_listens_is_said_at_once(config: Path) -> None:
    for address in (f"127.0.0.1:{free_port()}", f"ray://127.0.0.1:{free_port()}", "nonsense"):
        extra = ("--set", "data.source=synthetic")
        text = call("doctor", config, "--address", address, *extra, code=2)
        assert f"expected a Ray cluster at '{address}'" in text


# On the session's own Ray of one node.


@pytest.fixture
def study(tmp_path: Path, synthetic_folder: Path) -> StudyConfig:
    return config_from_tree(tiny_tree(tmp_path, synthetic_folder))


@pytest.fixture
def store(study: StudyConfig) -> Store:
    return prepare(study.data)


def failures(findings: list[DoctorFinding]) -> dict[str, str]:
    return {finding.check: finding.detail for finding in findings if finding.level == "fail"}


@pytest.mark.cluster
def test_a_good_node_passes_and_nothing_is_left_behind(
    ray_session: None, study: StudyConfig, store: Store
) -> None:
    before = set(study.directory.parent.iterdir())
    findings = examine(study, store)

    assert failures(findings) == {}
    checks = {f.check: f.detail for f in findings}
    assert checks.keys() >= {"answers", "versions", "data", "storage", "clock"}
    assert checks["processor"] == str(this_processor())
    assert set(study.directory.parent.iterdir()) == before


@pytest.mark.cluster
def test_other_data_and_no_data_are_told_apart(
    ray_session: None, study: StudyConfig, store: Store
) -> None:
    gone = dataclasses.replace(store, path=store.path.with_name("gone"))
    other = dataclasses.replace(store, fingerprint="0" * 64)

    assert "expected the prepared data in" in failures(examine(study, gone))["data"]
    assert "expected fingerprint 0000" in failures(examine(study, other))["data"]
    with pytest.raises(RunError, match="gone"):
        check_cluster(study, gone, warn=lambda message: None)


@pytest.mark.cluster
def test_a_node_that_does_not_answer_is_reported_and_not_waited_for(
    ray_session: None, study: StudyConfig, store: Store
) -> None:
    findings = examine(study, store, seconds=1e-3)

    assert "in 0.001 s, got none" in failures(findings)["answers"]


@pytest.mark.cluster
def test_a_storage_that_cannot_be_written_is_an_error(
    ray_session: None, tmp_path: Path, synthetic_folder: Path, store: Store
) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    study = config_from_tree(tiny_tree(tmp_path / "file", synthetic_folder))

    for look in (lambda: examine(study, store), lambda: check_cluster(study, store, str)):
        with pytest.raises(RunError, match=r"storage: \w+Error: .*every node may write"):
            look()


# Of what a node answers, what a single machine cannot show on a cluster.


def test_a_port_that_is_closed_is_named() -> None:
    inspector, closed = Inspector(), free_port()
    port = inspector.listen("127.0.0.1")
    answers = inspector.reach([("127.0.0.1", port), ("127.0.0.1", closed)])
    inspector.close()

    assert list(answers) == [f"127.0.0.1:{closed}"]
    assert "ConnectionRefusedError" in answers[f"127.0.0.1:{closed}"]


def test_many_nodes_are_counted_not_listed() -> None:
    findings = [
        DoctorFinding("data", f"10.0.0.{n}", "fail" if n == 7 else "ok", "") for n in range(90)
    ]
    table = findings_table(findings)

    assert [str(column.header) for column in table.columns] == ["Check", "90 nodes"]
    assert [str(cell) for cell in table.columns[1].cells] == ["89 of 90 well"]


def test_of_many_nodes_the_kinds_are_named_where_they_are_few() -> None:
    def cell(*details: str) -> str:
        findings = [
            DoctorFinding("processor", f"10.0.0.{n}", "ok", d) for n, d in enumerate(details)
        ]
        return str(next(iter(findings_table(findings).columns[1].cells)))

    fast, slow = "AVX-512, oneDNN kernels", "AVX2, no oneDNN kernels"
    assert cell(*[fast] * 8, slow) == f"9 of 9 well\n8 x {fast}\n1 x {slow}"
    assert cell(*map(str, range(9))) == "9 of 9 well"
