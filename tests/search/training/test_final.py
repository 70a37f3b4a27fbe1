from __future__ import annotations

import json
from pathlib import Path

import pytest

from search.config.errors import ConfigError
from search.config.loading import config_from_tree
from search.config.schema import StudyConfig
from search.training.final import final_epochs
from tests.results.simulated_training import epoch_line, write_training


@pytest.fixture(scope="module")
def constants() -> StudyConfig:
    tree = {
        "data": {"source": "synthetic", "image_size": 16},
        "model": {"num_layers": 2, "base_filters": 4, "base_kernel": 3, "dropout_rate": 0.0},
        "train": {"epochs": 9, "learning_rate": 0.01},
    }
    return config_from_tree(tree)


def with_provenance(config: StudyConfig, **provenance: object) -> StudyConfig:
    return config.model_copy(update={"provenance": provenance})


def test_what_is_asked_for_counts_before_what_is_known(
    constants: StudyConfig, tmp_path: Path
) -> None:
    exported = with_provenance(constants, best_epoch=7)
    earlier = write_training(tmp_path / "out")
    assert final_epochs(exported) == 7
    assert final_epochs(exported, earlier=earlier) == 4
    assert final_epochs(exported, asked=2, earlier=earlier) == 2


def test_the_earliest_of_equal_epochs_is_taken(constants: StudyConfig, tmp_path: Path) -> None:
    earlier = write_training(tmp_path / "out")
    lines = [epoch_line(number, 3, ["background", "a"]) for number in (1, 2, 3, 4)]
    lines[3]["objective"] = lines[2]["objective"]
    lines[0]["objective"] = None
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (earlier / "metrics.jsonl").write_text(text)
    assert final_epochs(constants, earlier=earlier) == 3


def test_where_nothing_tells_the_epochs_it_says_what_would(
    constants: StudyConfig, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"--epochs N, --epochs-from OUT_DIR .* received none"):
        final_epochs(constants)
    with pytest.raises(ConfigError, match="received none"):
        final_epochs(with_provenance(constants, best_epoch=None))
    with pytest.raises(ConfigError, match=r"found no training.yaml"):
        final_epochs(constants, earlier=tmp_path)
    final = write_training(tmp_path / "final", final=True)
    with pytest.raises(ConfigError, match="received no epoch with scores"):
        final_epochs(constants, earlier=final)
