from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_pipeline.config import DataConfig
from data_pipeline.problems import DataError
from data_pipeline.stores.prepare import prepare
from search.inference.evaluation import Evaluated, evaluate, pixel_means
from search.inference.evaluation_dataset import find_evaluation_dataset
from search.inference.model_metadata import ModelMetadata
from tests.search.evaluated import SIDE, Lookup, facts, square, write, write_data

pytestmark = pytest.mark.processor


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


def done(known: ModelMetadata, data: Path, split: str | None = None, **options: Any) -> Evaluated:
    held = find_evaluation_dataset(str(data), known, split)
    return evaluate(Lookup(), known, held, replicates=100, **options)


def kinds(found: Evaluated) -> dict[str, bool]:
    return {caution.kind: caution.bad for caution in found.cautions}


def test_images_are_counted_at_their_own_size(data: Path) -> None:
    shown: list[tuple[int, int]] = []
    known = facts(data.parent / "best.keras")
    held = find_evaluation_dataset(str(data), known)
    model = Lookup()
    found = evaluate(
        model,
        known,
        held,
        batch_size=2,
        threads=2,
        replicates=100,
        progress=lambda done, total: shown.append((done, total)),
    )
    evaluation = found.evaluation
    assert (evaluation.split, evaluation.resolution) == ("test", "native")
    assert evaluation.images == ("test/a", "test/b")
    assert evaluation.name == f"{data.parent.name}/best.keras"
    assert evaluation.sizes.tolist() == [[16, 16], [16, 16]]
    assert evaluation.cells.tolist() == [
        [0, 0, 0, 232], [0, 0, 1, 8], [0, 1, 0, 8], [0, 1, 1, 8], [1, 0, 0, 240], [1, 2, 2, 16],
    ]  # fmt: skip
    assert evaluation.objects.tolist() == [[0, 1, 16, 8], [1, 2, 16, 16]]
    assert found.table["dice"].tolist() == pytest.approx([944 / 960, 0.5, 1, 0.75, 0.5])
    assert (shown, model.asked) == ([(1, 2), (2, 2)], 2)


def test_answers_are_averaged_over_mirror_images_where_asked(data: Path) -> None:
    class FromTheLeft(Lookup):
        """Says of a pixel what its left neighbour shows."""

        def predict(self, images: np.ndarray) -> np.ndarray:
            return super().predict(np.roll(images, 1, axis=2))

    class FromBothSides(Lookup):
        """Says of a pixel the mean of what its neighbours show."""

        def predict(self, images: np.ndarray) -> np.ndarray:
            sides = [super(FromBothSides, self).predict(np.roll(images, n, 2)) for n in (1, -1)]
            return np.mean(sides, axis=0)

    known = facts(data / "m.keras")
    held = find_evaluation_dataset(str(data), known)
    plain = evaluate(FromTheLeft(), known, held, replicates=100).evaluation
    mean = evaluate(FromTheLeft(), known, held, replicates=100, flips="horizontal").evaluation
    expected = evaluate(FromBothSides(), known, held, replicates=100).evaluation
    assert (plain.flips, plain.mirrored) == ("none", "")
    assert mean.flips == "horizontal"
    assert mean.mirrored == ", answers averaged over each image and its mirror image"
    assert plain.cells.tolist() != mean.cells.tolist() == expected.cells.tolist()


def test_the_references_numbers_are_those_of_the_models_size(data: Path) -> None:
    # At 8 x 8, four of the first image's 64 pixels are wrong: their probability is next to none,
    # which Keras clips at 1e-7.
    found = done(facts(data / "m.keras"), data)
    assert found.reference.pooled_dice == pytest.approx((60 / 64 + 1) / 2, abs=1e-6)
    assert found.reference.cross_entropy == pytest.approx(-4 * np.log(1e-7) / 64 / 2, abs=1e-5)
    assert found.reference.csv == ("categorical_crossentropy,0.5037\ndice_coef_multiclass,0.9688\n")


def test_pixel_means_leave_out_what_is_not_counted() -> None:
    probabilities = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.5, 0.5], [1.0, 0.0]]], np.float32)
    truth = np.array([[0, 1], [255, 255]], np.uint8)
    entropy, dice = pixel_means(probabilities, truth)
    assert dice == pytest.approx(0.85)
    assert entropy == pytest.approx(-(np.log(0.9) + np.log(0.8)) / 2, abs=1e-6)
    assert np.isnan(pixel_means(probabilities, np.full((2, 2), 255, np.uint8))).all()


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_it_counts_what_a_study_would_count(tmp_path: Path, resize: str) -> None:
    """Decoded and resized here, the images are what the prepared data hold of them."""
    from search.scoring.model import score_model
    from tests.model.lookup import write_lookup

    data = write_data(tmp_path / "data")
    tall = square(4, 0, 2, (23, 10))
    write(data / "test", "c", np.roll(tall, 3, axis=0), tall)
    config = DataConfig(source=str(data), image_size=SIDE, resize=resize)
    store = prepare(config)
    path = write_lookup(tmp_path / "best.keras", (SIDE, SIDE, 1), 3)
    theirs = score_model(path, store, config, "test", name="m", trial=None, epoch=None)
    ours = done(facts(path, data=config, resize=resize), data, batch_size=2).evaluation
    assert ours.images == theirs.images
    assert ours.fingerprint == theirs.fingerprint
    for name in ("cells", "objects", "predicted_objects", "sizes"):
        assert getattr(ours, name).tolist() == getattr(theirs, name).tolist()
    np.testing.assert_allclose(ours.true_probability, theirs.true_probability, rtol=1e-5)


def test_it_is_told_loudly_where_the_model_may_know_the_images(data: Path) -> None:
    config = DataConfig(source=str(data), image_size=SIDE)
    known = {
        "data": config,
        "fingerprint": find_evaluation_dataset(str(data), facts(data)).fingerprint,
    }
    own = facts(data / "m.keras", **known, trained_on=("train",))
    assert kinds(done(own, data)) == {"few groups": False}
    assert kinds(done(own, data, "valid"))["optimistic"] is True
    assert kinds(done(own, data, "train"))["trained on"] is True
    assert kinds(done(own, data, "all"))["trained on"] is True
    final = facts(data / "m.keras", **known, trained_on=("train", "valid"))
    assert kinds(done(final, data, "valid"))["trained on"] is True

    other = facts(data / "m.keras", fingerprint="another", trained_on=("train",))
    assert kinds(done(other, data))["other data"] is False
    assert kinds(done(other, data, "valid"))["optimistic"] is True
    unknown = done(facts(data / "m.keras", source=None, named=False, data=None), data)
    assert {"other data": False, "classes": False}.items() <= kinds(unknown).items()
    texts = " ".join(caution.text for caution in unknown.cautions)
    assert "The data that the model was trained on are not recorded" in texts


def test_copies_of_training_images_are_found_in_other_data(data: Path, tmp_path: Path) -> None:
    other = write_data(tmp_path / "other")
    write(other / "test", "c", square(1, 1, 1), square(1, 1, 1))
    config = DataConfig(source=str(other), image_size=SIDE)
    known = facts(data / "m.keras", data=config, fingerprint="another")
    # The test images of both are the same files, which the model has never seen.
    assert kinds(done(known, data)) == {"few groups": False}
    copied = other / "train" / "images" / "t.png"
    (data / "test" / "images" / "b.png").write_bytes(copied.read_bytes())
    found = done(known, data)
    assert kinds(found)["trained on"] is True
    assert "1 of these images are" in found.cautions[0].text
    assert found.cautions[0].text.endswith("split: b.")


def test_every_bad_file_is_listed_and_nothing_is_asked_for_naught(data: Path) -> None:
    (data / "test" / "images" / "a.png").write_bytes(b"no picture")
    (data / "test" / "masks" / "b.png").write_bytes(b"no mask")
    known = facts(data / "m.keras")
    model = Lookup()
    with pytest.raises(DataError) as caught:
        evaluate(model, known, find_evaluation_dataset(str(data), known))
    assert model.asked == 0
    assert "2 problems" in str(caught.value)
    assert "images/a.png" in str(caught.value)
    assert "masks/b.png" in str(caught.value)

    write(data / "test", "b", square(8, 8, 2), square(8, 8, 2))
    with pytest.raises(DataError, match="1 problem"):
        done(known, data)
    skipping = facts(data / "m.keras", data=DataConfig(image_size=SIDE, on_bad="skip"))
    found = done(skipping, data)
    assert found.evaluation.images == ("test/b",)
    assert [item.stem for item in found.items] == ["b"]
    assert "a.png" in next(each.text for each in found.cautions if each.kind == "left out")
