from __future__ import annotations

import csv
import io
import struct
from pathlib import Path

import msgspec
import pytest
from tensorboardX.proto.event_pb2 import Event

from results.records.epochs import Epoch
from search.training.files import EventFile, TrainingFiles, losses_csv, metrics_csv, pooled_dice_csv
from tests.results.simulated_training import epoch_line, write_training

CLASSES = ["background", "hole, deep", "crack"]
RECORDS = [Epoch.of(epoch_line(epoch, 2, CLASSES)) for epoch in (1, 2, 3)]
FINAL = [Epoch.of(epoch_line(1, 2, CLASSES, final=True))]


def test_the_table_has_a_row_an_epoch_and_a_column_a_class() -> None:
    rows = list(csv.DictReader(io.StringIO(metrics_csv(RECORDS, CLASSES))))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[1]["train_loss"]) == 1.0
    # 100 true positives, 20 false positives, 40 false negatives.
    assert float(rows[1]["dice_hole, deep"]) == pytest.approx(200 / 260)
    assert float(rows[1]["iou_hole, deep"]) == pytest.approx(100 / 160)
    assert (rows[1]["seconds"], rows[1]["images_per_second"]) == ("1.6", "12.5")


def test_what_was_not_validated_is_empty() -> None:
    row = next(csv.DictReader(io.StringIO(metrics_csv(FINAL, CLASSES))))
    assert row["train_loss"] == "2.0"
    assert {row[name] for name in ("validation_loss", "dice_crack", "iou_crack")} == {""}


def test_the_references_tables_have_its_form() -> None:
    assert losses_csv(RECORDS) == (
        "epoch, loss, val_loss\n0, 2.0000, 1.2000\n1, 1.0000, 1.1000\n2, 0.6667, 1.0000\n"
    )
    assert losses_csv(FINAL).endswith("\n0, 2.0000, nan\n")
    head = "epoch,dice_coef_multiclass,val_dice_coef_multiclass,\n"
    assert pooled_dice_csv(RECORDS[:1]) == head + "0, nan, 0.9000\n"


def events_of(folder: Path) -> list[tuple[int, str, float]]:
    """Read the event file: length, its checksum, the event, its checksum, again and again."""
    (path,) = folder.glob("events.*")
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + length])
        found += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
        data = data[16 + length :]
    return found


def test_events_are_those_of_the_checkpoint_and_what_follows(tmp_path: Path) -> None:
    folder = tmp_path / "tensorboard"
    first = EventFile(folder)
    first.begin([])
    for record in RECORDS:
        first.write(record)
    assert {step for step, _, _ in events_of(folder)} == {1, 2, 3}
    again = EventFile(folder)  # as after a kill, with the first one's file in place
    again.begin(RECORDS[:1])
    again.write(msgspec.structs.replace(FINAL[0], epoch=2))
    told = events_of(folder)
    assert [(step, tag) for step, tag, _ in told if step == 2] == [
        (2, "loss/train"),
        (2, "learning_rate"),
    ]
    assert (1, "dice/crack") in {(step, tag) for step, tag, _ in told}
    again.close()
    first.close()


def test_files_are_brought_back_and_pages_come_at_the_end(tmp_path: Path) -> None:
    folder = write_training(tmp_path / "out")
    (folder / "metrics.csv").write_text("of epochs that are lost")
    files = TrainingFiles(folder, CLASSES, lambda images: images, None, tensorboard=False)
    files.begin(RECORDS[:2])
    assert (folder / "metrics.csv").read_text() == metrics_csv(RECORDS[:2], CLASSES)
    files.epoch_ended(RECORDS)
    assert (folder / "train_losses.csv").read_text() == losses_csv(RECORDS)
    assert not (folder / "training.html").exists()
    assert [page.name for page in files.write_pages()] == ["training.html"]


def test_another_worker_writes_nothing(tmp_path: Path) -> None:
    files = TrainingFiles(tmp_path, CLASSES, lambda images: images, None, writes=False)
    files.begin(RECORDS[:1])
    files.epoch_ended(RECORDS)
    assert files.write_pages() == []
    files.close()
    assert list(tmp_path.iterdir()) == []
