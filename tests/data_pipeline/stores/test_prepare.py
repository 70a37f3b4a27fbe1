from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_pipeline.config import DataConfig
from data_pipeline.problems import DataError
from data_pipeline.stores.prepare import prepare
from data_pipeline.stores.store import Store
from data_pipeline.stores.survey import survey, survey_with_files
from tests.data_pipeline.files import (
    CLASSES,
    cmyk_jpeg,
    encode,
    labels,
    picture,
    rgb_mask,
    write_divided,
    write_item,
    write_undivided,
)


def config(root: Path, **fields) -> DataConfig:
    return DataConfig(**{"source": str(root), "image_size": (24, 32), **fields})


def stores(root: Path) -> list[Path]:
    return [p for p in root.with_name(f"{root.name}.prepared").iterdir() if p.is_dir()]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_divided(tmp_path / "data")


@pytest.mark.parametrize("workers", [1, 4])
def test_records_are_the_source_where_nothing_is_resized(root: Path, workers: int) -> None:
    store = prepare(config(root), workers=workers)
    assert {name: split.count for name, split in store.splits.items()} == {
        "train": 5,
        "valid": 3,
        "test": 2,
    }
    assert (store.classes, store.image_shape) == (tuple(CLASSES), (24, 32, 1))
    for seed in range(5):
        image, mask = store.read("train", seed)
        np.testing.assert_array_equal(image, picture(channels=1, seed=seed))
        np.testing.assert_array_equal(mask, labels(seed=seed))
    expected = sum(np.bincount(labels(seed=s).ravel(), minlength=3) for s in range(5))
    assert store.class_pixels("train").tolist() == expected.tolist()
    assert store.splits["train"].image_classes.tolist() == [1] * 5


def test_colour_is_rgb(root: Path) -> None:
    color = picture(seed=7)
    (root / "valid" / "images" / "valid0.png").write_bytes(encode(".png", color))
    image, _ = prepare(config(root, channels=3)).read("valid", 0)
    np.testing.assert_array_equal(image, color[:, :, ::-1])


def test_the_store_does_not_depend_on_the_number_of_workers(root: Path, tmp_path: Path) -> None:
    files = []
    for workers in (1, 7):
        made = prepare(config(root, store_path=tmp_path / f"s{workers}"), workers=workers)
        files.append({p.name: p.read_bytes() for p in made.path.iterdir() if "00" in p.name})
    assert files[0] == files[1]
    assert len(files[0]) == 6


def test_progress_and_the_second_run(root: Path) -> None:
    seen: list[tuple[int, int]] = []
    first = prepare(config(root), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 10) for n in range(1, 11)]
    seen.clear()
    second = prepare(config(root), progress=lambda done, total: seen.append((done, total)))
    assert not seen
    assert second.path == first.path


@pytest.mark.parametrize(
    "change",
    [
        {"image_size": (16, 16)},
        {"channels": 3},
        {"resize": "letterbox"},
        {"color_tolerance": 5},
        {"classes": {"background": (0, 0, 0), "crack": (0, 0, 255), "hole": (255, 0, 0)}},
    ],
)
def test_another_setting_is_another_store(root: Path, change: dict) -> None:
    assert prepare(config(root)).fingerprint != prepare(config(root, **change)).fingerprint
    assert len(stores(root)) == 2


def test_the_fingerprint_follows_content_not_time_or_place(root: Path, tmp_path: Path) -> None:
    first = prepare(config(root)).fingerprint
    os.utime(root / "train" / "images" / "train0.png", (1, 1))
    assert prepare(config(root)).fingerprint == first
    moved = root.rename(tmp_path / "elsewhere")
    assert prepare(config(moved)).fingerprint == first
    image = moved / "train" / "images" / "train0.png"
    status = image.stat()
    content = picture(channels=1, seed=50)
    image.write_bytes(encode(".png", content))
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
    changed = prepare(config(moved))
    assert changed.fingerprint != first
    np.testing.assert_array_equal(changed.read("train", 0)[0], content)


def test_the_files_of_a_survey_are_those_of_its_rows(tmp_path: Path) -> None:
    """Of undivided data too, whose rows are sorted by split and whose files by name."""
    found, items = survey_with_files(config(write_undivided(tmp_path)))
    assert found.stems == tuple(item.stem for item in items) != tuple(sorted(found.stems))
    assert found.groups == tuple(item.group for item in items)


def test_every_group_validates_in_one_fold_and_tests_in_all_or_none(tmp_path: Path) -> None:
    data = write_undivided(tmp_path / "data", 16)
    stores = [prepare(config(data, split={"folds": 3, "fold": fold})) for fold in range(3)]
    tests = {store.splits["test"].stems for store in stores}
    assert tests == {prepare(config(data)).splits["test"].stems}
    validated = [stem for store in stores for stem in store.splits["valid"].stems]
    assert len(validated) == len(set(validated)) == 16 - len(*tests)
    for store in stores:
        groups = [set(split.groups) for split in store.splits.values()]
        assert len(set.union(*groups)) == sum(map(len, groups)) == 8


def test_folds_that_cannot_be_dealt_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="to deal into 2 folds, found splits of its own"):
        prepare(config(root, split={"folds": 2}))
    few = write_undivided(tmp_path / "few", 12)
    (few / "images" / "p00.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        prepare(config(few, split={"folds": 9}))
    said = str(caught.value)
    assert "2 problems" in said
    assert "p00.png" in said
    assert "data.split.folds: expected at most as many folds as groups" in said


def test_undivided_is_split_by_group(tmp_path: Path) -> None:
    root = write_undivided(tmp_path / "data", 24)
    store = prepare(config(root))
    groups = {name: set(split.groups) for name, split in store.splits.items()}
    assert sum(len(g) for g in groups.values()) == len(set.union(*groups.values())) == 12
    for name, split in store.splits.items():
        for index, stem in enumerate(split.stems):
            image, mask = store.read(name, index)
            np.testing.assert_array_equal(image, picture(channels=1, seed=int(stem[1:])))
            np.testing.assert_array_equal(mask, labels(seed=int(stem[1:])))
    assert not list(store.path.glob("undivided*"))
    assert store.survey.splits == tuple(sorted(store.survey.splits, key=list(store.splits).index))
    other = prepare(config(root, split={"seed": 5}))
    assert {n: s.stems for n, s in other.splits.items()} != {
        n: s.stems for n, s in store.splits.items()
    }


def damage(root: Path) -> set[str]:
    """Ten bad files of different kinds; returns their names, as they must be reported."""
    train, valid = root / "train", root / "valid"
    for number in range(9):
        write_item(train, f"bad{number}", 80 + number)
    image, mask = train / "images", train / "masks"
    (image / "bad0.png").write_bytes((image / "bad0.png").read_bytes()[:-40])
    (image / "bad1.png").write_bytes(b"no picture")
    (image / "bad2.png").write_bytes(cmyk_jpeg())
    (mask / "bad3.png").unlink()
    (image / "bad4.png").unlink()
    (mask / "bad5.png").write_bytes(rgb_mask(np.zeros((24, 31), np.uint8)))
    (mask / "bad6.png").write_bytes(encode(".png", picture()))
    (image / "bad7.jpg").write_bytes(encode(".jpg", picture()))
    (image / "bad8.png").write_bytes(encode(".png", picture(channels=1).astype(np.uint16)))
    (mask / "bad8.png").write_bytes(b"")
    (valid / "images" / "readme.md").write_text("")
    return {
        "images/bad0.png", "images/bad1.png", "images/bad2.png", "images/bad3.png",
        "masks/bad4.png", "masks/bad5.png", "masks/bad6.png", "images/bad7.jpg",
        "images/bad7.png", "images/bad8.png", "masks/bad8.png", "images/readme.md",
    }  # fmt: skip


def test_all_bad_files_are_in_one_error(root: Path) -> None:
    bad = damage(root)
    with pytest.raises(DataError) as raised:
        prepare(config(root))
    problems = {"/".join(Path(p.path).parts[-2:]): p.message for p in raised.value.problems}
    assert set(problems) == bad
    assert len(raised.value.problems) == len(bad)
    assert all(name.split("/")[1] in str(raised.value) for name in bad)
    reasons = {
        "images/bad0.png": "truncated",
        "images/bad1.png": "expected a jpg, png, bmp or tif",
        "images/bad2.png": "CMYK",
        "images/bad3.png": "image without mask",
        "masks/bad4.png": "mask without image",
        "masks/bad5.png": "size 24 x 32 (upright), received 24 x 31",
        "masks/bad6.png": "colours that are no class",
        "images/bad7.jpg": "duplicate stem",
        "images/bad8.png": "16 bit",
        "masks/bad8.png": "empty",
    }
    for name, reason in reasons.items():
        assert reason in problems[name]
    assert not stores(root)


def test_bad_files_are_skipped_and_kept_in_the_manifest(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clean = prepare(config(root, on_bad="skip"))
    bad = damage(root)
    with caplog.at_level(logging.WARNING):
        store = prepare(config(root, on_bad="skip"))
    assert {p.path.split("/", 1)[1] for p in store.skipped} == bad
    assert all(name.split("/")[1] in caplog.text for name in bad)
    assert store.splits["train"].stems == clean.splits["train"].stems
    for index in range(5):
        for left, right in zip(store.read("train", index), clean.read("train", index), strict=True):
            np.testing.assert_array_equal(left, right)
    assert Store.open(store.path).skipped == store.skipped
    assert str(root) not in (store.path / "manifest.json").read_text().replace(
        json.dumps(str(root)), ""
    )


@pytest.mark.parametrize("on_bad", ["error", "skip"])
@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_an_empty_split_is_an_error(root: Path, split: str, on_bad: str) -> None:
    for file in (root / split).rglob("*.png"):
        file.unlink()
    with pytest.raises(DataError, match=f"the split '{split}' is empty"):
        prepare(config(root, on_bad=on_bad))


def test_a_split_left_empty_by_skipping_is_an_error(root: Path) -> None:
    for file in (root / "valid" / "images").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DataError, match="no usable image is left") as raised:
        prepare(config(root, on_bad="skip"))
    assert len(raised.value.problems) == 4


def test_too_few_groups_for_the_splits(tmp_path: Path) -> None:
    root = write_undivided(tmp_path / "data", 4)
    with pytest.raises(DataError, match=r"the split 'test' is empty.*too few groups"):
        prepare(config(root))


def test_masks_told_in_two_ways_are_refused(root: Path) -> None:
    binary = {"background": (0, 0, 0), "defect": (255, 255, 255)}
    for number, file in enumerate(sorted(root.glob("*/masks/*.png"))):
        mask = (labels(seed=number) > 0).astype(np.uint8)
        file.write_bytes(encode(".png", mask if file.stem == "train1" else mask * 255))
    with pytest.raises(DataError, match="grey class colours") as raised:
        prepare(config(root, classes=binary))
    assert [Path(p.path).stem for p in raised.value.problems] == ["train1"]


def test_the_readers_threads_setting_is_put_back(root: Path) -> None:
    before = cv2.getNumThreads()
    prepare(config(root))
    assert cv2.getNumThreads() == before


def run(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), *arguments])


def test_an_interrupted_run_leaves_nothing_half_valid(root: Path) -> None:
    killed = run(
        """
        import os, signal, sys
        from data_pipeline.config import DataConfig
        from data_pipeline.stores.prepare import prepare
        def kill(done, total):
            if done == 6:
                os.kill(os.getpid(), signal.SIGKILL)
        prepare(DataConfig(source=sys.argv[1], image_size=(24, 32)), progress=kill)
        """,
        str(root),
    )
    assert killed.wait(60) == -9
    assert len(stores(root)) == 1  # what it left; under a name that is no store's
    assert not list(stores(root)[0].glob("manifest.json"))
    prepare(config(root, image_size=(16, 16)))  # another store's run cleans up as well
    assert len(stores(root)) == 1
    store = prepare(config(root))
    np.testing.assert_array_equal(store.read("train", 0)[1], labels(seed=0))
    assert sorted(stores(root)) == sorted({store.path, *stores(root)})
    assert not list(store.path.parent.glob("*.tmp-*"))


def test_an_error_or_an_interrupt_leaves_nothing(root: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(config(root), progress=stop)
    assert not stores(root)


def test_two_processes_at_once(root: Path) -> None:
    code = """
        import sys
        from data_pipeline.config import DataConfig
        from data_pipeline.stores.prepare import prepare
        done = []
        store = prepare(DataConfig(source=sys.argv[1], image_size=(24, 32)),
                        progress=lambda n, of: done.append(n))
        store.read("train", 4)
        open(sys.argv[2], "w").write(str(len(done)))
        """
    counts = [root.parent / name for name in "ab"]
    processes = [run(code, str(root), str(count)) for count in counts]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert len(stores(root)) == 1
    assert {int(count.read_text()) for count in counts} <= {0, 10}


@pytest.mark.parametrize("spoil", [
    lambda store: (store.path / "manifest.json").unlink(),
    lambda store: os.truncate(store.splits["train"].shards[0].images, 10),
])  # fmt: skip
def test_a_damaged_store_is_made_again(
    root: Path, spoil: Callable[[Store], None], caplog: pytest.LogCaptureFixture
) -> None:
    store = prepare(config(root))
    spoil(store)
    with caplog.at_level(logging.WARNING):
        again = prepare(config(root))
    assert "made again" in caplog.text
    np.testing.assert_array_equal(again.read("train", 4)[1], labels(seed=4))


def test_a_store_folder_that_cannot_be_made(root: Path) -> None:
    (root.parent / "file").write_text("")
    with pytest.raises(DataError, match=r"set data\.store_path"):
        prepare(config(root, store_path=root.parent / "file" / "store"))


def test_survey_writes_nothing_and_agrees_with_the_store(root: Path) -> None:
    alone = survey(config(root))
    assert not root.with_name("data.prepared").exists()
    stored = prepare(config(root, image_size=(16, 16))).survey
    assert alone.names == stored.names
    for name in ("sizes", "pixels", "objects", "thumbnails"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(stored, name))
    assert alone.objects.tolist() == [[0, 1, 1]] * 10
    assert alone.sizes.tolist() == [[24, 32]] * 10
    with pytest.raises(DataError):
        survey(config(root / "train"))
