from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.streams.pipeline import (
    eval_dataset,
    record_weights,
    sampling_probabilities,
    train_dataset,
)
from tests.data_pipeline.tiny_store import UNCHANGED, numbered_store, write_store

PLAIN = UNCHANGED.model_copy(update={"sampling": "natural"})
FULL = AugmentConfig(quarter_turns=True, noise=0.05)


def take(dataset, batches):
    return [(i.numpy(), m.numpy()) for i, m in itertools.islice(dataset, batches)]


def samples(dataset, count):
    """The first samples, images and masks, whatever the batch size."""
    images, masks, have = [], [], 0
    for image, mask in dataset:
        images.append(image.numpy())
        masks.append(mask.numpy())
        have += len(image)
        if have >= count:
            break
    return np.concatenate(images)[:count], np.concatenate(masks)[:count]


def numbers(dataset, count):
    """Which records of a numbered store were drawn."""
    return samples(dataset, count)[0][:, 0, 0, 0]


def same(one, other):
    return all((a == b).all() for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return numbered_store(tmp_path_factory.mktemp("stores") / "ten", 10)


@pytest.fixture(scope="module")
def textured(tmp_path_factory):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 16, 16, 3), np.uint8)
    masks = rng.integers(0, 3, (12, 16, 16), np.uint8)
    return write_store(tmp_path_factory.mktemp("stores") / "textured", {"train": (images, masks)})


def test_batches_have_static_shapes_and_types(textured):
    image, mask = train_dataset(textured, FULL, 4, seed=0).element_spec
    assert image == tf.TensorSpec([4, 16, 16, 3], tf.uint8)
    assert mask == tf.TensorSpec([4, 16, 16], tf.uint8)
    image, mask = eval_dataset(textured, "train", 5).element_spec
    assert image == tf.TensorSpec([None, 16, 16, 3], tf.uint8)
    assert mask == tf.TensorSpec([None, 16, 16], tf.uint8)


def test_the_stream_is_endless(store):
    dataset = train_dataset(store, PLAIN, 3, seed=0)
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    assert len(take(dataset, 20)) == 20


@pytest.mark.parametrize("per_shard", [10, 4, 1])
def test_records_come_back_as_written_whatever_the_shards(tmp_path, per_shard):
    store = numbered_store(tmp_path / "s", 10, per_shard=per_shard)
    assert len(store.splits["train"].shards) == -(-10 // per_shard)
    images, masks = samples(eval_dataset(store, "train", 4), 10)
    for index in range(10):
        image, mask = store.read("train", index)
        np.testing.assert_array_equal(images[index], image)
        np.testing.assert_array_equal(masks[index], mask)
    drawn = numbers(train_dataset(store, PLAIN, 5, seed=0), 10)
    assert sorted(drawn) == list(range(10))


def test_evaluation_is_in_order_with_a_smaller_last_batch(store):
    batches = take(eval_dataset(store, "valid", 2), 99)
    assert [len(image) for image, _ in batches] == [2, 2, 1]
    assert np.concatenate([i[:, 0, 0, 0] for i, _ in batches]).tolist() == [0, 1, 2, 3, 4]
    assert int(eval_dataset(store, "valid", 2).cardinality()) == 3


def test_equal_seeds_give_equal_streams_and_others_do_not(textured):
    one, again = (samples(train_dataset(textured, FULL, 4, seed=3), 24) for _ in range(2))
    assert same(one, again)
    assert not same(one, samples(train_dataset(textured, FULL, 4, seed=4), 24))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_the_stream(textured, threads):
    shared = samples(train_dataset(textured, FULL, 4, seed=3), 24)
    assert same(shared, samples(train_dataset(textured, FULL, 4, seed=3, threads=threads), 24))


def test_ending_a_stream_of_own_threads_waits_for_no_tuner(textured):
    dataset = train_dataset(textured, FULL, 4, seed=3, threads=1)

    # TensorFlow's tuner may sleep through the end of an iterator, for seconds.
    assert dataset.options().autotune.enabled is False


def test_the_batch_size_does_not_change_the_samples(textured):
    by_four = samples(train_dataset(textured, FULL, 4, seed=3), 24)
    assert same(by_four, samples(train_dataset(textured, FULL, 6, seed=3), 24))


@pytest.mark.parametrize("sampling", ["natural", "balanced"])
@pytest.mark.parametrize("start", [1, 8, 25])
def test_start_goes_on_exactly(textured, sampling, start):
    config = FULL.model_copy(update={"sampling": sampling})
    images, masks = samples(train_dataset(textured, config, 4, seed=3), 40)
    resumed = samples(train_dataset(textured, config, 4, seed=3, start=start), 12)
    assert same((images[start : start + 12], masks[start : start + 12]), resumed)


def test_readers_that_share_batches_read_what_one_would(textured):
    whole = take(train_dataset(textured, FULL, 6, seed=3, start=12), 3)

    parts = [
        take(train_dataset(textured, FULL, 6, seed=3, start=12, shard=(r, 3)), 3) for r in range(3)
    ]

    for one, *shares in zip(whole, *parts, strict=True):
        assert same(one, [np.concatenate(arrays) for arrays in zip(*shares, strict=True)])


@pytest.mark.parametrize("shard", [(0, 4), (3, 3), (-1, 3), (0, 0)])
def test_a_batch_that_cannot_be_shared_out_is_refused(textured, shard):
    with pytest.raises(ValueError, match="expected a shard"):
        train_dataset(textured, PLAIN, 6, seed=0, shard=shard)


def test_one_image_is_changed_differently_each_time(textured):
    config = FULL.model_copy(update={"sampling": "natural"})
    images, _ = samples(train_dataset(textured, config, 4, seed=0), 120)
    assert len(np.unique(images, axis=0)) == 120


@pytest.mark.parametrize("count", [1, 2, 7, 10])
def test_natural_sampling_visits_each_image_once_a_pass(tmp_path, count):
    store = numbered_store(tmp_path / "s", count)
    drawn = numbers(train_dataset(store, PLAIN, 5, seed=1), 20 * count).reshape(20, count)
    assert all(sorted(one_pass) == list(range(count)) for one_pass in drawn)
    if count >= 7:
        assert len({tuple(one_pass) for one_pass in drawn}) > 15, "each pass in its own order"


def uneven_store(folder):
    """12 free images, 6 of hole, 2 of crack; image i is filled with i."""
    classes = np.array([0] * 12 + [1] * 6 + [2] * 2, np.uint8)
    images = np.broadcast_to(np.arange(20, dtype=np.uint8)[:, None, None, None], (20, 8, 8, 1))
    masks = np.broadcast_to(classes[:, None, None], (20, 8, 8))
    return write_store(folder, {"train": (images.copy(), masks.copy())}), classes


def chi_square(counts, expected):
    counts, expected = np.asarray(counts, float), np.asarray(expected, float)
    return float(((counts - expected) ** 2 / expected).sum())


def test_balanced_sampling_draws_each_class_and_each_image_of_it_equally(tmp_path):
    store, classes = uneven_store(tmp_path / "s")
    config = PLAIN.model_copy(update={"sampling": "balanced"})
    drawn = numbers(train_dataset(store, config, 50, seed=0), 3000)
    by_class = np.bincount(classes[drawn], minlength=3)
    assert chi_square(by_class, [1000] * 3) < 13.8  # 99.9 % of chi-square with 2 degrees
    for label, limit in ((0, 31.3), (1, 20.5), (2, 10.8)):  # 99.9 % with 11, 5, 1 degrees
        members = np.flatnonzero(classes == label)
        counts = np.bincount(drawn, minlength=20)[members]
        assert chi_square(counts, np.full(len(members), by_class[label] / len(members))) < limit


def test_successive_draws_are_independent(tmp_path):
    store, classes = uneven_store(tmp_path / "s")
    config = PLAIN.model_copy(update={"sampling": "balanced"})
    drawn = classes[numbers(train_dataset(store, config, 50, seed=2), 3000)]
    pairs = np.zeros((3, 3))
    np.add.at(pairs, (drawn[:-1], drawn[1:]), 1)
    expected = np.outer(np.bincount(drawn), np.bincount(drawn)) / len(drawn)
    assert chi_square(pairs, expected) < 18.5  # 99.9 % with 4 degrees


def test_weights_are_relative_frequencies(tmp_path):
    store, classes = uneven_store(tmp_path / "s")
    config = AugmentConfig(
        **PLAIN.model_dump(exclude={"sampling", "sampling_weights"}),
        sampling="weights",
        sampling_weights={"hole": 1.0, "crack": 3.0},
    )
    np.testing.assert_allclose(sampling_probabilities(store, config), [0, 0.25, 0.75])
    drawn = classes[numbers(train_dataset(store, config, 50, seed=0), 2000)]
    counts = np.bincount(drawn, minlength=3)
    assert counts[0] == 0
    assert chi_square(counts[1:], [500, 1500]) < 10.8


def test_oversampling_draws_images_that_show_a_class_so_many_times_as_often(tmp_path):
    # One image of holes, one of cracks and holes, two free ones.
    masks = np.zeros((4, 8, 8), np.uint8)
    masks[0, 0] = 1
    masks[1, 0], masks[1, 1] = 1, 2
    images = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 1), np.uint8)
    store = write_store(tmp_path / "store", {"train": (images, masks)})
    config = UNCHANGED.model_copy(
        update={"sampling": "natural", "oversample": {"hole": 2.0, "crack": 5.0}}
    )

    drawn = samples(train_dataset(store, config, 4, seed=3), 900)[0][:, 0, 0, 0]

    # Relative weights 2, 5, 1, 1 of 9; deviations of at most 15.
    np.testing.assert_allclose(np.bincount(drawn), [200, 500, 100, 100], atol=60)


def test_oversampling_the_background_means_images_without_anything_else(store):
    weights = record_weights(store, {"background": 3.0})
    free = store.splits["train"].image_classes == 0
    np.testing.assert_array_equal(weights, np.where(free, 3.0, 1.0))


def test_oversampling_an_unknown_class_is_refused(store):
    config = UNCHANGED.model_copy(update={"sampling": "natural", "oversample": {"rust": 2.0}})
    with pytest.raises(ValueError, match=r"expected oversample for classes of .*'rust'"):
        train_dataset(store, config, 4, seed=0)


def test_a_class_without_images_is_left_out_of_balanced_sampling(tmp_path):
    images, masks = np.zeros((4, 8, 8, 1), np.uint8), np.zeros((4, 8, 8), np.uint8)
    masks[2:] = 2
    store = write_store(tmp_path / "s", {"train": (images, masks)})
    probabilities = sampling_probabilities(store, PLAIN.model_copy(update={"sampling": "balanced"}))
    np.testing.assert_allclose(probabilities, [0.5, 0, 0.5])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"hole": 1.0, "dent": 2.0}, r"expected sampling_weights for classes of .*'dent'"),
        ({"crack": 1.0}, r"received \['crack'\], which none is"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, weights, message):
    images, masks = np.zeros((4, 8, 8, 1), np.uint8), np.zeros((4, 8, 8), np.uint8)
    masks[2:] = 1
    store = write_store(tmp_path / "s", {"train": (images, masks)})
    config = AugmentConfig(sampling="weights", sampling_weights=weights)
    with pytest.raises(ValueError, match=message):
        train_dataset(store, config, 2, seed=0)


def test_arguments_out_of_range_are_reported_together(store):
    message = "batch_size of at least 1, received 0; start of at least 0, received -1; threads"
    with pytest.raises(ValueError, match=message):
        train_dataset(store, PLAIN, 0, seed=0, start=-1, threads=0)
    with pytest.raises(ValueError, match="one of \\['train', 'valid'\\], received 'test'"):
        eval_dataset(store, "test", 2)


def private_memory():
    """MB of memory of this process alone; pages mapped from files do not count."""
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in x]
    return int(line.split()[1]) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_shards_are_mapped_and_not_copied_into_memory(tmp_path):
    next(iter(train_dataset(numbered_store(tmp_path / "warm-up", 4), PLAIN, 2, seed=0)))
    images, masks = np.zeros((64, 512, 512, 3), np.uint8), np.zeros((64, 512, 512), np.uint8)
    store = write_store(tmp_path / "s", {"train": (images, masks)}, per_shard=32)
    del images, masks
    before = private_memory()
    batches = iter(train_dataset(store, PLAIN, 2, seed=0))
    next(batches)
    assert private_memory() - before < 40, "the store's 64 MB stay in the page cache"


PATCHED = AugmentConfig(patch_size=8, paste=0.5, sampling="natural")


def test_samples_are_windows_and_a_pure_function_of_their_number(textured):
    images, masks = samples(train_dataset(textured, PATCHED, 4, seed=1), 12)
    assert (images.shape, masks.shape) == ((12, 8, 8, 3), (12, 8, 8))
    later = samples(train_dataset(textured, PATCHED, 2, seed=1, start=4, threads=2), 8)
    assert same((images[4:], masks[4:]), later)
    assert not same((images, masks), samples(train_dataset(textured, PATCHED, 4, seed=2), 12))


def test_a_policy_that_pastes_never_is_what_it_was_before_there_was_pasting(textured):
    """The draws of a sample's choice and change are those of earlier versions."""
    without = PATCHED.model_copy(update={"paste": 0.0})
    rarely = PATCHED.model_copy(update={"paste": 1e-9})
    one, other = (samples(train_dataset(textured, p, 4, seed=1), 12) for p in (without, rarely))
    assert same(one, other)


@pytest.fixture(scope="module")
def defects(tmp_path_factory):
    """Nine training images without a defect, three with a hole and one with a crack."""
    images = np.full((13, 16, 16, 1), 100, np.uint8)
    masks = np.zeros((13, 16, 16), np.uint8)
    masks[9:12, 4:6, 4:6], images[9:12, 4:6, 4:6] = 1, 30
    masks[12, 4:6, 4:6], images[12, 4:6, 4:6] = 2, 200
    return write_store(tmp_path_factory.mktemp("stores") / "few", {"train": (images, masks)})


def test_a_share_of_the_samples_is_pasted_the_rare_class_more_often(defects):
    policy = UNCHANGED.model_copy(update={"sampling": "weights", "paste": 0.4})
    policy = policy.model_copy(update={"sampling_weights": {"background": 1.0}})
    images, masks = samples(train_dataset(defects, policy, 8, seed=0), 400)
    shown = masks.max(axis=(1, 2))

    assert np.mean(shown > 0) == pytest.approx(0.4, abs=0.07)
    # Weighed by one through their numbers of images: three cracks a hole.
    assert np.mean(shown[shown > 0] == 2) == pytest.approx(0.75, abs=0.08)
    assert all((masks[i] > 0).sum() == 4 for i in np.flatnonzero(shown))
    assert images[masks == 1].mean() == pytest.approx(30, abs=3)
    assert images[masks == 2].mean() == pytest.approx(200, abs=3)


def test_where_every_image_shows_a_defect_any_is_pasted_on(tmp_path):
    masks = np.zeros((4, 16, 16), np.uint8)
    masks[:, 4:6, 4:6] = 1
    records = {"train": (np.full((4, 16, 16, 1), 100, np.uint8), masks)}
    store = write_store(tmp_path / "all", records)
    policy = UNCHANGED.model_copy(update={"paste": 1.0})
    _, pasted = samples(train_dataset(store, policy, 4, seed=0), 40)
    assert np.mean((pasted == 1).sum(axis=(1, 2)) == 8) > 0.5
    assert (pasted == 1).sum(axis=(1, 2)).min() >= 4
