"""A study through Ray Client, from another process: interrupted, and continued to its end."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from search.config.loading import config_from_tree
from search.errors import RunError
from search.tuning.remote import run_remotely
from tests.search.raylets import ROOT, free_port, raylets
from tests.search.tiny import tiny_tree

pytestmark = pytest.mark.cluster


def start(config: Path, address: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "search", "run", str(config), "--address", address],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        # Pytest may have been started with SIGINT ignored, as a shell's background jobs are.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.mark.soak
def test_an_interrupted_run_ends_there_and_is_continued(
    tmp_path: Path, synthetic_folder: Path
) -> None:
    tree = tiny_tree(tmp_path, synthetic_folder, num_trials=1, pruner="none")
    tree["resources"] = {"cpus_per_trial": 1}
    tree["train"] |= {"epochs": 40, "steps_per_epoch": 4}
    config = tmp_path / "study.yaml"
    config.write_text(yaml.safe_dump(tree), encoding="utf-8")
    with raylets({"num_cpus": 1}, ray_client_server_port=free_port()) as addresses:
        with start(config, addresses["client"]) as driver:
            seen: list[str] = []
            for line in driver.stdout or ():
                seen.append(line)
                if "trial 0 started" in line:
                    driver.send_signal(signal.SIGINT)
            assert driver.wait(timeout=60) == 130, "".join(seen)
        assert any("not finished; the same command continues it" in line for line in seen), seen
        assert not any("COMPLETE" in line for line in seen), seen

        with start(config, addresses["client"]) as driver:
            text, _ = driver.communicate(timeout=120)
    assert driver.returncode == 0, text
    assert "1 COMPLETE" in text
    assert "best: trial" in text


def test_relative_paths_are_refused_before_anything_is_asked(
    tmp_path: Path, synthetic_folder: Path
) -> None:
    tree = tiny_tree(Path("studies"), synthetic_folder)
    tree["resources"] = {"ray_address": f"ray://127.0.0.1:{free_port()}"}
    study = config_from_tree(tree)

    with pytest.raises(RunError, match=r"study.storage_path: expected an absolute path"):
        run_remotely(study, observer=None, progress=lambda done, total: None)  # type: ignore[arg-type]
