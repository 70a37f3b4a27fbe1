"""Hands batches to a training and counts: what was read, and how long the training waited for it.

A shared stream that gives nothing for too long, or fails, is left for one of the training's own,
so that no fault of the service costs a trial.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from data_pipeline.augmentation.geometry import Tensor

STREAM_BITS = 31  # a sample's number: its stream's origin << 31 | its place there


@dataclass
class Reading:
    """What was read since the last account.

    Attributes:
        source: service or local, at its end.
        trouble: Why the shared stream was left, if it was.
        images: Images read, from either.
        shared: Of them, those from the shared stream.
        seconds: Wall seconds that the reader waited for them.
        streams: Of each worker's stream, by its origin, how many samples it had made, at least,
            when the last of them was read.
    """

    source: str
    trouble: str | None = None
    images: int = 0
    shared: int = 0
    seconds: float = 0.0
    streams: dict[int, int] = field(default_factory=dict)

    def add(self, batch: tuple[Tensor, ...]) -> None:
        """Count a batch; of a shared stream, its third part are the samples' numbers."""
        count = int(batch[0].shape[0])
        self.images += count
        if len(batch) > 2:
            self.shared += count
            for number in batch[2].numpy().tolist():
                origin, place = number >> STREAM_BITS, number & (2**STREAM_BITS - 1)
                self.streams[origin] = max(self.streams.get(origin, 0), place + 1)


class Feed:
    """An iterator of training batches (images uint8 [B, H, W, C], masks uint8 [B, H, W]).

    Args:
        local: Builds the training's own batches.
        shared: Builds those of the shared stream, with the samples' numbers (int64 [B]) as third
            part. None: only ``local`` is read.
        patience: Seconds without a batch of the shared stream after which it is left.
    """

    def __init__(
        self,
        local: Callable[[], Iterable[Any]],
        shared: Callable[[], Iterable[Any]] | None = None,
        patience: float = 60.0,
    ) -> None:
        self._trouble: str | None = None
        self._local = local
        self._patience = patience
        self._aside = _Aside(shared) if shared is not None else None
        self._own: Iterator[Any] | None = None
        self._reading = Reading(self.source)

    @property
    def source(self) -> str:
        """Return service or local: what is read now."""
        return "local" if self._aside is None else "service"

    def __iter__(self) -> Feed:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        started = time.perf_counter()
        batch = self._next_batch()
        self._reading.seconds += time.perf_counter() - started
        self._reading.add(batch)
        return batch[0], batch[1]

    def account(self) -> Reading:
        """Return what was read since the last call."""
        reading, self._reading = self._reading, Reading(self.source)
        trouble, self._trouble = self._trouble, None
        return replace(reading, source=self.source, trouble=trouble)

    def close(self) -> None:
        """Let go of the streams."""
        if self._aside is not None:
            self._aside.close()
        self._own = None

    def _next_batch(self) -> tuple[Tensor, ...]:
        if self._aside is not None:
            try:
                return self._aside.next(self._patience)
            except queue.Empty:
                self._leave(f"gave nothing for {self._patience:.0f} s")
            except Exception as error:  # whatever TensorFlow raises for it
                first = next(iter(str(error).splitlines()), "")
                self._leave(f"failed with {type(error).__name__}: {first}")
        if self._own is None:
            self._own = iter(self._local())
        return tuple(next(self._own))

    def _leave(self, why: str) -> None:
        self._trouble = f"the shared pipeline {why}; read from its own"
        if self._aside is not None:
            self._aside.close()
            self._aside = None


class _Aside:
    """Reads in a thread of its own, which may hang where TensorFlow does."""

    def __init__(self, build: Callable[[], Iterable[Any]]) -> None:
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # A daemon: where it hangs it must not keep the process from ending.
        threading.Thread(target=self._run, args=(build,), daemon=True).start()

    def next(self, patience: float) -> tuple[Tensor, ...]:
        self._asked.put(True)
        answer = self._answers.get(timeout=patience)
        if isinstance(answer, Exception):
            raise answer
        return tuple(answer)

    def close(self) -> None:
        self._asked.put(False)

    def _run(self, build: Callable[[], Iterable[Any]]) -> None:
        batches: Iterator[Any] | None = None
        while self._asked.get():
            try:
                batches = iter(build()) if batches is None else batches
                self._answers.put(next(batches))
            except StopIteration:
                self._answers.put(EOFError("the stream has ended"))
            except Exception as error:
                self._answers.put(error)
