from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from model.files import folder_written_whole, written_whole


def fail_on_the_way(writing: AbstractContextManager[Path]) -> None:
    with writing as temporary:
        temporary.mkdir() if "saved" in temporary.name else temporary.write_text("ne")
        raise OSError("disk full")


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_text("old")
    with written_whole(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"

    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_outlives_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_text("old")
    with pytest.raises(OSError, match="full"):
        fail_on_the_way(written_whole(path))

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("before", ["nothing", "empty", "other"])
def test_a_folder_is_replaced_whole(tmp_path: Path, before: str) -> None:
    folder = tmp_path / "saved"
    if before != "nothing":
        folder.mkdir()
    if before == "other":
        (folder / "old").write_text("old")
    with folder_written_whole(folder) as temporary:
        temporary.mkdir()
        (temporary / "new").write_text("new")

    assert list(folder.iterdir()) == [folder / "new"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_outlives_a_failure(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "old").write_text("old")
    with pytest.raises(OSError, match="full"):
        fail_on_the_way(folder_written_whole(folder))

    assert list(folder.iterdir()) == [folder / "old"]
    assert list(tmp_path.iterdir()) == [folder]
