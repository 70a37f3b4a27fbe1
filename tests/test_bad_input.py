"""Bad input, as a person meets it: a clear error that names the file, and nothing half written."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from foundation.files import naming, whole_folder, write_text
from model.config import ModelConfig
from model.exporting import write_saved_model
from model.flexunet import build_flexunet
from tests.disks import mounted_disk

ROOM = 64 * 1024  # bytes


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    with mounted_disk(tmp_path / "disk", ROOM) as folder:
        yield folder


def a_folder(manager: Callable[[Path], contextlib.AbstractContextManager[Path]]) -> object:
    def write(path: Path) -> None:
        with manager(path) as folder:
            (folder / "small").write_bytes(b"x")
            (folder / "large").write_bytes(b"x" * 2 * ROOM)

    return write


@pytest.mark.parametrize(
    "write",
    [lambda path: write_text(path, "x" * 2 * ROOM), a_folder(whole_folder)],
    ids=["file", "folder"],
)
def test_a_full_disk_is_told_with_the_file_and_leaves_nothing_half(
    small_disk: Path, write: Callable[[Path], None]
) -> None:
    with pytest.raises(OSError, match="No space left on device") as caught:
        write(small_disk / "out")

    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(small_disk / "out")
    assert list(small_disk.iterdir()) == []


def test_an_error_that_names_its_file_stays_as_it_is() -> None:
    named = OSError(errno.EACCES, "Permission denied", "somewhere")
    told = FileExistsError("out: expected a new folder, found notes.txt")

    assert naming(named, Path("elsewhere")) is named
    assert naming(told, Path("elsewhere")) is told


def test_a_full_disk_is_no_fault_of_a_saved_model(small_disk: Path) -> None:
    """TensorFlow has an error of its own for it, which is no OSError."""
    model = build_flexunet(ModelConfig(num_layers=2, base_filters=16), (16, 16, 1), 2)

    with pytest.raises(OSError, match="No space left on device") as caught:
        write_saved_model(model, small_disk / "out", resize="stretch")

    assert caught.value.filename == str(small_disk / "out")
    assert list(small_disk.iterdir()) == []
