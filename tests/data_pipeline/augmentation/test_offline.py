"""Augmented copies on the disk: of training images alone, in their group, image and mask as one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
import yaml
from typer.testing import CliRunner, Result

from data_pipeline.augmentation.augment import build_augment
from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.augmentation.offline import RECORD, offline_augment
from data_pipeline.augmentation.offline_plan import Recipe, choose_operations
from data_pipeline.config import DataConfig
from data_pipeline.datasets.dataset_yaml import read_dataset_yaml
from data_pipeline.datasets.labels import LabelMap
from data_pipeline.datasets.reading import read_image
from data_pipeline.problems import DataError
from data_pipeline.quality.audit import audit
from data_pipeline.quality.resplit import resplit
from data_pipeline.stores.survey import survey
from search.cli.main import app
from tests.data_pipeline.files import (
    CLASSES,
    labels,
    write_divided,
    write_item,
    write_undivided,
    write_yaml,
)
from tests.disks import mounted_disk

COUNTS = (4, 2, 2)
LIGHT = Recipe(AugmentConfig(preset="light"), copies=2, seed=3)
MASKS = LabelMap(CLASSES, 0)


def of(root: Path) -> DataConfig:
    return DataConfig(source=str(root))


def each(*names: str) -> Recipe:
    return Recipe(choose_operations(AugmentConfig(preset="default"), names), copies=None)


def files(folder: Path) -> dict[str, bytes]:
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {name: path.read_bytes() for name, path in found.items()}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of two objects in training, of other ones elsewhere."""
    root = write_divided(tmp_path_factory.mktemp("offline") / "data", COUNTS)
    write_yaml(root, {f"train{number}": f"part{number // 2}" for number in range(COUNTS[0])})
    return root


@pytest.fixture(scope="module")
def written(data: Path) -> Path:
    return offline_augment(of(data), data.parent / "written", LIGHT, workers=2).out


def test_training_images_get_copies_and_nothing_else_changes(data: Path, written: Path) -> None:
    before, after = files(data), files(written)
    for name, content in before.items():
        if "/images/" in name:
            assert after[name] == content
        elif "/masks/" in name:
            np.testing.assert_array_equal(
                MASKS.read(written / name).labels, MASKS.read(data / name).labels
            )
    new = set(after) - set(before) - {RECORD}
    stems = [f"aug0{copy}_train{number}" for copy in (1, 2) for number in range(COUNTS[0])]
    assert new == {f"train/{kind}/{stem}.png" for kind in ("images", "masks") for stem in stems}


def test_no_later_split_can_divide_a_group(written: Path, tmp_path: Path) -> None:
    found = survey(of(written))
    groups = dict(zip(found.stems, found.groups, strict=True))
    assert groups["aug02_train1"] == groups["train1"] == groups["train0"] == "part0"
    assert not audit(found).leaks

    resplit(of(written), tmp_path / "again", likeness=False)

    again = survey(of(tmp_path / "again"))
    assert dict(zip(again.stems, again.groups, strict=True)) == groups
    assert not audit(again).leaks
    assert len(again.stems) == sum(COUNTS) + 2 * COUNTS[0]


def test_what_the_data_set_tells_about_itself_is_carried_over(data: Path, written: Path) -> None:
    before, after = read_dataset_yaml(data), read_dataset_yaml(written)

    assert after is not None
    assert before is not None
    assert vars(after) | {"groups": {}} == vars(before) | {"groups": {}}


def test_equal_seeds_write_equal_files_whatever_the_threads(data: Path, written: Path) -> None:
    offline_augment(of(data), data.parent / "one", LIGHT, workers=1)
    other = Recipe(LIGHT.augment, copies=2, seed=4)
    offline_augment(of(data), data.parent / "other", other, workers=1)

    assert files(data.parent / "one") == files(written)
    pictures = [files(folder / "train" / "images") for folder in (written, data.parent / "other")]
    differing = [name for name in pictures[0] if pictures[0][name] != pictures[1][name]]
    assert sorted(differing) == sorted(name for name in pictures[0] if name.startswith("aug"))


def test_the_record_tells_each_copy_exactly(data: Path, written: Path) -> None:
    record = json.loads((written / RECORD).read_text(encoding="utf-8"))
    config = AugmentConfig(preset="none", **record["amounts"], probability=record["probability"])
    assert len(record["files"]) == 2 * COUNTS[0]
    operations = set()
    for name, told in record["files"].items():
        image = read_image(data / "train" / "images" / f"{told['original']}.png", 1)
        mask = MASKS.read(data / "train" / "masks" / f"{told['original']}.png").labels
        augment = build_augment(config, image.shape, tuple(CLASSES))
        moved, moved_mask = augment(
            tf.constant(image), tf.constant(mask), tf.constant(told["seed"], tf.int64)
        )
        np.testing.assert_array_equal(
            read_image(written / "train" / "images" / f"{name}.png", 1), moved.numpy()
        )
        np.testing.assert_array_equal(
            MASKS.read(written / "train" / "masks" / f"{name}.png").labels, moved_mask.numpy()
        )
        operations |= {("horizontal_flip", "horizontal_flip" in told["operations"])}
        assert "rotation" in told["operations"]
    assert operations == {("horizontal_flip", True), ("horizontal_flip", False)}


def test_each_operation_writes_its_own_copy_of_image_and_mask(data: Path) -> None:
    out = offline_augment(of(data), data.parent / "each", each("hflip", "vflip", "sharpening")).out

    mask = MASKS.read(out / "train" / "masks" / "train0.png").labels
    image = read_image(out / "train" / "images" / "train0.png", 1)
    for name, axis in (("hflipped", 1), ("vflipped", 0)):
        flipped = read_image(out / "train" / "images" / f"{name}_train0.png", 1)
        np.testing.assert_array_equal(flipped, np.flip(image, axis))
        flipped_mask = MASKS.read(out / "train" / "masks" / f"{name}_train0.png").labels
        np.testing.assert_array_equal(flipped_mask, np.flip(mask, axis))
    sharper = read_image(out / "train" / "images" / "sharpened_train0.png", 1)
    assert (sharper != image).any()
    same = MASKS.read(out / "train" / "masks" / "sharpened_train0.png").labels
    np.testing.assert_array_equal(same, mask)


def test_image_and_mask_are_bent_by_one_field(tmp_path: Path) -> None:
    root = write_divided(tmp_path / "data", (3, 1, 1))
    for number in range(3):
        mask = (labels(48, 40, seed=number) > 0).astype(np.uint8)
        write_item(root / "train", f"train{number}", number, mask)
        picture = str(root / "train" / "images" / f"train{number}.png")
        assert cv2.imwrite(picture, mask * 255)
    strong = choose_operations(AugmentConfig(preset="strong"), ("elastic", "distortion"))
    strong = strong.model_copy(update={"elastic": 0.05, "distortion": 0.1})

    out = offline_augment(of(root), tmp_path / "out", Recipe(strong, copies=None)).out

    for name in ("deformed", "distorted"):
        for number in range(3):
            stem = f"{name}_train{number}"
            image = read_image(out / "train" / "images" / f"{stem}.png", 1)[..., 0]
            mask = MASKS.read(out / "train" / "masks" / f"{stem}.png").labels
            differs = (image > 127) != (mask > 0)
            # Bilinear above one half and nearest differ on the outline's soft pixels alone.
            assert ((image[differs] > 0) & (image[differs] < 255)).all()
            assert differs.sum() <= 0.2 * (mask > 0).sum()


def test_masks_are_one_hot_and_all_of_one_size_on_request(data: Path, tmp_path: Path) -> None:
    recipe = Recipe(LIGHT.augment, copies=1, size=(16, 24), mask_format="npz")

    done = offline_augment(of(data), tmp_path / "out", recipe)

    found = survey(of(done.out))
    assert (found.sizes == (16, 24)).all()
    assert done.images == {"train": 8, "valid": 2, "test": 2}
    with np.load(done.out / "train" / "masks" / "aug01_train0.npz") as file:
        assert file["mask"].shape == (16, 24, len(CLASSES))
        assert file["mask"].dtype == np.uint8


def test_a_copy_that_would_be_its_original_is_left_out(tmp_path: Path) -> None:
    root = write_divided(tmp_path / "data", (2, 1, 1))
    write_item(root / "train", "free", 9, np.zeros((24, 32), np.uint8))

    done = offline_augment(of(root), tmp_path / "out", each("crop"))

    assert done.unchanged == ("crop_free",)
    assert sorted(done.copies) == ["crop_train0", "crop_train1"]
    assert survey(of(done.out)).splits.count("train") == 5


def test_folders_and_long_suffixes_become_what_the_reference_lists(tmp_path: Path) -> None:
    root = write_divided(tmp_path / "data", (1, 1, 1))
    for kind, suffix in (("images", ".tiff"), ("masks", ".png")):
        place = root / "train" / kind / "part4" / f"a{suffix}"
        place.parent.mkdir()
        picture = cv2.imread(str(root / "train" / kind / "train0.png"))
        assert cv2.imwrite(str(place), picture)

    out = offline_augment(of(root), tmp_path / "out", each("hflip")).out

    names = sorted(path.name for path in (out / "train" / "images").iterdir())
    assert names == ["hflipped_part4_a.png", "hflipped_train0.png", "part4_a.tif", "train0.png"]
    found = survey(of(out))
    groups = dict(zip(found.stems, found.groups, strict=True))
    assert groups["hflipped_part4_a"] == groups["part4_a"] == "part4/a"


def refused(config: DataConfig, out: Path, recipe: Recipe = LIGHT) -> str:
    """What is said, nothing having been written."""
    before = sorted(out.parent.iterdir())
    with pytest.raises(DataError) as caught:
        offline_augment(config, out, recipe)
    assert sorted(out.parent.iterdir()) == before
    return str(caught.value)


def test_data_that_are_not_divided_are_refused_with_the_way_out(tmp_path: Path) -> None:
    root = write_undivided(tmp_path / "data", 4)

    assert "flexunet-search data resplit" in refused(of(root), tmp_path / "out")


def test_a_folder_that_is_there_or_within_the_data_is_refused(data: Path, tmp_path: Path) -> None:
    assert "not there yet" in refused(of(data), data.parent)
    assert "outside the data set" in refused(of(data), data / "augmented")


def test_every_bad_file_is_named_in_one_error(tmp_path: Path) -> None:
    root = write_divided(tmp_path / "data", (3, 1, 1))
    (root / "train" / "images" / "train0.png").write_bytes(b"no picture")
    (root / "valid" / "masks" / "valid0.png").unlink()

    text = refused(of(root), tmp_path / "out")

    assert "train/images/train0.png" in text
    assert "valid/images/valid0.png: image without mask" in text


def test_a_name_that_another_image_has_is_refused(tmp_path: Path) -> None:
    root = write_divided(tmp_path / "data", (2, 1, 1))
    write_item(root / "valid", "hflipped_train1", 7)

    text = refused(of(root), tmp_path / "out", each("hflip"))

    assert "expected one image for the name 'hflipped_train1'" in text
    assert "train0" not in text


def test_operations_that_do_not_fit_are_refused(data: Path, tmp_path: Path) -> None:
    text = refused(of(data), tmp_path / "out", each("quarter_turns"))
    assert text.count("expected square images with quarter_turns, received 24 x 32") == COUNTS[0]
    unknown = choose_operations(LIGHT.augment, ["crop"]).model_copy(update={"crop_class": "rust"})
    text = refused(of(data), tmp_path / "out", Recipe(unknown))
    assert text.count("expected crop_class") == 1
    square = Recipe(each("quarter_turns").augment, copies=None, size=(16, 16))
    assert offline_augment(of(data), tmp_path / "out", square).images["train"] > COUNTS[0]


def test_a_leak_that_was_there_before_is_told(tmp_path: Path) -> None:
    root = write_divided(tmp_path / "data", (2, 1, 1))
    write_yaml(root, {"train0": "part", "valid0": "part"})

    done = offline_augment(of(root), tmp_path / "out", each("hflip"))

    assert any("more than one split" in leak for leak in done.leaks)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    with mounted_disk(tmp_path / "disk", 64 * 1024) as folder:
        yield folder


def test_a_full_disk_leaves_nothing_half(data: Path, small_disk: Path) -> None:
    done = command(data, small_disk / "out", "--copies", "4")

    assert done.exit_code
    assert isinstance(done.exception, OSError)
    assert list(small_disk.iterdir()) == []


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["data", "offline-augment", *map(str, arguments)])


def test_the_command_takes_an_exported_config_and_says_what_it_wrote(
    data: Path, tmp_path: Path
) -> None:
    config = tmp_path / "best.yaml"
    tree = {
        "data": {"source": "elsewhere"},
        "model": {"num_layers": {"int": [4, 5]}},
        "augment": {"preset": "none", "rotation": 20.0},
    }
    config.write_text(yaml.safe_dump(tree), encoding="utf-8")

    done = command(data, tmp_path / "out", "--config", config, "--copies", 1, "--size", 16, 16)

    assert done.exit_code == 0, done.output
    assert "train: 8 images, 4 of them augmented copies" in done.output
    assert "valid: 2 images" in done.output
    record = json.loads((tmp_path / "out" / RECORD).read_text(encoding="utf-8"))
    assert record["amounts"] == {"rotation": 20.0}
    assert record["size"] == [16, 16]


def test_options_that_cannot_be_are_told_together(data: Path, tmp_path: Path) -> None:
    config = tmp_path / "study.yaml"
    config.write_text("augment: {rotation: {float: [1.0, 9.0]}}\n", encoding="utf-8")

    done = command(
        data, tmp_path / "out", "--config", config, "--splits", "train,test", "--each",
        "--copies", 2, "--operations", "hflip,bend",
    )  # fmt: skip

    assert done.exit_code
    for said in (
        "--splits: expected train, received train,test",
        "received both",
        "augment.rotation: expected a constant",
        "received bend",
    ):
        assert said in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_a_preset_that_is_none_is_named(data: Path, tmp_path: Path) -> None:
    done = command(data, tmp_path / "out", "--preset", "wild")

    assert done.exit_code
    assert "augment.preset" in str(done.exception)
