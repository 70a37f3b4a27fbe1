"""One augmented stream for all trials: tf.data service, without knowing who runs its processes.

A dispatcher registers the pipeline and tells readers where the workers are; each worker augments
and keeps what it served for a while (`CrossTrainerCache`), so that trials read what one of them
has made the worker compute. Each worker's stream has a random origin of its own, so two workers
never make the same samples. Samples carry their number, and from the numbers that trials have
seen follows how many were made: what is read more than once came from the cache.

What readers see depends on when they read, so shared training is not reproducible to the bit.
TensorFlow's servers listen on every interface of their machine, without authentication.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import service_config_pb2
from tensorflow.data.experimental import service

from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.augmentation.geometry import Tensor
from data_pipeline.stores.store import ImageShape, Store
from data_pipeline.streams.feed import STREAM_BITS
from data_pipeline.streams.pipeline import finish, mapped, sampler
from data_pipeline.streams.shared_stream import SharedStream

PROTOCOL = "grpc"
# Requests cost the same for one sample as for many, which shows with small images.
_CHUNK_BYTES = 2**20
_LARGEST_CHUNK = 32
_HEARTBEAT_MS = 1000
_WORKER_TIMEOUT_MS = 20_000
_HOUR_MS = 3_600_000


class Dispatcher:
    """The dispatcher of tf.data service: journals its state, so that a restart loses nothing.

    Args:
        host: Address of this machine that readers and workers reach.
        port: Port; the same again after a restart, since readers keep to it. 0: any free one.
        work_dir: Folder of the journal.

    Attributes:
        address: `host:port`.
    """

    def __init__(self, host: str, port: int, work_dir: Path) -> None:
        self._server = service.DispatchServer(
            service.DispatcherConfig(
                port=port,
                protocol=PROTOCOL,
                work_dir=str(work_dir),
                fault_tolerant_mode=True,
                # A lost worker's readers are told to go on without it.
                worker_timeout_ms=_WORKER_TIMEOUT_MS,
            )
        )
        self.address = f"{host}:{self._server.target.rpartition(':')[2]}"

    def register(
        self,
        store: Store,
        augment: AugmentConfig,
        *,
        seed: int,
        threads: int,
        compression: str = "none",
    ) -> SharedStream:
        """Register a pipeline; the same one again, also after a restart, is the same stream.

        Args:
            store: The prepared data, which every worker finds at the same path.
            augment: How images are drawn and changed.
            seed: What the draws depend on, with each worker's origin.
            threads: Of each worker.
            compression: none or snappy, of images on their way.

        Raises:
            ValueError: as :func:`data_pipeline.streams.pipeline.sampler` does.
        """
        window = augment.window_shape(store.image_shape)
        chunk = chunk_of(window)
        dataset = worker_dataset(store, augment, seed=seed, chunk=chunk, threads=threads)
        identity = f"{store.fingerprint[:16]}-{_policy_id(augment)}-{seed}-{chunk}-{threads}"
        registered = service.register_dataset(
            f"{PROTOCOL}://{self.address}",
            dataset,
            compression=None if compression == "none" else compression.upper(),
            dataset_id=identity,
        )
        dataset_id = registered.numpy().decode()
        return SharedStream(self.address, dataset_id, window, chunk)

    def stop(self) -> None:
        """Stop serving; readers wait, or go on by themselves."""
        self._server._stop()


class PipelineWorker:
    """A worker of tf.data service.

    Args:
        dispatcher: The dispatcher's address.
        host: Address of this machine that readers reach.
        cache_bytes: Memory for what was served, of each pipeline. At least a chunk is kept.

    Attributes:
        address: `host:port`.
    """

    def __init__(self, dispatcher: str, host: str, cache_bytes: int) -> None:
        config = service_config_pb2.WorkerConfig(
            dispatcher_address=dispatcher,
            worker_address=f"{host}:%port%",
            protocol=PROTOCOL,
            port=0,
            heartbeat_interval_ms=_HEARTBEAT_MS,
            dispatcher_timeout_ms=_HOUR_MS,
            # Its Python configuration lacks this field; left out it is 10 GB.
            cross_trainer_cache_size_bytes=cache_bytes,
        )
        self._server = service.WorkerServer(config)
        self.address = f"{host}:{self._server._address.rpartition(':')[2]}"

    def stop(self) -> None:
        self._server._stop()


def chunk_of(image_shape: ImageShape) -> int:
    """Sample in one element of a shared stream, so that it takes about a MiB."""
    sample = int(np.prod(image_shape)) + int(np.prod(image_shape[:2]))
    return int(np.clip(_CHUNK_BYTES // sample, 1, _LARGEST_CHUNK))


def _policy_id(augment: AugmentConfig) -> str:
    """Return a short name for a policy: equal for equal ones."""
    return hashlib.sha256(augment.model_dump_json().encode()).hexdigest()[:12]


def worker_dataset(
    store: Store, augment: AugmentConfig, *, seed: int, chunk: int, threads: int
) -> tf.data.Dataset:
    """Build what each worker runs: an endless stream with an origin of its own.

    Returns:
        Elements (uint8 [chunk, H, W, C], uint8 [chunk, H, W], int64 [chunk] sample numbers).

    Raises:
        ValueError: as :func:`data_pipeline.streams.pipeline.sampler` does.
    """
    sample = sampler(store, augment, seed)
    # Without a seed it draws anew wherever a worker builds it, not when the graph is made.
    origin = tf.data.Dataset.random().take(1).repeat()
    places = tf.data.Dataset.range(2**STREAM_BITS).repeat()

    def numbered(origin: Tensor, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        number = (origin % 2**STREAM_BITS) * 2**STREAM_BITS + place
        return (*sample(number), number)

    dataset = tf.data.Dataset.zip(origin, places)
    dataset = mapped(dataset, numbered, threads)
    return finish(dataset.batch(chunk, drop_remainder=True), threads)


def shared_dataset(
    stream: SharedStream, trainer: str, batch_size: int, *, most_requests: int
) -> tf.data.Dataset:
    """Build a trial's view of the shared stream.

    Args:
        stream: Where to read.
        trainer: The trial's own name: what it has read itself is not given to it again.
        batch_size: Samples a batch, B; trials of different sizes share one stream.
        most_requests: Chunks that may be on their way to this reader at once, which bounds its
            memory and how far it reads ahead.

    Returns:
        Endless batches (uint8 [B, H, W, C], uint8 [B, H, W], int64 [B]).
    """
    rows, columns, channels = stream.image_shape
    chunk = stream.chunk
    elements = service.from_dataset_id(
        processing_mode=service.ShardingPolicy.OFF,
        service=f"{PROTOCOL}://{stream.address}",
        dataset_id=stream.dataset_id,
        element_spec=(
            tf.TensorSpec([chunk, rows, columns, channels], tf.uint8),
            tf.TensorSpec([chunk, rows, columns], tf.uint8),
            tf.TensorSpec([chunk], tf.int64),
        ),
        job_name=stream.dataset_id,
        max_outstanding_requests=most_requests,
        cross_trainer_cache=service.CrossTrainerCache(trainer_id=trainer),
    )
    return finish(elements.rebatch(batch_size, drop_remainder=True), 1)
