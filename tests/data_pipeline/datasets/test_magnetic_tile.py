from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_pipeline.config import SPLITS, SplitConfig
from data_pipeline.datasets.dataset_yaml import read_dataset_yaml
from data_pipeline.datasets.magnetic_tile import (
    Photograph,
    assign_splits,
    bursts,
    convert,
    find_photographs,
    find_tiles,
)
from data_pipeline.datasets.synthetic import CLASSES
from data_pipeline.datasets.synthetic_tiles import draw_tile, expose
from data_pipeline.problems import DataError

LABELS = (*list(CLASSES)[1:], "Free")


def write_tile(raw, label, first, exposures, *, soft=False):
    """Photographs one tile into the authors' layout."""
    class_index = 0 if label == "Free" else list(CLASSES).index(label)
    tile = draw_tile(class_index, np.random.default_rng(first))
    folder = raw / f"MT_{label}" / "Imgs"
    folder.mkdir(parents=True, exist_ok=True)
    for offset, exposure in enumerate(exposures):
        image, mask = expose(tile, exposure, np.random.default_rng([first, offset]))
        grey = (mask > 0).astype(np.uint8) * 255
        if soft:
            grey = cv2.GaussianBlur(grey, (5, 5), 0)
        name = f"exp{exposure}_num_{first + 20 * offset}"
        cv2.imwrite(str(folder / f"{name}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
        cv2.imwrite(str(folder / f"{name}.png"), grey)


@pytest.fixture
def raw(tmp_path):
    """Each class: four tiles in a row, six, six, three and six exposures."""
    for position, label in enumerate(LABELS):
        start = 10_000 * (position + 1)
        for tile, exposures in enumerate((range(1, 7), range(1, 7), range(4, 7), range(1, 7))):
            write_tile(tmp_path / "raw", label, start + 1_000 * tile, exposures, soft=True)
    return tmp_path / "raw"


def photographs(label, *exposures):
    return [Photograph(label, n, e, Path(f"exp{e}_num_{n}.jpg")) for n, e in enumerate(exposures)]


def test_a_burst_ends_where_the_exposure_does_not_rise():
    shots = photographs("Crack", 1, 2, 5, 5, 6, 2, 3, 1)
    found = [[shot.exposure for shot in burst] for burst in bursts(shots)]
    assert found == [[1, 2, 5], [5, 6], [2, 3], [1]]
    assert list(bursts([])) == []


def test_conversion_writes_the_layout_with_every_image_once(raw, tmp_path):
    out = tmp_path / "out"
    calls = []
    summary = convert(raw, out, progress=lambda *call: calls.append(call))
    images = sorted(out.glob("*/images/*.jpg"))
    stems = {image.stem for image in images}
    info = read_dataset_yaml(out)
    assert len(stems) == len(images) == sum(sum(n.values()) for n in summary.images.values())
    assert set(info.groups) == stems
    assert {mask.stem for mask in out.glob("*/masks/*.png")} == stems
    assert "Blowhole_exp4_num_12000" in stems
    assert info.classes == CLASSES
    assert info.license == "academic research only, no commercial use"
    assert "The Visual Computer" in info.citation
    assert calls[-1] == (len(images), len(images))
    source = raw / "MT_Blowhole" / "Imgs" / "exp4_num_12000.jpg"
    (copied,) = out.glob("*/images/Blowhole_exp4_num_12000.jpg")
    assert copied.read_bytes() == source.read_bytes(), "the photographs are not encoded again"


def test_tiles_stay_together_and_classes_are_spread(raw, tmp_path):
    summary = convert(raw, tmp_path / "out")
    info = read_dataset_yaml(tmp_path / "out")
    splits = defaultdict(set)
    for image in (tmp_path / "out").glob("*/images/*.jpg"):
        splits[info.groups[image.stem]].add(image.parents[1].name)
    assert all(len(found) == 1 for found in splits.values())
    assert len(splits) == sum(sum(n.values()) for n in summary.tiles.values())
    for split in SPLITS:
        assert all(summary.tiles[split][label] >= 1 for label in LABELS[:-1])


def test_masks_are_cut_at_half_and_coloured(raw, tmp_path):
    convert(raw, tmp_path / "out")
    for mask in (tmp_path / "out").glob("*/masks/*.png"):
        label, name = mask.stem.split("_", 1)
        grey = cv2.imread(str(raw / f"MT_{label}" / "Imgs" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
        color = CLASSES.get(label, (0, 0, 0))
        rgb = cv2.imread(str(mask))[..., ::-1]
        np.testing.assert_array_equal((rgb == color).all(axis=2) & (grey >= 128), grey >= 128)
        assert (rgb[grey < 128] == 0).all()


def test_bursts_of_one_tile_are_found_to_be_one(tmp_path):
    shots = []
    rng = np.random.default_rng(0)
    for tile, exposures in ((1, range(1, 7)), (2, range(4, 7)), (2, range(1, 7)), (3, range(1, 7))):
        grey = draw_tile(3, np.random.default_rng(tile)).reflectance
        for exposure in exposures:
            image = grey * 40 * 1.2**exposure + rng.normal(0, 2, grey.shape)
            path = tmp_path / f"{len(shots)}.png"
            cv2.imwrite(str(path), np.clip(image, 0, 255).astype(np.uint8))
            shots.append(Photograph("Crack", len(shots), exposure, path))
    assert [len(burst) for burst in bursts(shots)] == [6, 3, 6, 6]
    assert [len(tile) for tile in find_tiles(shots)] == [6, 9, 6]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.15])
def test_free_tiles_are_kept_up_to_their_share_by_whole_tiles(raw, tmp_path, share):
    summary = convert(raw, tmp_path / "out", free_share=share)
    counts = {split: sum(n.values()) for split, n in summary.images.items()}
    free = sum(n["Free"] for n in summary.images.values())
    assert summary.free_share == pytest.approx(free / sum(counts.values()))
    assert summary.free_share <= share
    assert free + summary.free_left_out == 21
    assert free > 0 or share == 0


def test_equal_seeds_split_alike_and_others_do_not(raw, tmp_path):
    def splits(name, seed):
        convert(raw, tmp_path / name, seed=seed)
        return {str(p.relative_to(tmp_path / name)) for p in (tmp_path / name).rglob("*.jpg")}

    first = splits("a", 0)
    assert splits("b", 0) == first
    assert any(splits(f"c{seed}", seed) != first for seed in (1, 2, 3))


def test_shares_are_met_by_images_not_by_tiles():
    tiles = [
        tuple(Photograph("Crack", 100 * t + e, e, Path("x")) for e in range(size))
        for t, size in enumerate((15, 6, 6, 6, 6))
    ]
    for seed in range(10):
        splits = assign_splits(tiles, SplitConfig(valid=0.2, test=0.2, seed=seed))
        sizes = {s: sum(len(t) for t, x in zip(tiles, splits, strict=True) if x == s)
                 for s in SPLITS}  # fmt: skip
        assert sizes == {"train": 27, "valid": 6, "test": 6}


def test_no_test_split_is_made_when_none_is_asked_for(raw, tmp_path):
    summary = convert(raw, tmp_path / "out", test=0.0)
    assert sum(summary.images["test"].values()) == 0
    assert not (tmp_path / "out" / "test").exists()


def test_defects_without_a_mask_are_left_out_and_listed(raw, tmp_path):
    empty = raw / "MT_Uneven" / "Imgs" / "exp1_num_50000.png"
    mask = cv2.imread(str(empty), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(empty), np.minimum(mask, 127))
    summary = convert(raw, tmp_path / "out")
    assert [problem.path for problem in summary.skipped] == [str(empty.with_suffix(".jpg"))]
    assert not list((tmp_path / "out").rglob("Uneven_exp1_num_50000*"))


def test_everything_wrong_is_listed_in_one_error(raw, tmp_path):
    images = raw / "MT_Break" / "Imgs"
    (images / "exp1_num_20000.jpg").write_bytes(b"no jpeg")
    (images / "exp2_num_20020.png").write_bytes(b"no png")
    small = cv2.imread(str(images / "exp3_num_20040.png"))[:-3]
    cv2.imwrite(str(images / "exp3_num_20040.png"), small)
    free = raw / "MT_Free" / "Imgs" / "exp1_num_60000.png"
    cv2.imwrite(str(free), 255 - cv2.imread(str(free)))
    with pytest.raises(DataError) as caught:
        convert(raw, tmp_path / "out")
    named = {Path(problem.path).name for problem in caught.value.problems}
    assert named == {
        "exp1_num_20000.jpg",
        "exp2_num_20020.png",
        "exp3_num_20040.jpg",
        "exp1_num_60000.jpg",
    }
    assert not (tmp_path / "out").exists()


def test_another_layout_is_refused_file_by_file(raw):
    folder = raw / "MT_Fray" / "Imgs"
    (folder / "exp1_num_40000.png").unlink()
    (folder / "exp2_num_40020.jpg").unlink()
    (folder / "photo.jpg").write_bytes(b"")
    for path in (raw / "MT_Crack" / "Imgs").iterdir():
        path.unlink()
    (raw / "MT_Crack" / "Imgs").rmdir()
    with pytest.raises(DataError, match="not the published magnetic tile data set") as caught:
        find_photographs(raw)
    named = {Path(problem.path).name for problem in caught.value.problems}
    assert named == {"Imgs", "exp1_num_40000.jpg", "exp2_num_40020.png", "photo.jpg"}


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_out_of_range_is_refused(tmp_path, share):
    with pytest.raises(ValueError, match="expected a free_share"):
        convert(tmp_path, tmp_path / "out", free_share=share)


def test_a_folder_with_files_is_left_alone(raw, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="expected a new or empty folder"):
        convert(raw, out)


@pytest.fixture(scope="module")
def published():
    folder = os.environ.get("MAGNETIC_TILE")
    if not folder:
        pytest.skip("MAGNETIC_TILE does not name the folder of the published data set")
    return Path(folder)


def test_the_published_images_are_split_without_leaks(published, tmp_path):
    summary = convert(published, tmp_path / "out")
    info = read_dataset_yaml(tmp_path / "out")
    splits = defaultdict(set)
    for image in (tmp_path / "out").glob("*/images/*.jpg"):
        splits[info.groups[image.stem]].add(image.parents[1].name)
    assert all(len(found) == 1 for found in splits.values())
    assert summary.free_share <= 0.25
    for split in SPLITS:
        assert all(summary.images[split][label] >= 6 for label in LABELS)
    # Two tiles of the published part were photographed again at once; found by eye.
    assert [len(parts) for parts in summary.merged] == [3, 2]
    assert len(summary.skipped) == 4
    # Bursts by the rule alone, on every published image.
    for label, count in zip(LABELS, (14, 10, 7, 5, 11, 16), strict=True):
        shots = [p for p in find_photographs(published) if p.label == label]
        assert len(list(bursts(shots))) == count
