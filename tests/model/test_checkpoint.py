from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import checkpoint as checkpoint_module
from model.checkpoint import (
    Checkpoint,
    CheckpointError,
    first_difference,
    read_checkpoint,
    write_checkpoint,
)

pytestmark = pytest.mark.processor


def example() -> Checkpoint:
    arrays = (np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7, np.int64), np.zeros((0, 2)))
    return Checkpoint(arrays, {"model": ["é"], "extra": {"a": None}})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "last.npz"

    write_checkpoint(path, example())
    found = read_checkpoint(path)

    for x, y in zip(found.arrays, example().arrays, strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)
    assert {key: found.header[key] for key in ("model", "extra")} == example().header
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.npz"]


def test_more_than_ten_thousand_arrays_would_keep_their_order(tmp_path: Path) -> None:
    path = tmp_path / "many.npz"
    arrays = tuple(np.array(i) for i in range(1200))

    write_checkpoint(path, Checkpoint(arrays, {}))

    assert [int(array) for array in read_checkpoint(path).arrays] == list(range(1200))


def test_a_torn_file_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "last.npz"
    write_checkpoint(path, example())
    whole = path.read_bytes()

    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"last\.npz: torn"):
            read_checkpoint(path)


def test_a_flipped_bit_in_the_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.npz"
    write_checkpoint(path, example())
    content = bytearray(path.read_bytes())
    content[content.index(np.float32(5).tobytes())] ^= 1
    path.write_bytes(content)

    with pytest.raises(CheckpointError, match="torn"):
        read_checkpoint(path)


@pytest.mark.parametrize("kind", ["missing", "text", "other npz", "npy", "pickle"])
def test_what_is_no_checkpoint_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    if kind == "text":
        path.write_text("not a checkpoint")
    elif kind == "other npz":
        np.savez(path, weights=np.ones(3))
    elif kind == "npy":
        with open(path, "wb") as file:
            np.save(file, np.ones(3))
    elif kind == "pickle":
        np.savez(path, header=np.array([{"format": 1}], object))

    with pytest.raises(CheckpointError, match=r"x\.npz"):
        read_checkpoint(path)


def test_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.npz"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module, "FORMAT", 2)
        write_checkpoint(path, example())

    with pytest.raises(CheckpointError, match="expected format 1, received 2"):
        read_checkpoint(path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.npz"
    write_checkpoint(path, example())
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_checkpoint(path, Checkpoint((), {}))

    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.npz"]


def test_a_header_that_is_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_checkpoint(tmp_path / "x.npz", Checkpoint((), {"extra": object()}))

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("received", "difference"),
    [
        (["a", "b"], None),
        (["a", "c"], "expected b, received c"),
        (["a"], "expected 2 entries, received 1"),
    ],
)
def test_first_difference(received: list[str], difference: str | None) -> None:
    assert first_difference(["a", "b"], received) == difference
