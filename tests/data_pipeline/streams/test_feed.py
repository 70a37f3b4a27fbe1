from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from data_pipeline.streams.feed import STREAM_BITS, Feed


def batches(first, count=None, size=2):
    """Batches whose images are filled with their place in the stream."""
    place = first
    while count is None or place < first + count:
        image = np.full((size, 4, 4, 1), place, np.uint8)
        yield tf.constant(image), tf.constant(image[..., 0])
        place += 1


def numbered(origin, batches):
    """The same with the samples' numbers, as a shared stream has them."""
    for place, (images, masks) in enumerate(batches):
        numbers = (origin << STREAM_BITS) + 2 * place + np.arange(2)
        yield images, masks, tf.constant(numbers, tf.int64)


def read(feed, count):
    return [int(next(feed)[0][0, 0, 0, 0]) for _ in range(count)]


def test_own_batches_are_handed_on_and_counted():
    feed = Feed(lambda: batches(10))
    assert read(feed, 3) == [10, 11, 12]
    account = feed.account()
    assert (account.source, account.images, account.shared) == ("local", 6, 0)
    assert account.seconds > 0
    assert feed.account().images == 0


def test_a_batch_is_images_and_masks_whatever_the_stream_says_besides():
    feed = Feed(lambda: batches(0), lambda: numbered(7, batches(50)))
    images, masks = next(feed)
    assert images.shape == (2, 4, 4, 1)
    assert masks.shape == (2, 4, 4)


def test_shared_batches_tell_how_many_samples_were_made():
    feed = Feed(lambda: batches(0), lambda: numbered(7, batches(50)))
    assert read(feed, 3) == [50, 51, 52]
    account = feed.account()
    assert (account.source, account.shared, account.streams) == ("service", 6, {7: 6})


def test_waiting_is_measured():
    def slow():
        for batch in batches(0):
            time.sleep(0.05)
            yield batch

    feed = Feed(slow)
    read(feed, 2)
    assert feed.account().seconds >= 0.1


def test_a_stream_that_gives_nothing_is_left_for_the_own_one():
    hangs = threading.Event()

    def stuck():
        yield from numbered(1, batches(50, 2))
        hangs.wait(60)

    feed = Feed(lambda: batches(0), stuck, patience=0.3)
    assert read(feed, 4) == [50, 51, 0, 1]
    account = feed.account()
    assert account.source == "local"
    assert account.trouble is not None
    assert "gave nothing for 0 s" in account.trouble
    assert (account.images, account.shared) == (8, 4)
    hangs.set()


@pytest.mark.parametrize("after", [0, 2])
def test_a_stream_that_fails_or_ends_is_left_for_the_own_one(after):
    def fails():
        yield from numbered(1, batches(50, after))
        raise ValueError("no such job")

    feed = Feed(lambda: batches(0), fails)
    assert read(feed, after + 1)[-1] == 0
    assert "ValueError: no such job" in (feed.account().trouble or "")

    ends = Feed(lambda: batches(0), lambda: numbered(1, batches(50, after)))
    assert read(ends, after + 1)[-1] == 0
    assert "the stream has ended" in (ends.account().trouble or "")


def test_closing_ends_the_reading_thread():
    before = threading.active_count()
    feed = Feed(lambda: batches(0), lambda: numbered(1, batches(50)))
    next(feed)
    feed.close()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before
