"""A model whose predictions are known, scored on images of twice the prepared size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_pipeline.config import DataConfig
from data_pipeline.problems import DataError
from data_pipeline.stores.prepare import prepare
from data_pipeline.stores.store import Store
from results.records.evaluation import Evaluation
from search.scoring.model import score_model
from tests.data_pipeline.files import encode, rgb_mask, write_yaml
from tests.model.lookup import write_lookup

pytestmark = pytest.mark.processor


def write(folder: Path, split: str, stem: str, shown: np.ndarray, mask: np.ndarray) -> None:
    for kind, data in (("images", encode(".png", shown)), ("masks", rgb_mask(mask))):
        path = folder / split / kind / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def square(top: int, left: int, label: int, shape: tuple[int, int] = (16, 16)) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[top : top + 4, left : left + 4] = label
    return mask


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    """What an image shows is what is predicted of it: the first is half right, the second all."""
    folder = tmp_path / "data"
    write_yaml(folder)
    write(folder, "train", "t", square(0, 0, 1), square(0, 0, 1))
    write(folder, "valid", "a", square(4, 6, 1), square(4, 4, 1))
    write(folder, "valid", "b", square(8, 8, 2), square(8, 8, 2))
    return DataConfig(source=str(folder), image_size=8)


@pytest.fixture
def store(data: DataConfig) -> Store:
    return prepare(data)


def scored(store: Store, data: DataConfig, folder: Path, **facts: Any) -> Evaluation:
    path = write_lookup(folder / "best.keras", (8, 8, 1), 3)
    return score_model(
        path, store, data, "valid", name="trial-00003", trial=3, epoch=7, batch_size=1, **facts
    )


def test_images_are_counted_at_their_own_size(
    store: Store, data: DataConfig, tmp_path: Path
) -> None:
    found = scored(store, data, tmp_path, threads=2)
    assert found.resolution == "native"
    assert found.images == ("valid/a", "valid/b")
    assert found.sizes.tolist() == [[16, 16], [16, 16]]
    assert found.cells.tolist() == [
        [0, 0, 0, 232], [0, 0, 1, 8], [0, 1, 0, 8], [0, 1, 1, 8], [1, 0, 0, 240], [1, 2, 2, 16],
    ]  # fmt: skip
    assert found.objects.tolist() == [[0, 1, 16, 8], [1, 2, 16, 16]]
    assert found.predicted_objects.tolist() == [[0, 1, 16, 8], [1, 2, 16, 16]]
    assert (found.trial, found.epoch, found.fingerprint) == (3, 7, store.fingerprint)
    # Between two blocks the probability is shared: never all of it is the truth's.
    assert 0.85 < found.true_probability[1] / 256 < 1
    found.save(tmp_path / "e.npz")
    assert Evaluation.load(tmp_path / "e.npz").cells.tolist() == found.cells.tolist()


def test_a_model_is_asked_of_mirror_images_where_wanted(
    store: Store, data: DataConfig, tmp_path: Path
) -> None:
    asked: list[int] = []
    found = scored(store, data, tmp_path, flips="all", beat=lambda: asked.append(1))
    assert len(asked) == 4 * len(found.images)
    found.save(tmp_path / "e.npz")
    assert Evaluation.load(tmp_path / "e.npz").flips == "all"
    # What this model says of a pixel depends on that pixel alone.
    assert found.cells.tolist() == scored(store, data, tmp_path).cells.tolist()


def test_without_the_source_the_records_are_counted(
    store: Store, data: DataConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = data.model_copy(update={"source": str(tmp_path / "gone")})
    found = scored(store, gone, tmp_path, seed=1, fold=2)
    assert (found.resolution, found.seed, found.fold) == ("prepared", 1, 2)
    assert found.sizes.tolist() == [[8, 8], [8, 8]]
    assert found.cells.tolist()[:4] == [[0, 0, 0, 58], [0, 0, 1, 2], [0, 1, 0, 2], [0, 1, 1, 2]]
    np.testing.assert_allclose(found.true_probability, [60, 64], rtol=1e-6)
    assert "trial-00003 is scored at the size of the prepared data" in caplog.text
    assert "gone: expected a folder" in caplog.text


def test_one_bad_file_has_all_counted_as_records(
    store: Store, data: DataConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data/valid/masks/b.png").write_bytes(rgb_mask(square(0, 0, 1)))
    assert scored(store, data, tmp_path).resolution == "prepared"
    assert "b.png: expected the mask that the data were prepared from" in caplog.text


def test_a_letterbox_border_is_in_no_count(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_yaml(folder)
    for split in ("train", "valid"):
        mask = square(4, 0, 1, (16, 8))
        write(folder, split, split, mask, mask)
    data = DataConfig(source=str(folder), image_size=8, resize="letterbox")
    store = prepare(data)
    expected = {"native": (16 * 8 - 16, 16), "prepared": (8 * 4 - 4, 4)}
    for source in (str(folder), str(tmp_path / "gone")):
        found = scored(store, data.model_copy(update={"source": source}), tmp_path)
        background, hole = expected[found.resolution]
        assert found.cells.tolist() == [[0, 0, 0, background], [0, 1, 1, hole]]
        assert found.predicted_objects.tolist() == [[0, 1, hole, hole]]


def test_a_split_that_is_not_there_is_named(store: Store, data: DataConfig, tmp_path: Path) -> None:
    path = write_lookup(tmp_path / "best.keras", (8, 8, 1), 3)
    with pytest.raises(DataError, match=r"expected a split of \['train', 'valid'\]"):
        score_model(path, store, data, "test", name="m", trial=None, epoch=None)
