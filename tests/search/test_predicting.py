from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_pipeline.reading import read_image
from data_pipeline.resize import resize_image
from data_pipeline.tiling import Tiling, blended
from model.config import ModelConfig
from model.flexunet import build_flexunet
from model.inference import Predictor
from search.counting import decide
from search.model_facts import ModelFacts
from search.predict_folder import Folder, Outcome
from search.predict_inputs import find_images
from search.predicting import Options, is_tiled, predict

COLORS = ((0, 0, 0), (255, 0, 0))


def bright_or_dark(images: np.ndarray) -> np.ndarray:
    bright = images[..., :1].astype(np.float32) / 255
    return np.concatenate([1 - bright, bright], axis=-1)


def facts(side: int = 16, resize: str = "stretch") -> ModelFacts:
    shape = (side, side, 1)
    return ModelFacts(Path("m.keras"), shape, 2, ("background", "bright"), COLORS, resize)


def write(path: Path, height: int, width: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    pixels = cv2.GaussianBlur(noise, (0, 0), 3)
    pixels = cv2.normalize(pixels, None, 0, 255, cv2.NORM_MINMAX)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return pixels


def run(
    images: Path,
    out: Path,
    ask: Callable[[np.ndarray], np.ndarray] = bright_or_dark,
    known: ModelFacts | None = None,
    **options: object,
) -> list[Outcome]:
    known = known or facts()
    folder = Folder(out, known.classes, known.colors)
    folder.begin({})
    return list(predict(ask, known, folder, find_images(str(images)).inputs, Options(**options)))


def mask_of(path: Path) -> np.ndarray:
    return (cv2.imread(str(path))[..., 2] > 0).astype(np.uint8)


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_whole_images_are_decided_as_scoring_decides(tmp_path: Path, resize: str) -> None:
    for number, size in enumerate([(40, 25), (16, 16), (9, 50)]):
        write(tmp_path / "in" / f"{number}.png", *size, seed=number)
    known = facts(resize=resize)

    outcomes = run(tmp_path / "in", tmp_path / "out", known=known, batch_size=2, threads=2)

    for outcome in outcomes:
        image = read_image(outcome.image, 1)
        found = bright_or_dark(resize_image(image, (16, 16), resize)[None])[0]
        expected, _ = decide(found, np.zeros(image.shape[:2], np.uint8), resize)
        mask = mask_of(tmp_path / "out" / "masks" / f"{outcome.image.stem}.png")
        assert (mask == expected).all()
        assert outcome.pixels["bright"] == expected.sum()
        assert outcome.how == "whole"


def test_tiles_are_predicted_at_their_own_scale(tmp_path: Path) -> None:
    pixels = write(tmp_path / "in.png", 70, 45)

    [outcome] = run(
        tmp_path / "in.png", tmp_path / "out", tiles="always", probabilities=True, batch_size=3
    )

    assert outcome.how == "tiled"
    assert (mask_of(tmp_path / "out" / "masks" / "in.png") == (pixels > 127)).all()
    kept = np.load(tmp_path / "out" / "probabilities" / "in.npy")
    assert kept == pytest.approx(bright_or_dark(pixels[..., None]), abs=1e-5)


def test_auto_takes_tiles_where_the_image_would_be_made_too_small() -> None:
    assert not is_tiled((128, 128), (16, 16), "auto")
    assert is_tiled((129, 16), (16, 16), "auto")
    assert not is_tiled((129, 16), (16, 16), "never")
    assert is_tiled((4, 4), (16, 16), "always")


def test_a_bad_file_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.png", 20, 20)
    (tmp_path / "in" / "b.png").write_bytes(b"no picture")
    whole = (tmp_path / "in" / "a.png").read_bytes()
    (tmp_path / "in" / "c.png").write_bytes(whole[:-30])
    write(tmp_path / "in" / "d.png", 20, 20)

    outcomes = run(tmp_path / "in", tmp_path / "out")

    assert [outcome.image.stem for outcome in outcomes] == ["a", "b", "c", "d"]
    assert [bool(outcome.error) for outcome in outcomes] == [False, True, True, False]
    assert sorted(p.name for p in (tmp_path / "out" / "masks").iterdir()) == ["a.png", "d.png"]


def test_16_bit_tiff_and_colour_become_what_the_model_takes(tmp_path: Path) -> None:
    pixels = write(tmp_path / "in" / "a.png", 20, 20)
    cv2.imwrite(str(tmp_path / "in" / "b.tif"), pixels.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "in" / "c.bmp"), np.repeat(pixels[..., None], 3, axis=2))

    outcomes = run(tmp_path / "in", tmp_path / "out")

    masks = [mask_of(tmp_path / "out" / "masks" / f"{name}.png") for name in "abc"]
    assert not any(outcome.error for outcome in outcomes)
    assert (masks[0] == masks[1]).all()
    assert (masks[0] == masks[2]).all()


def test_tiles_equal_the_whole_away_from_the_border() -> None:
    """Where an overlap's outer quarter is as wide as what the model looks at: 10 pixels here."""
    config = ModelConfig(num_layers=2, base_filters=4, dropout_rate=0)
    small, large = (build_flexunet(config, (side, side, 1), 3, seed=1) for side in (64, 128))
    large.set_weights(small.get_weights())
    image = np.random.default_rng(2).integers(0, 256, (128, 128, 1), np.uint8)
    whole = np.asarray(large(image[None].astype(np.float32), training=False))[0]

    def difference(overlap: float) -> float:
        tiling = Tiling.plan((128, 128), (64, 64), overlap)
        bands = list(blended(image, tiling, Predictor(small).predict, 4))
        return float(np.abs(np.concatenate(bands) - whole)[12:-12, 12:-12].max())

    assert difference(0.0) > 1e-3
    assert difference(0.65) < 1e-5
