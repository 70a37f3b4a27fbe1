"""Where a shared stream is read: known to the driver, which loads no TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass

from data_pipeline.stores.store import ImageShape


@dataclass(frozen=True)
class SharedStream:
    """Where a trial reads; plain values, to be handed to its process.

    Attributes:
        address: The dispatcher's, `host:port`.
        dataset_id: What the dispatcher calls the pipeline.
        image_shape: (H, W, C) of its images.
        chunk: Samples in one element.
    """

    address: str
    dataset_id: str
    image_shape: ImageShape
    chunk: int
