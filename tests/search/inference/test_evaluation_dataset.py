from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from data_pipeline.config import DataConfig
from data_pipeline.problems import DataError
from data_pipeline.stores.prepare import prepare
from search.inference.evaluation_dataset import find_evaluation_dataset
from tests.data_pipeline.files import CLASSES, write_undivided, write_yaml
from tests.search.evaluated import SIDE, facts, square, write, write_data


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


def found(folder: Path, split: str | None = None, **known: object) -> list[str]:
    held = find_evaluation_dataset(str(folder), facts(folder.parent / "m.keras", **known), split)
    return [f"{item.split}/{item.stem}" for item in held.items]


def test_the_test_split_is_taken_where_nothing_is_said(data: Path) -> None:
    assert found(data) == ["test/a", "test/b"]
    assert found(data, "valid") == ["valid/v"]
    assert found(data, "all") == ["train/t", "valid/v", "test/a", "test/b"]
    with pytest.raises(DataError, match=r"of \['train', 'valid', 'test', 'all'\].*'tests'"):
        found(data, "tests")
    assert not (data.parent / "data.prepared").exists()


def test_some_of_the_splits_will_do_with_the_groups_of_the_whole(data: Path) -> None:
    shutil.rmtree(data / "train")
    shutil.rmtree(data / "valid")
    write_yaml(data, {"a": "tile", "b": "tile"})
    held = find_evaluation_dataset(str(data), facts(data / "m.keras"))
    assert [(item.split, item.stem, item.group) for item in held.items] == [
        ("test", "a", "tile"),
        ("test", "b", "tile"),
    ]
    assert (held.name, held.split, held.root) == ("data", "test", data)
    # The folder of a split by itself: not divided, its classes the model's.
    held = find_evaluation_dataset(str(data / "test"), facts(data / "m.keras"))
    assert (held.split, len(held.items), list(held.classes)) == ("all", 2, list(CLASSES))


def test_a_folder_that_is_not_divided_is_taken_whole(tmp_path: Path) -> None:
    data = write_undivided(tmp_path / "data", 12)
    assert len(found(data)) == 12
    with pytest.raises(DataError, match=r"expected a split of \['all'\], received 'test'"):
        found(data, "test")


def test_of_the_models_own_folder_the_split_is_the_one_that_was_dealt(tmp_path: Path) -> None:
    data = write_undivided(tmp_path / "data", 12)
    config = DataConfig(source=str(data), image_size=SIDE)
    store = prepare(config)
    own = {"data": config, "fingerprint": store.fingerprint}
    held = find_evaluation_dataset(str(data), facts(data / "m.keras", **own))
    assert (held.own, held.split) == (True, "test")
    assert held.fingerprint == store.fingerprint
    assert {item.stem for item in held.items} == set(store.splits["test"].stems)
    assert 0 < len(held.items) < 12
    assert len(found(data, "all", **own)) == 12


def test_every_difference_between_the_classes_is_told_at_once(data: Path) -> None:
    known = {
        "classes": ("background", "dent", "crack", "fray"),
        "colors": ((0, 0, 0), (255, 0, 0), (0, 0, 9), (1, 1, 1)),
        "num_classes": 4,
    }
    with pytest.raises(DataError) as caught:
        found(data, **known)
    text = str(caught.value)
    assert "the model and the data do not agree" in text
    assert "expected 4 classes, which the model tells apart, received 3: background, hole" in text
    assert "class 1: expected the model's 'dent', received 'hole'" in text
    assert "class 2 (crack): expected the model's colour [0, 0, 9], received [0, 0, 255]" in text
    assert "m.keras: a model of 4 classes, as" in text
    # Made-up colours are none to compare; nor are made-up names.
    known |= {"colored": False, "named": False, "classes": ("background", "class 1", "class 2")}
    known |= {"num_classes": 3, "colors": known["colors"][:3]}
    assert found(data, **known) == ["test/a", "test/b"]


def test_a_config_that_is_given_overrules_the_data(data: Path) -> None:
    known = facts(data / "m.keras", classes=("nothing", "dent", "crack"))
    held = find_evaluation_dataset(str(data), known, believed=True)
    assert list(held.classes) == ["nothing", "dent", "crack"]


def test_colours_that_are_made_up_read_no_masks(data: Path) -> None:
    known = facts(data / "m.keras", colored=False, colors=((0, 0, 0), (1, 2, 3), (4, 5, 6)))
    assert find_evaluation_dataset(str(data), known, believed=True).classes == CLASSES
    (data / "dataset.yaml").unlink()
    with pytest.raises(DataError, match="expected the classes and their colours here"):
        find_evaluation_dataset(str(data), known)


def test_classes_must_stand_somewhere(data: Path) -> None:
    (data / "dataset.yaml").unlink()
    assert found(data) == ["test/a", "test/b"]
    with pytest.raises(DataError, match=r"--config.*found neither; the model tells 3 classes"):
        found(data, named=False)


def test_files_without_a_partner_are_told_of_the_split_alone(data: Path) -> None:
    (data / "train" / "masks" / "t.png").unlink()
    assert found(data) == ["test/a", "test/b"]
    (data / "test" / "masks" / "a.png").unlink()
    with pytest.raises(DataError, match=r"a\.png: image without mask") as caught:
        found(data)
    assert "t.png" not in str(caught.value)
    skipping = {"data": DataConfig(image_size=SIDE, on_bad="skip")}
    held = find_evaluation_dataset(str(data), facts(data / "m.keras", **skipping))
    assert [item.stem for item in held.items] == ["b"]
    assert len(held.problems) == 1


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: expected a folder"):
        found(tmp_path / "nowhere")
    write_yaml(tmp_path / "data")
    for kind in ("images", "masks"):
        (tmp_path / "data" / "test" / kind).mkdir(parents=True)
    with pytest.raises(DataError, match=r"'test'"):
        found(tmp_path / "data")
    write(tmp_path / "data" / "test", "a", square(0, 0, 1), square(0, 0, 1))
    assert found(tmp_path / "data") == ["test/a"]


def test_copies_in_the_test_split_that_was_dealt_are_no_training_images(tmp_path: Path) -> None:
    theirs = write_undivided(tmp_path / "theirs", 12)
    config = DataConfig(source=str(theirs), image_size=SIDE)
    store = prepare(config)
    seen, tested = store.splits["train"].stems[0], store.splits["test"].stems
    known = facts(tmp_path / "m.keras", data=config, fingerprint=store.fingerprint)
    ours = tmp_path / "ours"
    for stem in (seen, *tested):
        for kind in ("images", "masks"):
            (ours / kind).mkdir(parents=True, exist_ok=True)
            [path] = (theirs / kind).glob(f"{stem}.*")
            shutil.copy(path, ours / kind)
    assert find_evaluation_dataset(str(ours), known).copies == (seen,)
    shutil.rmtree(tmp_path / "theirs.prepared")
    assert find_evaluation_dataset(str(ours), known).copies is None
