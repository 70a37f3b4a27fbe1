from __future__ import annotations

import errno
import stat
from pathlib import Path

import pytest

from foundation.files import (
    check_replaceable,
    modified,
    put_link,
    read_json,
    whole_file,
    whole_folder,
)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_text("old")
    with whole_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"

    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_outlives_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_text("old")

    def fail() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("ne")
            raise OSError("disk full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, whole_file(tmp_path / "no" / "file"):
        pass
    assert caught.value.filename == str(tmp_path / "no" / "file")


def test_a_folder_appears_whole_and_replaces_the_one_before(tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    for text in ("first", "second"):
        with whole_folder(out) as made:
            (made / "file").write_text(text)
            assert not (out / "file").exists() or (out / "file").read_text() == "first"
        assert (out / "file").read_text() == text
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert stat.S_IMODE(out.stat().st_mode) == 0o755


def test_what_fails_changes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with whole_folder(out) as made:
        (made / "file").write_text("first")

    def fail() -> None:
        with whole_folder(out) as made:
            (made / "file").write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    # The system does not say which file it was.
    with pytest.raises(OSError, match=r"No space left on device: '.*/out'"):
        fail()
    assert (out / "file").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_link_stays_one_to_the_new_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to("real")
    with whole_folder(link) as made:
        (made / "file").write_text("new")
    assert link.is_symlink()
    assert (tmp_path / "real" / "file").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]


def test_a_folder_that_cannot_be_moved_stays_with_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "file").write_text("first")

    def busy(*_: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")  # a mount point

    monkeypatch.setattr("foundation.files.os.rename", busy)
    with pytest.raises(OSError, match="busy"), whole_folder(out) as made:
        (made / "file").write_text("second")
    assert (out / "file").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("out", [".", "..", "../here"])
def test_the_working_directory_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    refused = pytest.raises(FileExistsError, match="another folder than the working directory")
    with refused, whole_folder(Path(out)):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_a_folder_of_others_is_refused(tmp_path: Path) -> None:
    names, out = ("mark", "b"), tmp_path / "out"

    def check() -> None:
        check_replaceable(out, names, "mark", "an earlier one")

    check()
    out.mkdir()
    check()
    (out / "b").touch()
    with pytest.raises(FileExistsError, match=r"out: expected .* or an earlier one, found b$"):
        check()
    (out / "mark").touch()
    check()
    for number in range(7):
        (out / f"other{number}").touch()
    with pytest.raises(FileExistsError, match=r"found other0, .*, other4 and 2 more$"):
        check()
    with pytest.raises(FileExistsError, match=r"expected a folder to write, received a file"):
        check_replaceable(out / "b", names, "mark", "an earlier one")


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"[1]", b"null", b"\xff\xfe{"])
def test_a_file_without_an_object_reads_as_empty(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "facts.json"
    assert read_json(path) == {}
    assert modified(path) is None
    path.write_bytes(content)
    assert read_json(path) == {}
    path.write_text('{"a": 1}')

    assert read_json(path) == {"a": 1}
    assert modified(path) == path.stat().st_mtime


@pytest.mark.parametrize("links", [True, False])
def test_a_link_takes_the_place_of_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    source, target = tmp_path / "new", tmp_path / "old"
    source.write_text("new")
    target.write_text("old")
    (tmp_path / ".old.tmp").write_text("left by a process that was killed")

    def refused(*_: object) -> None:
        raise OSError(95, "no hard links here")

    if not links:
        monkeypatch.setattr("foundation.files.os.link", refused)
    put_link(source, target)
    assert target.read_text() == "new"
    assert target.samefile(source) == links
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]
