"""An epoch of a training, which is a line of metrics.jsonl: its type, its writer, its readers.

A large study has some 500,000 lines, which msgspec decodes as they should be; a file that holds
anything else is read again line by line, and each fault is reported with its line. Fields that an
older version did not write are None or empty; those of a newer one are passed over.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, final

import msgspec

from results.records import file_names

METRICS = file_names.METRICS

# Told what is wrong with a line, and its number from 1.
OnProblem = Callable[[str, int], None]


class Seconds(msgspec.Struct, frozen=True, gc=False):
    """What an epoch took, in wall seconds.

    Attributes:
        train: Training, of it ``input`` spent waiting for images.
        validate: The validation.
        total: All of it.
    """

    train: float | None = None
    validate: float | None = None
    input: float | None = None
    total: float | None = None


class EpochInput(msgspec.Struct, frozen=True):
    """What an epoch read: see :class:`data_pipeline.streams.feed.Reading`.

    Attributes:
        source: service or local, at its end.
        trouble: Why the shared stream was left, if it was.
        images: Images read; ``shared`` of them from the shared stream.
        seconds: Wall seconds spent waiting for them.
        streams: Samples that each worker's stream had made, by its origin.
    """

    source: str | None = None
    trouble: str | None = None
    images: int = 0
    shared: int = 0
    seconds: float = 0.0
    streams: dict[str, int] = {}


class Memory(msgspec.Struct, frozen=True, gc=False):
    """Bytes that the process held before the model was built, and at most since; None: unknown."""

    before: int | None = None
    peak: int | None = None


@final
class Worker(msgspec.Struct, frozen=True, gc=False):
    """The process that trains, which is also the contents of a worker.json.

    Attributes:
        host, pid: The process.
        kernels: Whose convolutions TensorFlow uses there: onednn or eigen.
        instructions: The widest vector instructions of its processor, such as AVX-512.
    """

    host: str
    pid: int
    kernels: str | None = None
    instructions: str | None = None

    @classmethod
    def read(cls, path: Path) -> Worker | None:
        """Read a worker.json, which another process may be writing; None where it says nothing."""
        with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return msgspec.json.decode(path.read_bytes(), type=cls)
        return None


@final
class Epoch(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An epoch of a training; scores are of the validation split.

    Attributes:
        epoch: From 1.
        train_loss, validation_loss, learning_rate: Means over the epoch; None where undefined.
        objective: What the study maximises.
        pruning_value: What the pruner sees.
        mean_foreground_dice, pooled_dice: In 0..1; see ``results/analysis/scores.py``.
        dice, soft_dice: Class to Dice in 0..1; None where undefined.
        counts: Class to (true positives, false positives, false negatives) in pixels.
        images_per_second: Training images.
        gflops_per_second: 10**9 operations of the model's training; it compares nodes.
        time: When it ended.
        fold: Of a trial over folds (``search.folds``), which one was trained, from 0; objective,
            Dice and counts are then of this and the folds before together, the epochs numbered
            through.
        fold_objective: The objective of this fold alone.
        fold_done: Whether it was the fold's last epoch.
    """

    epoch: Annotated[int, msgspec.Meta(ge=1)]
    train_loss: float | None = None
    validation_loss: float | None = None
    learning_rate: float | None = None
    objective: float | None = None
    pruning_value: float | None = None
    mean_foreground_dice: float | None = None
    dice: dict[str, float | None]
    soft_dice: dict[str, float | None] = {}
    counts: dict[str, tuple[int | float, int | float, int | float]] = {}
    pooled_dice: float | None = None
    seconds: Seconds = Seconds()
    input: EpochInput | None = None
    images_per_second: float | None = None
    gflops_per_second: float | None = None
    memory: Memory | None = None
    time: datetime | None = None
    worker: Worker | None = None
    fold: int | None = None
    fold_objective: float | None = None
    fold_done: bool = False

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Epoch:
        """Make it from plain values, as a line or a checkpoint has them.

        Raises:
            msgspec.ValidationError: saying which field is wrong.
        """
        return msgspec.convert(values, cls)

    def plain(self) -> dict[str, Any]:
        """Return it as plain values, in the order of the fields, as a line has them."""
        values: dict[str, Any] = msgspec.to_builtins(self, builtin_types=(datetime,))
        if self.fold is None:
            for name in ("fold", "fold_objective", "fold_done"):
                del values[name]
        if self.time is not None:
            values["time"] = self.time.isoformat(timespec="milliseconds")
        return values

    def line(self) -> str:
        """Return it as a line of metrics.jsonl.

        Raises:
            ValueError: for a number that is not finite, which JSON cannot hold.
        """
        return json.dumps(self.plain(), allow_nan=False) + "\n"


_DECODER = msgspec.json.Decoder(Epoch)


def read_lines(content: bytes, on_problem: OnProblem = lambda _, __: None) -> list[Epoch]:
    """Read the contents of a metrics.jsonl.

    Args:
        content: Its bytes. A last line that is no JSON is left out: it may be in the making, or
            have been when the machine went down.
        on_problem: Told what is wrong with another line, and the line's number from 1.

    Returns:
        The lines that are right, in the file's order.
    """
    try:
        return _DECODER.decode_lines(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _read_one_by_one(content, on_problem)


def _read_one_by_one(content: bytes, on_problem: OnProblem) -> list[Epoch]:
    lines = [line for line in content.split(b"\n") if line.strip()]
    found = []
    for number, text in enumerate(lines, start=1):
        try:
            # Python's reader takes NaN and infinity, too, which are no JSON.
            found.append(Epoch.of(json.loads(text)))
        except msgspec.ValidationError as error:
            on_problem(_in_words(error), number)
        except ValueError as error:
            if number < len(lines):
                on_problem(f"expected JSON: {error}", number)
    return found


def _in_words(error: msgspec.ValidationError) -> str:
    """Turn ``Expected `int`, got `str` - at `$.epoch``` into ``epoch: expected int, got str``."""
    text, _, path = str(error).replace("`", "").partition(" - at ")
    field = path.removeprefix("$").removeprefix(".")
    said = f"{text[0].lower()}{text[1:]}"
    return f"{field}: {said}" if field else said


def in_order(epochs: Sequence[Epoch]) -> list[Epoch]:
    """Return epochs in their order; of one that was trained twice, the later line."""
    latest = {epoch.epoch: epoch for epoch in epochs}
    return [latest[number] for number in sorted(latest)]


def epochs_in(folder: Path) -> list[Epoch]:
    """Return the epochs of a training from its folder's metrics.jsonl; none where it is not there.

    Lines that are wrong are left out: ``report`` names them.
    """
    try:
        return in_order(read_lines((folder / METRICS).read_bytes()))
    except OSError:
        return []


def best_of(epochs: Sequence[Epoch]) -> Epoch | None:
    """Return the epoch with the highest objective, the earliest of equals; None without one.

    Over folds: of the last fold that is finished, the first one while none is.
    """
    finished = max((epoch.fold or 0 for epoch in epochs if epoch.fold_done), default=0)
    scored = [e for e in epochs if e.objective is not None and (e.fold or 0) == finished]
    return max(scored, key=lambda epoch: epoch.objective or 0.0, default=None)
