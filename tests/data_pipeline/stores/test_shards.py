"""Shards made one by one: redone only where they are not finished, the same bytes however made."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

import data_pipeline.stores.assembling
import data_pipeline.stores.shards
from data_pipeline.config import DataConfig
from data_pipeline.datasets.sources import find_dataset
from data_pipeline.problems import DataError
from data_pipeline.stores.prepare import prepare
from data_pipeline.stores.shards import (
    ShardDone,
    ShardTask,
    is_finished,
    make_shard,
    read_facts,
    shard_tasks,
)
from tests.data_pipeline.files import write_divided, write_undivided

PER_SHARD = 3


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (data_pipeline.stores.shards, data_pipeline.stores.assembling):
        monkeypatch.setattr(module, "records_per_shard", lambda shape: PER_SHARD)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_divided(tmp_path / "data", (8, 3, 2))


def config(root: Path, **fields: object) -> DataConfig:
    return DataConfig.model_validate({"source": str(root), "image_size": (24, 32), **fields})


def tasks_of(root: Path, folder: Path, **fields: object) -> list[ShardTask]:
    folder.mkdir(exist_ok=True)
    settings = config(root, **fields)
    return shard_tasks(find_dataset(settings), settings, folder, "f" * 64)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def work_folders(root: Path) -> list[Path]:
    return list(root.with_name("data.prepared").glob("*.tmp-*"))


class Elsewhere:
    """Makes shards as other machines would: in any order, some of them twice, from pickles."""

    def __init__(self) -> None:
        self.done: list[ShardDone] = []

    def __call__(
        self, make: Callable[[ShardTask], ShardDone], tasks: Sequence[ShardTask]
    ) -> Iterator[ShardDone]:
        import pickle

        make(tasks[0])
        for task in reversed(tasks):
            copy = pickle.loads(pickle.dumps((make, task)))
            self.done.append(copy[0](copy[1]))
            yield self.done[-1]


def kill_at(root: Path, image: int) -> None:
    """Prepare in a process that is killed once so many images are done."""
    code = f"""
        import os, signal, sys, time
        import data_pipeline.stores.shards, data_pipeline.stores.assembling
        for module in (data_pipeline.stores.shards, data_pipeline.stores.assembling):
            module.records_per_shard = lambda shape: {PER_SHARD}
        from data_pipeline.config import DataConfig
        from data_pipeline.stores.prepare import prepare
        def kill(done, total):
            if done == {image}:
                time.sleep(0.2)  # what is being flushed is finished
                os.kill(os.getpid(), signal.SIGKILL)
        prepare(DataConfig(source=sys.argv[1], image_size=(24, 32)), workers=1, progress=kill)
        """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(root)])
    assert killed.returncode == -signal.SIGKILL


def test_the_work_is_the_items_in_order_a_shard_each(root: Path, tmp_path: Path) -> None:
    tasks = tasks_of(root, tmp_path / "work")

    assert [task.name for task in tasks] == [
        *("train-00000", "train-00001", "train-00002"),
        *("valid-00000", "test-00000"),
    ]
    items = [item for task in tasks for item in task.items]
    assert items == list(find_dataset(config(root)).items)
    assert max(len(task.items) for task in tasks) == PER_SHARD


def test_a_killed_preparation_goes_on_from_its_finished_shards(root: Path) -> None:
    whole = content(prepare(config(root, store_path=root.parent / "whole")).path)
    kill_at(root, 8)
    (left,) = work_folders(root)
    finished = {path.name: path.stat().st_mtime_ns for path in left.glob("*.images")}
    seen: list[int] = []

    store = prepare(config(root), progress=lambda done, total: seen.append(done))

    assert sorted(finished) == ["train-00000.images", "train-00001.images"]
    assert seen == [3, 6, *range(7, 14)]  # by finished shards, then by images
    again = {path.name: path.stat().st_mtime_ns for path in store.path.glob("*.images")}
    assert finished.items() <= again.items()
    assert not work_folders(root)
    found = content(store.path)
    for name in whole.keys() - {"manifest.json"}:  # which names data.store_path
        assert found[name] == whole[name]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda task: task.shard.images.unlink(),
        lambda task: os.truncate(task.shard.masks, 5),
        lambda task: flip_a_byte(task.shard.images),
        lambda task: flip_a_byte(task.shard.masks),
        lambda task: task.facts.unlink(),
        lambda task: task.facts.write_bytes(task.facts.read_bytes()[:90]),
    ],
)
def test_a_shard_that_is_not_as_it_was_written_is_made_again(
    root: Path, tmp_path: Path, spoil: Callable[[ShardTask], None]
) -> None:
    task = tasks_of(root, tmp_path / "work")[0]
    assert make_shard(task) == ShardDone("train-00000", 3, made=True)
    assert make_shard(task) == ShardDone("train-00000", 3, made=False)
    before = content(task.folder)
    spoil(task)

    assert make_shard(task).made
    assert content(task.folder) == before
    assert not [path for path in task.folder.iterdir() if path.is_dir()]


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_shard_of_another_store_is_not_taken(root: Path, tmp_path: Path) -> None:
    (task, *_) = tasks_of(root, tmp_path / "work")
    make_shard(task)
    other = ShardTask(**{**vars(task), "fingerprint": "0" * 64})

    assert is_finished(task)
    assert not is_finished(other)
    with pytest.raises(ValueError, match="expected the facts of 0000"):
        read_facts(other)


def test_bad_files_of_a_finished_shard_are_not_forgotten(root: Path, tmp_path: Path) -> None:
    (root / "train" / "images" / "train1.png").write_bytes(b"no picture")
    (task, *_) = tasks_of(root, tmp_path / "work")
    make_shard(task)

    assert is_finished(task)
    facts = read_facts(task)
    assert facts.gathered.kept.tolist() == [0, 2]
    assert facts.counts.shape == (2, 3)
    (problem,) = facts.gathered.problems
    assert problem.path == str(root / "train" / "images" / "train1.png")
    assert "expected a jpg" in problem.message


@pytest.mark.parametrize("kind", ["divided", "undivided", "with bad files"])
def test_made_elsewhere_in_any_order_it_is_the_same_store(tmp_path: Path, kind: str) -> None:
    if kind == "undivided":
        root = write_undivided(tmp_path / "data", 20)
    else:
        root = write_divided(tmp_path / "data", (8, 3, 2))
    if kind == "with bad files":
        (root / "train" / "images" / "train1.png").write_bytes(b"no picture")
    settings = config(root, on_bad="skip", store_path=tmp_path / "stores")
    here = prepare(settings)
    expected = content(here.path)
    here.path.rename(tmp_path / "first")
    elsewhere = Elsewhere()
    seen: list[tuple[int, int]] = []

    store = prepare(
        settings, across=elsewhere, progress=lambda done, total: seen.append((done, total))
    )

    assert content(store.path) == expected
    total = 20 if kind == "undivided" else 13
    assert len(seen) == len(elsewhere.done) > 4
    assert seen[-1] == (total, total)
    assert max(shard.count for split in store.splits.values() for shard in split.shards) == 3


def test_who_has_no_other_machine_works_here(root: Path) -> None:
    asked: list[int] = []

    def nobody(make: object, tasks: Sequence[ShardTask]) -> None:
        asked.append(len(tasks))

    seen: list[int] = []
    prepare(config(root), across=nobody, progress=lambda done, total: seen.append(done))
    prepare(config(root), across=nobody)  # the store is there: nobody is asked

    assert asked == [5]
    assert seen == list(range(1, 14))


def test_an_interrupt_keeps_finished_shards_and_bad_data_keep_nothing(root: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(config(root), workers=1, progress=stop)
    (left,) = work_folders(root)
    assert len(list(left.glob("train-*.facts.npz"))) == 3
    assert not list(left.glob(".*.part-*"))

    (root / "test" / "images" / "test1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="expected a jpg"):
        prepare(config(root))
    assert not work_folders(root)


def test_decoded_images_do_not_pile_up(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = tasks_of(root, tmp_path / "work")
    alive: list[int] = []
    examine = data_pipeline.stores.shards._Maker.examine

    def counted(maker: data_pipeline.stores.shards._Maker, slot: int) -> object:
        alive.append(1)
        return examine(maker, slot)

    monkeypatch.setattr(data_pipeline.stores.shards._Maker, "examine", counted)
    taken: list[int] = []

    def tick(count: int) -> None:
        taken.append(count)
        assert len(alive) - sum(taken) <= data_pipeline.stores.shards.AHEAD * 2

    done = list(data_pipeline.stores.shards.make_shards(tasks, 2, tick))
    assert sum(taken) == sum(d.count for d in done) == 13
    np.testing.assert_array_equal([task.shard.images.exists() for task in tasks], True)
