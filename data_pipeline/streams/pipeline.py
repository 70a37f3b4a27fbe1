"""Feeds a prepared store to training and evaluation, with tf.data and no Python in the stream.

Sample i of the training stream is a pure function of (seed, i): which record it is and how it is
changed are stateless draws keyed by both. So the stream is the same whatever the number of
threads, and training that resumes after n samples starts at sample n and sees exactly what it
would have seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2

from data_pipeline.augmentation.augment import build_augment
from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.augmentation.geometry import Tensor
from data_pipeline.augmentation.paste import paste
from data_pipeline.stores.store import Shard, Store

TRAIN = "train"

_ENDLESS = np.iinfo(np.int64).max
_PREFETCHED_BATCHES = 2
_NEVER_FOLDED = "_scoped_allocator"
_EMPTY_LIST = attr_value_pb2.AttrValue.ListValue()


def train_dataset(
    store: Store,
    augment: AugmentConfig,
    batch_size: int,
    *,
    seed: int,
    start: int = 0,
    threads: int | None = None,
    shard: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Build the endless stream of augmented training batches.

    Args:
        store: The prepared data.
        augment: How images are drawn and changed.
        batch_size: Samples a batch, B.
        seed: With a sample's number, all that its content depends on.
        start: Samples already consumed; the stream goes on with the next one.
        threads: Threads of this stream alone. None: TensorFlow's shared pool, tuned as it runs.
        shard: (r, n): of n readers that share each batch, the r-th, from 0. Together they read
            what one would: reader r has the r-th of n equal parts of every batch.

    Returns:
        Batches (uint8 [B/n, H, W, C], uint8 [B/n, H, W]), masks being class indices or 255; H and
        W are those of the policy's windows.

    Raises:
        ValueError: for a batch size, start or number of threads out of range, a batch that cannot
            be shared out, weights that do not fit the store's classes, or quarter turns of images
            that are not square.
    """
    _check(batch_size=(batch_size, 1), start=(start, 0), threads=(threads, 1))
    sample = sampler(store, augment, seed)
    part = _part_of(batch_size, shard)
    numbers = tf.data.Dataset.range(start, _ENDLESS)
    if shard[1] > 1:
        first = start + shard[0] * part
        numbers = mapped(
            tf.data.Dataset.range(_ENDLESS),
            lambda place: first + place // part * batch_size + place % part,
            threads,
        )
    dataset = mapped(numbers, sample, threads)
    dataset = dataset.batch(part, drop_remainder=True)
    return finish(dataset, threads)


def _part_of(batch_size: int, shard: tuple[int, int]) -> int:
    """Sample of a batch that one of several readers has."""
    reader, readers = shard
    if readers < 1 or not 0 <= reader < readers or batch_size % readers:
        raise ValueError(
            f"expected a shard (r, n) with 0 <= r < n and a batch_size divisible by n, received "
            f"{shard} and {batch_size}"
        )
    return batch_size // readers


def sampler(
    store: Store, augment: AugmentConfig, seed: int
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Build the function from a sample's number to the sample, in TensorFlow ops.

    Args:
        store: The prepared data.
        augment: How images are drawn and changed.
        seed: With a sample's number, all that its content depends on.

    Returns:
        `sample(number)`: int64 scalar to image uint8 [H, W, C] and mask uint8 [H, W], of the size
        of the policy's windows.

    Raises:
        ValueError: for weights that do not fit the store's classes, or quarter turns of images
            that are not square.
    """
    # Two keys: what a sample is must not be told by how it is changed.
    choice_key, change_key, paste_key = _keys(seed, 3)
    choose = _chooser(store, augment, choice_key)
    read = record_reader(store, TRAIN)
    change = build_augment(augment, store.image_shape, store.classes)
    pasted = paster(store) if augment.paste else None

    def sample(number: Tensor) -> tuple[Tensor, Tensor]:
        def drawn() -> tuple[Tensor, Tensor]:
            return read(choose(number))

        if pasted is None:
            image, mask = drawn()
        else:
            key = _seed(paste_key, number)
            wanted = tf.random.stateless_uniform([], key) < augment.paste
            image, mask = tf.cond(wanted, lambda: pasted(key), drawn)
        return change(image, mask, _seed(change_key, number))

    return sample


def paster(store: Store) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Build the function that pastes a training image's defect onto another, in TensorFlow ops.

    The class is drawn first, as often as the number of training images that show it is small:
    each with a weight of one through that number. Then one of them, and the image to paste on:
    one without a defect, or any where there is none.

    Args:
        store: The prepared data. Only its training images are used.

    Returns:
        `pasted(seed)`: int64 [2] to image uint8 [H, W, C] and mask uint8 [H, W].

    Raises:
        ValueError: where no training image shows a defect.
    """
    split = store.splits[TRAIN]
    shown = split.pixels[:, 1:] > 0
    labels = np.flatnonzero(shown.any(axis=0))
    if not len(labels):
        raise ValueError("expected training images with a defect to paste, received none")
    sources = tf.ragged.constant([np.flatnonzero(shown[:, i]).tolist() for i in labels], tf.int64)
    rarity = 1 / shown.sum(axis=0)[labels]
    bounds = np.cumsum(rarity / rarity.sum())[:-1]
    clean = np.flatnonzero(~shown.any(axis=1))
    targets = clean if len(clean) else np.arange(split.count)
    read = record_reader(store, TRAIN)

    def one_of(rows: Tensor, draw: Tensor) -> Tensor:
        return rows[tf.cast(draw * tf.cast(tf.size(rows), tf.float32), tf.int32)]

    def pasted(seed: Tensor) -> tuple[Tensor, Tensor]:
        # The first draw of this seed may have told whether anything is pasted.
        draws = tf.random.stateless_uniform([8], seed)[1:]
        place = tf.reduce_sum(tf.cast(draws[0] >= bounds, tf.int64))
        source = read(one_of(sources[place], draws[1]))
        target = read(one_of(tf.constant(targets, tf.int64), draws[2]))
        return paste(target, source, tf.gather(labels + 1, place), draws[3:])

    return pasted


def eval_dataset(
    store: Store, split: str, batch_size: int, *, threads: int | None = None
) -> tf.data.Dataset:
    """Build one pass over a split, unchanged and in order; the last batch may be smaller.

    Args:
        store: The prepared data.
        split: train, valid or test.
        batch_size: Samples a batch, B.
        threads: Threads of this stream alone. None: TensorFlow's shared pool, tuned as it runs.

    Returns:
        Batches (uint8 [<=B, H, W, C], uint8 [<=B, H, W]).

    Raises:
        ValueError: for a batch size or number of threads out of range, or an unknown split.
    """
    _check(batch_size=(batch_size, 1), threads=(threads, 1))
    read = record_reader(store, split)
    dataset = tf.data.Dataset.range(store.splits[split].count)
    dataset = mapped(dataset, read, threads)
    return finish(dataset.batch(batch_size), threads)


def mapped(
    dataset: tf.data.Dataset, function: Callable[..., Any], threads: int | None
) -> tf.data.Dataset:
    """Map a function of TensorFlow operations over a dataset, in order.

    Its Python is taken as it is: AutoGraph, which would turn branches on tensors into operations,
    finds none in an augmentation, and takes seconds to look for them in every process.
    """
    plain = tf.autograph.experimental.do_not_convert(function)
    return dataset.map(plain, num_parallel_calls=_parallel(threads), deterministic=True)


def sampling_probabilities(store: Store, augment: AugmentConfig) -> npt.NDArray[np.float64]:
    """Return how often an image of each class is drawn, float64 [num_classes], sum 1.

    An image counts as one of the class in `Split.image_classes`; index 0 are the images without
    a defect. With balanced sampling each class that has images is drawn equally often.

    Raises:
        ValueError: for weights of unknown classes, or of classes no training image belongs to.
    """
    counts = np.bincount(store.splits[TRAIN].image_classes, minlength=len(store.classes))
    if augment.sampling == "natural":
        return np.asarray(counts / counts.sum(), np.float64)
    if augment.sampling == "balanced":
        return np.asarray((counts > 0) / np.count_nonzero(counts), np.float64)
    weights = _weights(augment.sampling_weights or {}, store.classes)
    empty = [store.classes[c] for c in np.flatnonzero((weights > 0) & (counts == 0))]
    if empty:
        raise ValueError(
            "expected sampling_weights above 0 only for classes that training images are "
            f"sampled as, received {empty}, which none is"
        )
    return np.asarray(weights / weights.sum(), np.float64)


def record_reader(store: Store, split: str) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Build the function that reads one record by its index, in TensorFlow ops.

    The shards are mapped into memory, not loaded: all processes of a machine share them through
    the page cache, and a store may be larger than the memory.

    Returns:
        `read(index)`: int64 scalar to image uint8 [H, W, C] and mask uint8 [H, W]. Traced by
        tf.data; the index is not checked.

    Raises:
        ValueError: for an unknown or empty split.
    """
    if split not in store.splits or not store.splits[split].count:
        filled = sorted(name for name, found in store.splits.items() if found.count)
        raise ValueError(f"expected a split with images, one of {filled}, received {split!r}")
    shards = store.splits[split].shards
    shape = store.image_shape
    ends = np.cumsum([shard.count for shard in shards], dtype=np.int64)
    firsts = ends - [shard.count for shard in shards]

    def read(index: Tensor) -> tuple[Tensor, Tensor]:
        index = tf.convert_to_tensor(index, tf.int64)
        if len(shards) == 1:
            image, mask = _read_row(shards[0], shape, index)
        else:
            number = tf.searchsorted(ends, [index], side="right")[0]
            row = index - tf.gather(firsts, number)
            branches = [lambda s=shard: _read_row(s, shape, row) for shard in shards]
            image, mask = tf.switch_case(number, branches)
        return tf.ensure_shape(image, shape), tf.ensure_shape(mask, shape[:2])

    return read


def _read_row(shard: Shard, shape: tuple[int, int, int], row: Tensor) -> tuple[Tensor, Tensor]:
    images = _mapped(str(shard.images), (shard.count, *shape))
    masks = _mapped(str(shard.masks), (shard.count, *shape[:2]))
    return tf.gather(images, row), tf.gather(masks, row)


def _mapped(path: str, shape: tuple[int, ...]) -> Tensor:
    """Return a file as a tensor of a graph, mapped into memory by each execution."""
    mapped = tf.raw_ops.ImmutableConst(dtype=tf.uint8, shape=shape, memory_region_name=path)
    # Without inputs the op looks like a constant, and TensorFlow's constant folding would copy
    # every shard into memory before the first sample, only to find the copies too large to keep.
    # A node with this attribute is never folded; the empty list asks for nothing else.
    mapped.op._set_attr(_NEVER_FOLDED, attr_value_pb2.AttrValue(list=_EMPTY_LIST))
    return mapped


def _chooser(store: Store, augment: AugmentConfig, key: int) -> Callable[[Tensor], Tensor]:
    """Build the function from a sample's number to the index of its record, int64 scalars."""
    count = store.splits[TRAIN].count
    if augment.oversample is not None:
        return _weighted_chooser(record_weights(store, augment.oversample), key)
    if augment.sampling == "natural":

        def in_turn(number: Tensor) -> Tensor:
            """Return each pass visits every record once, in an order of its own."""
            place, order = number % count, _seed(key, number // count)
            return tf.random.experimental.index_shuffle(
                place, order, tf.constant(count - 1, tf.int64)
            )

        return in_turn

    # A table of records by class, flat, with each class's first place and size.
    image_classes = store.splits[TRAIN].image_classes
    records = np.argsort(image_classes, kind="stable").astype(np.int64)
    sizes = np.bincount(image_classes, minlength=len(store.classes)).astype(np.int64)
    firsts = np.cumsum(sizes) - sizes
    drawn = np.flatnonzero(sampling_probabilities(store, augment))
    bounds = np.cumsum(sampling_probabilities(store, augment)[drawn])[:-1]

    def by_class(number: Tensor) -> Tensor:
        """Return a class by its probability, then any of its records."""
        draws = tf.random.stateless_uniform([2], _seed(key, number), dtype=tf.float64)
        chosen = tf.reduce_sum(tf.cast(draws[0] >= bounds, tf.int64))
        size = tf.gather(sizes[drawn], chosen)
        place = tf.cast(draws[1] * tf.cast(size, tf.float64), tf.int64)
        return tf.gather(records, tf.gather(firsts[drawn], chosen) + tf.minimum(place, size - 1))

    return by_class


def record_weights(store: Store, oversample: dict[str, float]) -> npt.NDArray[np.float64]:
    """Return how often each training record is drawn, relative to one that shows none of the
    classes.

    Args:
        store: The prepared data.
        oversample: Class name to factor; of several classes that a record shows the largest counts.
            The background means images that show nothing else.

    Returns:
        float64 [n].

    Raises:
        ValueError: for names that are no classes.
    """
    factors = _weights(oversample, store.classes, "oversample")
    shown = store.splits[TRAIN].pixels > 0
    shown[:, 0] = store.splits[TRAIN].image_classes == 0  # free images are a class of their own
    largest: npt.NDArray[np.float64] = np.where(shown, factors, 0.0).max(axis=1)
    return np.where(largest > 0, largest, 1.0)


def _weighted_chooser(weights: npt.NDArray[np.float64], key: int) -> Callable[[Tensor], Tensor]:
    bounds = np.cumsum(weights)

    def by_weight(number: Tensor) -> Tensor:
        draw = tf.random.stateless_uniform([1], _seed(key, number), dtype=tf.float64)
        place = tf.searchsorted(bounds, draw * bounds[-1], side="right", out_type=tf.int64)
        return tf.minimum(place[0], len(bounds) - 1)

    return by_weight


def _weights(
    given: dict[str, float], classes: tuple[str, ...], field: str = "sampling_weights"
) -> npt.NDArray[np.float64]:
    unknown = sorted(set(given) - set(classes))
    if unknown:
        raise ValueError(f"expected {field} for classes of {list(classes)}, received {unknown}")
    return np.array([given.get(name, 0.0) for name in classes], np.float64)


def _keys(seed: int, count: int) -> list[int]:
    """Independent 63-bit keys from one seed."""
    state = np.random.SeedSequence(seed).generate_state(count, np.uint64)
    return [int(word >> np.uint64(1)) for word in state]


def _seed(key: int, number: Tensor) -> Tensor:
    """Return the stateless seed, int64 [2], of one draw."""
    return tf.stack([tf.constant(key, tf.int64), number])


def _parallel(threads: int | None) -> int:
    return int(tf.data.AUTOTUNE) if threads is None else threads


def finish(dataset: tf.data.Dataset, threads: int | None) -> tf.data.Dataset:
    """Add the prefetching and the options that every stream of this package has.

    Args:
        dataset: Batches.
        threads: Threads of this stream alone. None: TensorFlow's shared pool, tuned as it runs.
    """
    options = tf.data.Options()
    options.deterministic = True
    if threads is not None:
        options.threading.private_threadpool_size = threads
        # Samples run beside each other; splitting one over threads as well only costs.
        options.threading.max_intra_op_parallelism = 1
        # There is nothing left to tune, and its thread may sleep through the end of an iterator,
        # which then waits for it: seconds, up to a minute in a long training.
        options.autotune.enabled = False
    return dataset.prefetch(_PREFETCHED_BATCHES).with_options(options)


def _check(**limits: tuple[int | None, Any]) -> None:
    problems = [
        f"{name} of at least {least}, received {value}"
        for name, (value, least) in limits.items()
        if value is not None and value < least
    ]
    if problems:
        raise ValueError(f"expected {'; '.join(problems)}")
