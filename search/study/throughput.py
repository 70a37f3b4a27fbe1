"""What the input pipeline gives and what trials wait for: counted from the epochs they report."""

from __future__ import annotations

import contextlib
import json
import time
from collections import deque
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from foundation.files import write_json
from results.records import file_names
from results.records.epochs import Epoch
from search.storage.epochs import unwritten
from search.storage.files import trial_folder

FILE = file_names.PIPELINE
_WRITE_SECONDS = 2.0
_RECENT_EPOCHS = 64
# An epoch may take twice as long as the one before it, and there are always some seconds.
_LONGER, _GRACE_SECONDS = 2.0, 30.0


@dataclass(frozen=True)
class _Pace:
    """A trial's last epoch: when it ended, how long it took, what it read."""

    ended: float
    seconds: float
    images: int

    @property
    def lasts(self) -> float:
        return _LONGER * self.seconds + _GRACE_SECONDS


@dataclass
class Throughput:
    """Totals over epochs, each counted once, and the pace of the trials that run.

    Attributes:
        images: Training images that trials have read.
        shared: Of them, those of the shared stream.
        train_seconds: Seconds that trials have trained.
        input_seconds: Of them, those in which they waited for images.
        made_before: Samples that earlier runs' workers have made.
        epochs: Last epoch counted of each trial that has not ended.
    """

    images: int = 0
    shared: int = 0
    train_seconds: float = 0.0
    input_seconds: float = 0.0
    made_before: int = 0
    epochs: dict[int, int] = field(default_factory=dict)
    _streams: dict[str, int] = field(default_factory=dict)
    _paces: dict[int, _Pace] = field(default_factory=dict)
    _recent: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_RECENT_EPOCHS))

    @classmethod
    def resumed(cls, summary: Mapping[str, Any]) -> Throughput:
        """Go on from the summary of an earlier run."""
        names = ("images", "shared", "train_seconds", "input_seconds")
        epochs = {int(number): last for number, last in summary.get("epochs", {}).items()}
        totals = {name: summary.get(name, 0) for name in names}
        return cls(**totals, made_before=summary.get("made", 0), epochs=epochs)

    @property
    def made(self) -> int:
        """Samples that the shared stream's workers have made, as far as trials have seen."""
        return self.made_before + sum(self._streams.values())

    @property
    def hit_rate(self) -> float | None:
        """The share of the shared images that were not made for their reader; None without any."""
        return max(0.0, 1 - self.made / self.shared) if self.shared else None

    def count(self, number: int, epoch: Epoch, now: float) -> None:
        """Count an epoch, unless it is counted.

        Args:
            number: The trial's.
            epoch: Of an older version, which says nothing of its input, nothing is counted.
            now: Seconds, of any clock that only goes forward.
        """
        read = epoch.input
        if read is None or epoch.epoch <= self.epochs.get(number, 0):
            return
        self.epochs[number] = epoch.epoch
        seconds, made = epoch.seconds, self.made
        for origin, count in read.streams.items():
            self._streams[origin] = max(count, self._streams.get(origin, 0))
        self.images += read.images
        self.shared += read.shared
        self.train_seconds += seconds.train or 0.0
        self.input_seconds += seconds.input or 0.0
        self._paces[number] = _Pace(now, max(seconds.total or 0.0, 1e-3), read.images)
        self._recent.append((read.shared, self.made - made))

    def end(self, number: int) -> None:
        """Forget a trial that has ended; it counts in the totals."""
        self.epochs.pop(number, None)
        self._paces.pop(number, None)

    def rates(self, now: float) -> tuple[float, float]:
        """Return images a second that the running trials read, and that are made for them.

        Each at the pace of its last epoch, as long as the next one can still be under way.
        """
        running = [pace for pace in self._paces.values() if now - pace.ended < pace.lasts]
        read = sum(pace.images / pace.seconds for pace in running)
        shared, made = map(sum, zip((0, 0), *self._recent, strict=True))
        return read, read * made / shared if shared else 0.0

    def summary(self, now: float) -> dict[str, Any]:
        """Return it as plain values, as pipeline.json has them."""
        read, made = self.rates(now)
        return {
            "images": self.images,
            "shared": self.shared,
            "made": self.made,
            "hit_rate": self.hit_rate,
            "train_seconds": round(self.train_seconds, 3),
            "input_seconds": round(self.input_seconds, 3),
            "images_per_second": round(read, 1),
            "made_per_second": round(made, 1),
            "epochs": {str(number): last for number, last in self.epochs.items()},
        }


class InputLog:
    """Keeps pipeline.json in the study directory: a log (:class:`search.tuning.logs.Log`).

    Args:
        directory: The study directory.
        sharing: service or local.
        why: Why it is that.
    """

    name = "the input's account"

    def __init__(self, directory: Path, sharing: str, why: str) -> None:
        self._directory = directory
        self._path = directory / FILE
        self._facts = {"sharing": sharing, "why": why}
        self._throughput = Throughput.resumed(_read(self._path))
        self._written = float("-inf")
        self._write()

    def ended(self) -> Container[int]:
        """Return what holds every trial: the totals go on from the file."""
        return range(2**62)

    def trial_started(self, number: int, params: Mapping[str, Any], baseline: str | None) -> None:
        """Do nothing."""

    def epoch_ended(self, number: int, epoch: Epoch) -> None:
        """Count an epoch, and those before it that a killed driver did not receive."""
        last = self._throughput.epochs.get(number, 0)
        for line in unwritten(trial_folder(self._directory, number), last, epoch):
            self._throughput.count(number, line, time.monotonic())
        if time.monotonic() - self._written > _WRITE_SECONDS:
            self._write()

    def trial_ended(self, trial: FrozenTrial) -> None:
        self._throughput.end(trial.number)

    def close(self) -> None:
        self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        # A disk that is full now will take a later one.
        with contextlib.suppress(OSError):
            write_json(self._path, self._facts | self._throughput.summary(self._written))


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
