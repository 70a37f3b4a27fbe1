from __future__ import annotations

from collections import defaultdict

import cv2
import numpy as np
import pytest

from data_pipeline.config import SPLITS
from data_pipeline.datasets.dataset_yaml import read_dataset_yaml
from data_pipeline.datasets.synthetic import CLASSES, color_mask, ensure_synthetic, write_synthetic
from data_pipeline.datasets.synthetic_tiles import EXPOSURES, SIDES, draw_tile, expose
from data_pipeline.problems import DataError

# Share of an image's pixels that a defect takes, about: the README of the real data set tells
# 0.2, 4.3, 0.5, 17 and 24 %.
SHARES = {1: (0.001, 0.004), 2: (0.025, 0.09), 3: (0.003, 0.012), 4: (0.1, 0.3), 5: (0.12, 0.4)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp("synthetic") / "data"
    return out, write_synthetic(out, seed=1, tiles=18)


def pairs(folder, split="*"):
    for image in sorted(folder.glob(f"{split}/images/*.jpg")):
        yield image, image.parents[1] / "masks" / f"{image.stem}.png"


def test_what_is_written_is_what_dataset_yaml_says(data):
    out, info = data
    assert read_dataset_yaml(out) == info
    assert info.classes == CLASSES
    assert info.license.startswith("Apache-2.0")
    assert {image.stem for image, _ in pairs(out)} == set(info.groups)
    for image, mask in pairs(out):
        grey, colors = cv2.imread(str(image), cv2.IMREAD_UNCHANGED), cv2.imread(str(mask))
        assert grey.ndim == 2
        assert grey.shape == colors.shape[:2]
        assert SIDES[0] - 6 <= min(grey.shape)
        assert max(grey.shape) <= SIDES[1] + 6
        found = {tuple(int(c) for c in color) for color in np.unique(colors.reshape(-1, 3), axis=0)}
        assert found <= {color[::-1] for color in CLASSES.values()}


def test_no_tile_stands_in_two_splits(data):
    out, info = data
    splits = defaultdict(set)
    for image, _ in pairs(out):
        splits[info.groups[image.stem]].add(image.parents[1].name)
    assert all(len(found) == 1 for found in splits.values())


@pytest.mark.parametrize("tiles", [12, 18, 31])
def test_every_defect_is_where_it_is_needed(tmp_path, tiles):
    info = write_synthetic(tmp_path / "data", tiles=tiles)
    assert len(set(info.groups.values())) == tiles
    for split in SPLITS:
        found = {image.stem.split("_")[0] for image, _ in pairs(tmp_path / "data", split)}
        assert found, "no split is empty"
        if split != "test" or tiles >= 18:
            assert found >= set(list(CLASSES)[1:])


def test_equal_seeds_give_equal_files_and_others_do_not(tmp_path, data):
    out, _ = data
    again, other = tmp_path / "again", tmp_path / "other"
    write_synthetic(again, seed=1, tiles=18)
    write_synthetic(other, seed=2, tiles=18)
    files = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert files == {p.relative_to(again): p.read_bytes() for p in again.rglob("*") if p.is_file()}
    assert files != {p.relative_to(other): p.read_bytes() for p in other.rglob("*") if p.is_file()}


@pytest.mark.parametrize("class_index", SHARES)
def test_defects_have_the_size_of_the_real_ones(class_index):
    shares = []
    for number in range(30):
        tile = draw_tile(class_index, np.random.default_rng([5, number]))
        _, mask = expose(tile, 3, np.random.default_rng(number))
        assert set(np.unique(mask)) == {0, class_index}, "every tile shows its defect"
        shares.append((mask > 0).mean())
    low, high = SHARES[class_index]
    assert low < np.mean(shares) < high


def test_free_tiles_have_an_empty_mask():
    assert not draw_tile(0, np.random.default_rng(0)).mask.any()


@pytest.mark.parametrize("class_index", [1, 2, 3, 4])
def test_defects_are_seen_in_the_image(class_index):
    contrasts = []
    for number in range(20):
        tile = draw_tile(class_index, np.random.default_rng([6, number]))
        image, mask = expose(tile, 4, np.random.default_rng(number))
        ring = cv2.dilate(mask, np.ones((9, 9), np.uint8)) - mask > 0
        contrasts.append(image[mask > 0].mean() / image[ring].mean())
    assert np.mean(contrasts) < 0.88, "these are darker than what is around them"


def test_uneven_areas_have_stronger_streaks():
    ratios = []
    for number in range(20):
        tile = draw_tile(5, np.random.default_rng([7, number]))
        image, mask = expose(tile, 4, np.random.default_rng(number))
        step = np.abs(np.diff(image.astype(float), axis=1))
        inside = mask[:, 1:] > 0
        ratios.append(step[inside].mean() / step[~inside].mean())
    assert np.mean(ratios) > 1.2


def test_exposures_are_near_duplicates_that_get_brighter():
    tile = draw_tile(4, np.random.default_rng(3))
    rng = np.random.default_rng(0)
    shots = [expose(tile, e, rng) for e in range(1, EXPOSURES + 1)]
    means = [image.mean() for image, _ in shots]
    assert np.all(np.diff(means) > 0)
    assert 2.2 < means[-1] / means[0] < 3.2
    small = [
        cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA).ravel() for image, _ in shots
    ]
    correlation = np.corrcoef(small)
    assert correlation.min() > 0.8
    other = expose(draw_tile(4, np.random.default_rng(4)), 1, rng)[0]
    other = cv2.resize(other, (32, 32), interpolation=cv2.INTER_AREA).ravel()
    assert np.corrcoef(small[0], other)[0, 1] < 0.7


def test_images_of_a_tile_differ_in_more_than_exposure():
    tile = draw_tile(1, np.random.default_rng(3))
    one, other = (expose(tile, 2, np.random.default_rng(n))[0] for n in (1, 2))
    assert one.shape != other.shape or (one != other).any()


def test_color_mask_is_in_opencv_order():
    colored = color_mask(np.array([[0, 1, 3]], np.uint8))
    assert colored.tolist() == [[[0, 0, 0], [0, 0, 255], [255, 0, 0]]]


def test_progress_counts_the_tiles(tmp_path):
    calls = []
    write_synthetic(tmp_path / "data", tiles=12, progress=lambda *call: calls.append(call))
    assert calls == [(n, 12) for n in range(1, 13)]


def test_too_few_tiles_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected at least 12 tiles, received 11"):
        write_synthetic(tmp_path / "data", tiles=11)


def test_a_folder_with_files_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="expected a new or empty folder"):
        write_synthetic(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("call", [lambda: draw_tile(6, None), lambda: expose(None, 7, None)])
def test_unknown_classes_and_exposures_are_refused(call):
    with pytest.raises(ValueError, match=r"expected .* received [67]"):
        call()


def test_the_cache_is_written_once_and_repaired(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = ensure_synthetic(0, 12)
    assert folder.parent == tmp_path / "flexunet-search"
    written = (folder / "dataset.yaml").stat().st_mtime_ns
    assert ensure_synthetic(0, 12) == folder
    assert (folder / "dataset.yaml").stat().st_mtime_ns == written
    assert ensure_synthetic(1, 12) != folder
    (folder / "dataset.yaml").unlink()
    assert read_dataset_yaml(ensure_synthetic(0, 12)) is not None
    assert len(list(folder.parent.iterdir())) == 2, "no drafts are left behind"


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "flexunet-search").write_text("a file in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataError, match="expected a writable cache"):
        ensure_synthetic(0, 12)
