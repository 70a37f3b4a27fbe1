from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.problems import DataError
from data_pipeline.stores.merge_splits import join_store
from data_pipeline.stores.store import Store
from data_pipeline.streams.pipeline import eval_dataset, train_dataset
from tests.data_pipeline.tiny_store import UNCHANGED, numbered_store, write_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Splits of 5, 3 and 2 images in shards of 2, image i filled with the number in the set."""
    records, first = {}, 0
    for name, count in (("train", 5), ("valid", 3), ("test", 2)):
        numbers = np.arange(first, first + count, dtype=np.uint8)
        images = np.broadcast_to(numbers[:, None, None, None], (count, 8, 8, 3)).copy()
        masks = np.broadcast_to((numbers % 3)[:, None, None], (count, 8, 8)).copy()
        records[name] = (images, masks)
        first += count
    return write_store(tmp_path_factory.mktemp("joining") / "store", records, per_shard=2)


def test_training_holds_both_splits_and_test_is_as_it_was(store: Store) -> None:
    joined = join_store(store)
    train = joined.splits["train"]
    assert train.stems == (
        *(f"train/train_{i}" for i in range(5)),
        *(f"valid/valid_{i}" for i in range(3)),
    )
    assert train.groups == store.splits["train"].groups + store.splits["valid"].groups
    assert set(joined.splits) == {"train", "test"}
    assert joined.splits["test"] is store.splits["test"]
    assert joined.class_pixels("train").tolist() == [192, 192, 128]
    assert train.image_classes.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert joined.survey.splits == ("train",) * 8 + ("test",) * 2
    assert joined.fingerprint != store.fingerprint
    assert store.splits["train"].count == 5


def test_every_record_of_uneven_shards_is_read(store: Store) -> None:
    joined = join_store(store)
    assert [shard.count for shard in joined.splits["train"].shards] == [2, 2, 1, 2, 1]
    read = [joined.read("train", index) for index in range(8)]
    assert [int(image[0, 0, 0]) for image, _ in read] == list(range(8))
    assert [int(mask[0, 0]) for _, mask in read] == [i % 3 for i in range(8)]
    with pytest.raises(IndexError, match="index of 0"):
        joined.read("train", 8)

    images, masks = next(iter(eval_dataset(joined, "train", 8, threads=1)))
    assert images.numpy()[:, 0, 0, 0].tolist() == list(range(8))
    assert masks.numpy()[:, 0, 0].tolist() == [i % 3 for i in range(8)]


def test_a_pass_of_training_sees_each_image_of_both_splits_once(store: Store) -> None:
    natural = AugmentConfig.model_validate(UNCHANGED.model_dump() | {"sampling": "natural"})
    batches = iter(train_dataset(join_store(store), natural, 4, seed=1, threads=1))
    seen = [int(n) for _ in range(2) for n in next(batches)[0].numpy()[:, 0, 0, 0]]
    assert sorted(seen) == list(range(8))


def test_a_store_without_validation_is_refused(tmp_path: Path) -> None:
    whole = numbered_store(tmp_path / "store")
    with pytest.raises(DataError, match="expected images in the split 'valid'"):
        join_store(join_store(whole))
