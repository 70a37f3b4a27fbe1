from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from search.config import ConfigError, StudyConfig
from tests.search.tiny import tiny_study, tiny_tree

CODE = """
import json, sys, yaml
from pathlib import Path
from search.config import StudyConfig
from search.production import train_config
config = StudyConfig.from_tree(yaml.safe_load(Path(sys.argv[1]).read_text()))
seen = []
best = train_config(config, Path(sys.argv[2]), on_epoch=lambda r: seen.append(r["epoch"]))
print(json.dumps({"seen": seen, "best": best["epoch"]}))
"""


def constants(folder: Path, source: Path, **train: object) -> dict:
    tree = tiny_tree(folder, source)
    tree["model"] |= {"num_layers": 2, "base_filters": 4}
    tree["train"] |= {"learning_rate": 0.01} | train
    return tree


def train(tree: dict, folder: Path) -> dict:
    """Train in a process of its own, as the command does: it sets TensorFlow's threads."""
    import subprocess
    import sys

    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    output = subprocess.run(
        [sys.executable, "-c", CODE, str(folder / "config.yaml"), str(folder / "out")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return json.loads(output.splitlines()[-1])


def test_training_stops_early_and_running_again_adds_nothing(
    synthetic_folder: Path, tmp_path: Path
) -> None:
    tree = constants(
        tmp_path, synthetic_folder, epochs=9, learning_rate=1e-12, early_stopping_patience=2
    )
    first = train(tree, tmp_path)
    assert first["seen"] == list(range(1, first["best"] + 3))
    assert (tmp_path / "out" / "best.keras").exists()
    assert train(tree, tmp_path) == {"seen": [], "best": first["best"]}


def test_a_searched_field_is_refused_by_name(synthetic_folder: Path, tmp_path: Path) -> None:
    from search.production import train_config

    with pytest.raises(ConfigError, match=r"model.num_layers: expected a constant") as caught:
        train_config(tiny_study(tmp_path, synthetic_folder), tmp_path / "out")
    assert "model.base_filters" in str(caught.value)


def test_another_configs_folder_is_refused(synthetic_folder: Path, tmp_path: Path) -> None:
    from search.production import train_config

    tree = constants(tmp_path, synthetic_folder)
    out = tmp_path / "out"
    out.mkdir()
    before = StudyConfig.from_tree(tree | {"model": tree["model"] | {"base_filters": 2}})
    record = {"config": before.to_tree(), "data_fingerprint": "other data"}
    (out / "training.yaml").write_text(yaml.safe_dump(record))
    tree["study"]["seed"] = 6
    with pytest.raises(ConfigError) as caught:
        train_config(StudyConfig.from_tree(tree), out)

    assert "model.base_filters: expected 2 as in training.yaml, received 4" in str(caught.value)
    assert "study.seed: expected 5" in str(caught.value)
    assert "data_fingerprint: expected 'other data'" in str(caught.value)


def test_stderr_goes_to_the_file_and_comes_back(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from search.production import stderr_to

    path = tmp_path / "out" / "train.log"

    def fail() -> None:
        with stderr_to(path):
            os.write(2, b"noise\n")
            raise ValueError("raised inside")

    with pytest.raises(ValueError, match="raised inside"):
        fail()
    os.write(2, b"said after\n")

    assert path.read_text() == "noise\n"
    assert capfd.readouterr().err == "said after\n"
