from __future__ import annotations

import gc
import itertools
import socket
import time
from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.data.experimental import service

from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.streams.feed import STREAM_BITS
from data_pipeline.streams.pipeline import sampler
from data_pipeline.streams.sharing import Dispatcher, PipelineWorker, chunk_of, shared_dataset
from tests.data_pipeline.tiny_store import UNCHANGED, numbered_store

HOST = "127.0.0.1"
POLICY = AugmentConfig(preset="light")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return numbered_store(tmp_path_factory.mktemp("shared") / "store", 30)


class Service:
    """A dispatcher and workers in this process."""

    def __init__(self, folder, workers=1, cache_bytes=2**26):
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self.port = probe.getsockname()[1]
        self.folder = folder
        self.start_dispatcher()
        self.workers = [self.worker(cache_bytes) for _ in range(workers)]

    def start_dispatcher(self):
        self.dispatcher = Dispatcher(HOST, self.port, self.folder)

    def worker(self, cache_bytes=2**26):
        return PipelineWorker(self.dispatcher.address, HOST, cache_bytes)

    def stream(self, store, augment=POLICY, **options):
        return self.dispatcher.register(store, augment, seed=3, threads=1, **options)

    def stop(self):
        for worker in self.workers:
            worker.stop()
        self.dispatcher.stop()


@pytest.fixture
def start(tmp_path):
    services = []

    def begin(**options):
        folder = tmp_path / f"dispatcher{len(services)}"
        folder.mkdir()
        services.append(Service(folder, **options))
        return services[-1]

    yield begin
    for one in services:
        one.stop()


def reader(stream, name, batch=8, requests=2):
    return iter(shared_dataset(stream, name, batch, most_requests=requests))


def take(batches, count):
    """Images, masks and numbers of the next batches."""
    parts = zip(*itertools.islice(batches, count), strict=True)
    return [np.concatenate([part.numpy() for part in kind]) for kind in parts]


def origins(numbers):
    return set((numbers >> STREAM_BITS).tolist())


def test_trials_read_the_same_samples_in_batches_of_their_own_sizes(start, store):
    stream = start().stream(store)
    first = take(reader(stream, "a", batch=8), 6)
    second = take(reader(stream, "b", batch=12), 4)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_trial_is_given_no_sample_twice(start, store):
    numbers = take(reader(start().stream(store), "a"), 20)[2]
    assert len(set(numbers.tolist())) == len(numbers)


def test_a_sample_is_what_its_number_says_locally(start, store):
    images, masks, numbers = take(reader(start().stream(store), "a"), 2)
    sample = tf.function(sampler(store, POLICY, 3))
    for image, mask, number in zip(images, masks, numbers, strict=True):
        own_image, own_mask = sample(number)
        np.testing.assert_array_equal(own_image, image)
        np.testing.assert_array_equal(own_mask, mask)


def test_two_workers_never_make_the_same_samples(start, store):
    stream = start(workers=2).stream(store)
    batches, seen = reader(stream, "a"), []
    deadline = time.monotonic() + 20
    while len(origins(np.array(seen, np.int64))) < 2 and time.monotonic() < deadline:
        seen += take(batches, 5)[2].tolist()
    assert len(origins(np.array(seen))) == 2
    assert len(set(seen)) == len(seen)


def test_two_policies_are_two_streams(start, store):
    running = start()
    plain, changed = running.stream(store, UNCHANGED), running.stream(store, POLICY)
    assert plain.dataset_id != changed.dataset_id
    one, other = take(reader(plain, "a"), 2), take(reader(changed, "a"), 2)
    assert origins(one[2]).isdisjoint(origins(other[2]))


def test_two_studies_have_services_of_their_own(start, store):
    one, other = start().stream(store), start().stream(store)
    assert one.address != other.address
    numbers = take(reader(one, "a"), 4)[2], take(reader(other, "a"), 4)[2]
    assert origins(numbers[0]).isdisjoint(origins(numbers[1]))


def test_a_slow_trial_skips_and_holds_up_nobody(start, store):
    # The smallest window: what the quick one has read is soon gone.
    stream = start(cache_bytes=2 * chunk_of(store.image_shape) * 16 * 16 * 2).stream(store)
    quick, slow = reader(stream, "quick"), reader(stream, "slow", requests=1)
    take(slow, 1)
    begin = time.monotonic()
    ahead = take(quick, 100)[2]
    assert time.monotonic() - begin < 20
    late = take(slow, 40)[2]
    assert len(set(late.tolist())) == len(late)
    assert late.max() - late.min() >= len(late)  # it has skipped
    assert late.max() >= ahead[len(ahead) // 2]


def test_a_trial_that_comes_late_or_after_all_others_have_gone_reads_at_once(start, store):
    stream = start().stream(store)
    batches = reader(stream, "a")
    take(batches, 30)
    assert len(take(reader(stream, "late"), 2)[2]) == 16
    del batches
    assert len(take(reader(stream, "next"), 2)[2]) == 16


def test_a_trial_reads_where_the_job_of_all_before_it_is_forgotten(start, store, monkeypatch):
    soon = partial(service.DispatcherConfig, job_gc_check_interval_ms=100, job_gc_timeout_ms=100)
    monkeypatch.setattr(service, "DispatcherConfig", soon)
    running = start()
    stream = running.stream(store)
    batches = reader(stream, "a")
    before = origins(take(batches, 1)[2])
    del batches
    gc.collect()
    deadline = time.monotonic() + 20
    while running.workers[0]._server._num_tasks() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert origins(take(reader(stream, "b"), 1)[2]).isdisjoint(before)


def test_readers_go_on_while_the_dispatcher_is_gone_and_new_ones_once_it_is_back(start, store):
    running = start()
    stream = running.stream(store)
    batches = reader(stream, "a")
    take(batches, 2)
    running.dispatcher.stop()
    take(batches, 30)
    running.start_dispatcher()
    assert running.stream(store) == stream
    take(reader(stream, "b"), 2)
    take(batches, 2)


def test_readers_go_on_with_the_workers_that_are_left_or_come(start, store):
    running = start()
    stream = running.stream(store)
    batches = reader(stream, "a")
    before = origins(take(batches, 2)[2])
    running.workers.pop().stop()
    running.workers.append(running.worker())
    numbers = take(batches, 40)[2]
    assert origins(numbers) - before
    assert len(set(numbers.tolist())) == len(numbers)


def test_compression_changes_nothing(start, store):
    stream = start().stream(store, UNCHANGED, compression="snappy")
    images, _, numbers = take(reader(stream, "a"), 1)
    sample = tf.function(sampler(store, UNCHANGED, 3))
    np.testing.assert_array_equal(images[0], sample(numbers[0])[0])


def test_chunks_are_about_a_mebibyte():
    assert chunk_of((16, 16, 1)) == 32
    assert chunk_of((256, 256, 1)) == 8
    assert chunk_of((4096, 4096, 3)) == 1
