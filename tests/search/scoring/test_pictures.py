from __future__ import annotations

import fcntl
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.config import DataConfig
from data_pipeline.stores.prepare import prepare
from data_pipeline.stores.store import Store
from results.records.evaluation import Evaluation
from search.scoring.model import Images
from search.scoring.pictures import (
    alone,
    are_drawn,
    draw_augmentation,
    draw_pictures,
    facts_of,
    picks,
)
from tests.data_pipeline.files import write_divided
from tests.model.lookup import write_lookup

RIGHT = [30, 0, 10, 20, 30]  # of 30 pixels of the class in each image, that were found


def evaluation(rights: list[int] = RIGHT, name: str = "trial-00001") -> Evaluation:
    """Images of which each but the last two shows the one class; the last but one shows none."""
    cells = []
    for image, right in enumerate(rights):
        cells += [[image, 1, 1, right], [image, 1, 0, 30 - right], [image, 0, 0, 70]]
    cells = [row for row in cells if row[3]] + [[len(rights), 0, 0, 100]]
    count = len(rights) + 1
    return Evaluation(
        name=name,
        split="valid",
        resolution="native",
        classes=("background", "hole"),
        images=tuple(f"valid/{chr(ord('e') - i) if i < 5 else 'z'}" for i in range(count)),
        groups=("g",) * count,
        sizes=np.full((count, 2), 10),
        cells=np.array(cells),
        true_probability=np.ones(count),
        objects=np.zeros((0, 4), np.int64),
        predicted_objects=np.zeros((0, 4), np.int64),
        fingerprint="f",
        epoch=4,
    )


def test_the_worst_the_median_and_the_best_are_picked_ties_by_name() -> None:
    # The order is 1 (none found), 2, 3, then 4 before 0 by name; the free image is never picked.
    assert picks([evaluation()]) == [1, 3, 4]
    # Another model adds its own; of two images, the median is the lower.
    assert picks([evaluation(), evaluation([0, 30, 30, 30, 30])]) == [0, 1, 3, 4]
    assert picks([evaluation([10, 20])]) == [0, 1]
    assert picks([evaluation([])]) == []


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, DataConfig]:
    config = DataConfig(source=str(write_divided(tmp_path_factory.mktemp("d"))), image_size=16)
    return prepare(config), config


def scored(images: Images, name: str, path: Path) -> Evaluation:
    from search.scoring.model import score_model

    return score_model(path, images.store, images.config, "valid", name=name, trial=1, epoch=2)


def test_pictures_are_listed_with_every_models_prediction(
    data: tuple[Store, DataConfig], tmp_path: Path
) -> None:
    images = Images.open(*data, "valid")
    models = {n: write_lookup(tmp_path / f"{n}.keras", (16, 16, 1), 3) for n in ("m1", "m2")}
    evaluations = [scored(images, name, path) for name, path in models.items()]
    assert not are_drawn(tmp_path, facts_of(evaluations))
    written = draw_pictures(tmp_path, images, models, evaluations)
    assert written[-1] == "evaluation/pictures.json"
    assert {str(p.relative_to(tmp_path)) for p in (tmp_path / "evaluation").rglob("*.*")} == {
        *written
    }
    listed = json.loads((tmp_path / "evaluation" / "pictures.json").read_text())
    assert (listed["format"], listed["split"]) == (1, "valid")
    for entry in listed["images"]:
        index = images.store.splits["valid"].stems.index(entry["name"].removeprefix("valid/"))
        assert entry["group"] == images.store.splits["valid"].groups[index]
        folder = tmp_path / "evaluation"
        assert cv2.imread(str(folder / entry["image"]), cv2.IMREAD_UNCHANGED).shape == (24, 32)
        truth = cv2.imread(str(folder / entry["truth"]), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(truth, images.mask(index))
        assert list(entry["predictions"]) == ["m1", "m2"]
        for place in entry["predictions"].values():
            predicted = cv2.imread(str(folder / place), cv2.IMREAD_UNCHANGED)
            assert predicted.shape == truth.shape
            # Grey values are far above the classes' numbers: the last is nearest.
            assert (predicted == 2).mean() > 0.9

    assert are_drawn(tmp_path, facts_of(evaluations))
    assert are_drawn(tmp_path, facts_of(evaluations[:1]))  # of more models than asked for
    draw_pictures(tmp_path, images, {"m1": models["m1"]}, evaluations[:1])
    assert not are_drawn(tmp_path, facts_of(evaluations))
    assert not list(tmp_path.rglob("*.m2.png"))


def test_pictures_drawn_at_the_records_size_are_drawn_again(tmp_path: Path) -> None:
    def listed(resolution: str) -> None:
        facts = facts_of([evaluation()], resolution)
        (tmp_path / "evaluation").mkdir(exist_ok=True)
        (tmp_path / "evaluation" / "pictures.json").write_text(json.dumps(facts))

    listed("prepared")
    assert not are_drawn(tmp_path, facts_of([evaluation()]))
    assert are_drawn(tmp_path, facts_of([evaluation()], "prepared"))
    listed("native")
    assert are_drawn(tmp_path, facts_of([evaluation()]))
    assert are_drawn(tmp_path, facts_of([evaluation()], "prepared"))


def test_one_draws_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "evaluation").mkdir()
    with (tmp_path / "evaluation" / ".lock").open("w") as other:
        with alone(tmp_path), pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_large_images_shrink_and_what_is_not_counted_stays_so(tmp_path: Path) -> None:
    from tests.data_pipeline.files import write_yaml
    from tests.search.scoring.test_model import square, write

    write_yaml(tmp_path / "data")
    for split in ("train", "valid"):
        mask = square(40, 60, 2, (400, 640))
        mask[:200, :320] = 1
        write(tmp_path / "data", split, split, mask, mask)
    config = DataConfig(source=str(tmp_path / "data"), image_size=32, resize="letterbox")
    store = prepare(config)
    model = write_lookup(tmp_path / "m.keras", (32, 32, 1), 3)
    for images in (Images.open(store, config, "valid"), Images(store, config, "valid", None)):
        found = scored(images, "m", model)
        draw_pictures(tmp_path, images, {"m": model}, [found])
        folder = tmp_path / "evaluation/pictures"
        truth = cv2.imread(str(folder / "valid-0000.truth.png"), cv2.IMREAD_UNCHANGED)
        predicted = cv2.imread(str(folder / "valid-0000.m.png"), cv2.IMREAD_UNCHANGED)
        assert truth.shape == ((200, 320) if images.originals else (32, 32))
        np.testing.assert_array_equal(predicted == 255, truth == 255)
        assert (truth == 255).any() == (images.originals is None)
        assert (predicted == truth).mean() > 0.98


def test_the_augmentation_is_drawn_once(data: tuple[Store, DataConfig], tmp_path: Path) -> None:
    store, _ = data
    names = ["evaluation/augmentation.jpg", "evaluation/augmentation.json"]
    assert draw_augmentation(tmp_path, store, AugmentConfig(preset="none", rotation=10)) == names
    told = json.loads((tmp_path / names[1]).read_text())
    assert (told["rows"], told["samples"]) == (4, 5)
    assert "16 x 16 pixels" in told["caption"]
    assert "rotation" in told["caption"]
    assert (tmp_path / names[0]).stat().st_size < 150_000
    assert draw_augmentation(tmp_path, store, AugmentConfig(preset="none", rotation=10)) == []
