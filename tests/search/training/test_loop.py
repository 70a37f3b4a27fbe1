from __future__ import annotations

import errno
from pathlib import Path

import pytest

from search.training import loop as training_run
from search.training.loop import with_room


class Disk:
    """An action that finds no room the first times."""

    def __init__(self, failures: int, error: OSError) -> None:
        self.left = failures
        self.error = error

    def __call__(self) -> str:
        if self.left:
            self.left -= 1
            raise self.error
        return "written"


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), OSError("Unable to write (errno = 28)")],
)
def test_a_full_disk_is_told_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    monkeypatch.setattr(training_run, "DISK_RETRY_SECONDS", 0.001)
    notes: list[str] = []
    assert with_room(Disk(3, error), tmp_path, 44_000_000, notes.append) == "written"
    (note,) = notes
    assert note.startswith(f"{tmp_path}: the disk is full")
    assert "need 44.0 MB" in note
    assert "kept in memory" in note


def test_a_disk_that_stays_full_ends_it_with_the_file_and_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_run, "DISK_SECONDS", 0.01)
    full = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "last.npz"))
    with pytest.raises(OSError, match=r"need 44.0 MB.*run the same command again") as caught:
        with_room(Disk(10**9, full), tmp_path, 44_000_000, lambda note: None)
    assert caught.value.filename == str(tmp_path / "last.npz")
    assert caught.value.errno == errno.ENOSPC


def test_other_errors_pass(tmp_path: Path) -> None:
    denied = PermissionError(errno.EACCES, "Permission denied")
    with pytest.raises(PermissionError):
        with_room(Disk(1, denied), tmp_path, 1, lambda note: None)
