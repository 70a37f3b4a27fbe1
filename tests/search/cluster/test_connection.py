"""Where Ray is, and a study as a job submitted to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from search.cluster.connection import join_patiently, ray_address
from search.cluster.inspector import PACKAGES
from search.config.settings import ResourceSettings
from tests.search.raylets import ROOT, free_port, raylets
from tests.search.tiny import tiny_tree


class SlowHead:
    """A client's server that comes up at the third try."""

    tries = 0

    def join(self) -> None:
        self.tries += 1
        if self.tries < 3:
            raise ConnectionAbortedError("Initialization failure from server")


def test_a_client_waits_for_a_busy_head() -> None:
    head = SlowHead()

    join_patiently("ray://127.0.0.1:10001", head.join)

    assert head.tries == 3


def test_only_a_client_is_tried_again() -> None:
    head = SlowHead()

    with pytest.raises(ConnectionAbortedError):
        join_patiently("127.0.0.1:6379", head.join)

    assert head.tries == 1


@pytest.mark.parametrize(
    ("config", "environment", "expected"),
    [
        (None, None, None),
        (None, "", None),
        (None, "10.0.0.1:6379", "10.0.0.1:6379"),
        ("auto", "10.0.0.1:6379", "auto"),
        ("local", "10.0.0.1:6379", None),
    ],
)
def test_the_configs_address_goes_before_the_environments(
    config: str | None,
    environment: str | None,
    expected: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if environment is not None:
        monkeypatch.setenv("RAY_ADDRESS", environment)

    assert ray_address(ResourceSettings(ray_address=config)) == expected


@pytest.mark.soak
@pytest.mark.cluster
def test_a_study_runs_as_a_submitted_job(tmp_path: Path, synthetic_folder: Path) -> None:
    pytest.importorskip("aiohttp", reason="ray job submit needs the extra 'cluster'")
    folder = tmp_path / "job"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    tree = tiny_tree(tmp_path, synthetic_folder, num_trials=1)
    tree["resources"] = {"cpus_per_trial": 1}
    (folder / "study.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a-token-of-the-test-0123456789"}
    # One node: several on one machine share the folder that the job runs in, and each unpacks it
    # anew, over the others'.
    head = {"num_cpus": 1, "include_dashboard": True, "dashboard_port": free_port()}
    with raylets(env=auth, **head) as addresses:
        ray = Path(sys.executable).with_name("ray")
        submit = [ray, "job", "submit", "--address", addresses["dashboard"]]
        entrypoint = [sys.executable, "-m", "search", "run", "study.yaml", "--address", "auto"]
        done = subprocess.run(
            [*submit, "--working-dir", folder, "--", *entrypoint],
            capture_output=True,
            text=True,
            env={**os.environ, **auth},
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 COMPLETE" in done.stdout
    assert (tmp_path / "tiny" / "trials" / "00000" / "best.keras").exists()
