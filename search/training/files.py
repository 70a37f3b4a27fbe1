"""What a training writes beside its model, an epoch after the other: tables, pages, TensorBoard.

All of it derives from the epochs in the checkpoint. So a training that goes on brings it back to
them, and whatever was killed in between cannot make them differ.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foundation.files import write_text
from results.analysis.scores import iou
from results.records.epochs import Epoch
from search.storage.epochs import TENSORBOARD, scalars
from search.training.epoch_pictures import EpochPictures, Predict

PAGE_SECONDS = 30.0  # from one writing of the pages to the next; they are some megabytes


class TrainingFiles:
    """Writes them into a training's folder.

    Args:
        out_dir: The folder.
        classes: Names of the classes, background first.
        predict: uint8 [B, H, W, C] to probabilities [B, H, W, classes], by the weights as they are.
        pictures: Those of the epochs; None: none.
        tensorboard: Whether event files are written.
        writes: Whether this process writes; of several that train together only one does.
    """

    def __init__(
        self,
        out_dir: Path,
        classes: Sequence[str],
        predict: Predict,
        pictures: EpochPictures | None,
        *,
        tensorboard: bool = True,
        writes: bool = True,
    ) -> None:
        self._out_dir = out_dir
        self._classes = tuple(classes)
        self._predict = predict
        self._pictures = pictures
        self._events = EventFile(out_dir / TENSORBOARD) if tensorboard and writes else None
        self._writes = writes
        self._pages_written = time.monotonic()

    def begin(self, epochs: Sequence[Epoch]) -> None:
        """Bring all files back to the epochs in the checkpoint."""
        if self._pictures is not None:
            self._pictures.begin(len(epochs), self._predict)
        if self._events is not None:
            self._events.begin(epochs)
        if self._writes and epochs:
            self._write_tables(epochs)

    def epoch_ended(self, epochs: Sequence[Epoch]) -> None:
        """Write what the last of the epochs adds."""
        if self._writes:
            self._write_tables(epochs)
        if self._pictures is not None:
            self._pictures.epoch_ended(epochs[-1].epoch, self._predict)
        if self._events is not None:
            self._events.write(epochs[-1])
        if self._writes and time.monotonic() - self._pages_written >= PAGE_SECONDS:
            self.write_pages()

    def write_pages(self) -> list[Path]:
        """Write the pages of the curves and of the pictures; return their files."""
        if not self._writes:
            return []
        from results.pages.flip import write_flip_page
        from results.pages.training import write_training_page

        pages = [write_training_page(self._out_dir)]
        if self._pictures is not None:
            pages.append(write_flip_page(self._out_dir))
        self._pages_written = time.monotonic()
        return pages

    def close(self) -> None:
        if self._events is not None:
            self._events.close()

    def _write_tables(self, epochs: Sequence[Epoch]) -> None:
        tables = {
            "metrics.csv": metrics_csv(epochs, self._classes),
            "train_losses.csv": losses_csv(epochs),
            "train_metrics.csv": pooled_dice_csv(epochs),
        }
        for name, text in tables.items():
            write_text(self._out_dir / name, text, durable=False)


def metrics_csv(epochs: Sequence[Epoch], classes: Sequence[str]) -> str:
    """Return a row an epoch: losses, learning rate, Dice and IoU of each class, seconds, images/s.

    Args:
        epochs: Those that were trained.
        classes: Names of the classes, background first.

    Returns:
        CSV with a head; what is undefined or not measured is empty.
    """
    numbers = ("epoch", "train_loss", "validation_loss", "learning_rate", "objective")
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    head = [*numbers, "mean_foreground_dice"]
    head += [f"{score}_{name}" for score in ("dice", "iou") for name in classes]
    writer.writerow([*head, "seconds", "images_per_second"])
    for epoch in epochs:
        counts = epoch.counts
        overlaps = iou([counts[name] for name in classes]) if counts else [math.nan] * len(classes)
        row = [getattr(epoch, name) for name in (*numbers, "mean_foreground_dice")]
        row += [epoch.dice.get(name) for name in classes]
        row += [None if math.isnan(value) else round(float(value), 6) for value in overlaps]
        writer.writerow([*row, epoch.seconds.total, epoch.images_per_second])
    return file.getvalue()


def losses_csv(epochs: Sequence[Epoch]) -> str:
    """Return the losses as the reference's trainer writes them: epochs from 0, four digits."""
    rows = [_reference_row(r.epoch, r.train_loss, r.validation_loss) for r in epochs]
    return "".join(["epoch, loss, val_loss\n", *rows])


def pooled_dice_csv(epochs: Sequence[Epoch]) -> str:
    """Return the reference's metric, Dice over all classes pooled, as its trainer writes it.

    It is measured in validation alone: of training it is nan.
    """
    rows = [_reference_row(r.epoch, None, r.pooled_dice) for r in epochs]
    return "".join(["epoch,dice_coef_multiclass,val_dice_coef_multiclass,\n", *rows])


def _reference_row(epoch: int, training: float | None, validation: float | None) -> str:
    texts = ["nan" if value is None else f"{value:.4f}" for value in (training, validation)]
    return f"{epoch - 1}, {texts[0]}, {texts[1]}\n"


class EventFile:
    """TensorBoard's file of one training; begun by each process that continues it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None

    def begin(self, epochs: Sequence[Epoch]) -> None:
        """Put a file of these epochs in the place of those that are there."""
        from tensorboardX.event_file_writer import EventsWriter

        self._folder.mkdir(exist_ok=True)
        for earlier in self._folder.glob("events.*"):
            earlier.unlink()
        # Not its SummaryWriter: that one writes from a thread, which a flush does not wait for.
        self._writer = EventsWriter(str(self._folder / "events"))
        for epoch in epochs:
            self.write(epoch)

    def write(self, epoch: Epoch) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        ended = epoch.time.timestamp() if epoch.time is not None else time.time()
        for name, value in scalars(epoch).items():
            summary = scalar(name, value)
            self._writer.write_event(Event(wall_time=ended, step=epoch.epoch, summary=summary))
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
