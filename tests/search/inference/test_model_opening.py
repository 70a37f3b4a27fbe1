from __future__ import annotations

from pathlib import Path

import pytest

from search.config.errors import ConfigError
from search.inference.model_opening import open_model
from search.process.resources import WorkerResources
from tests.model.lookup import write_lookup


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[WorkerResources]:
    """What the process was set up for; it cannot be once the tests have used TensorFlow."""
    found: list[WorkerResources] = []
    monkeypatch.setattr("search.process.setup.set_up_process", found.append)
    return found


def test_a_model_is_opened_with_what_is_known_of_it_and_its_threads(
    tmp_path: Path, asked: list[WorkerResources]
) -> None:
    path = write_lookup(tmp_path / "best.keras", (16, 16, 1), 3)

    opened, facts = open_model(path, None, threads=2)

    assert opened.num_classes == facts.num_classes == 3
    assert asked == [WorkerResources(cpus=2, gpus=1)]


def test_a_gpu_that_is_not_there_is_told(tmp_path: Path, asked: list[WorkerResources]) -> None:
    path = write_lookup(tmp_path / "best.keras", (16, 16, 1), 3)

    with pytest.raises(ConfigError, match="expected a GPU that TensorFlow sees"):
        open_model(path, None, threads=1, device="gpu")
