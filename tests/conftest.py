"""What the tests share: small real data, one Ray for the session, the real photographs' place."""

from __future__ import annotations

import os
import shutil

# Two trials and the driver on two cores: each must keep to one thread. Set before TensorFlow.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

from collections.abc import Iterator
from pathlib import Path

import pytest

from data_pipeline.datasets.synthetic import write_synthetic
from model.processor import use_onednn
from search.config.settings import ResourceSettings

use_onednn()  # as the processes of a search do


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the session's Ray."""
    for item in items:
        if "ray_session" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def synthetic_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set of the embedded kind, made once."""
    folder = tmp_path_factory.mktemp("data") / "synthetic"
    write_synthetic(folder, seed=0, tiles=24)
    return folder


@pytest.fixture(scope="session")
def undivided_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set without splits, to be dealt into folds."""
    folder = tmp_path_factory.mktemp("data") / "undivided"
    synthetic_folder = tmp_path_factory.mktemp("data") / "divided"
    write_synthetic(synthetic_folder, seed=0, tiles=48)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
        for path in synthetic_folder.glob(f"*/{kind}/*"):
            shutil.copyfile(path, folder / kind / path.name)
    shutil.copyfile(synthetic_folder / "dataset.yaml", folder / "dataset.yaml")
    return folder


@pytest.fixture(scope="session")
def magnetic_tile_raw() -> Path:
    """The authors' folder of magnetic-tile photographs, named by MAGNETIC_TILE."""
    folder = os.environ.get("MAGNETIC_TILE")
    if not folder:
        pytest.skip("MAGNETIC_TILE does not name the folder of real photographs")
    return Path(folder)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One Ray of two cores for every test that needs one."""
    import ray

    from search.cluster.connection import start_ray

    start_ray(ResourceSettings(num_cpus=2))
    yield
    ray.shutdown()
