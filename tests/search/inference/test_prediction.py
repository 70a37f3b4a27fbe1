from __future__ import annotations

import errno
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_pipeline.datasets.reading import read_image
from data_pipeline.datasets.resize import resize_image
from data_pipeline.datasets.tiling import Tiling, blended
from model.config import ModelConfig
from model.flexunet import build_flexunet
from model.inference import Predictor
from model.runtimes import open_predictor
from search.inference.model_metadata import ModelMetadata
from search.inference.prediction import PredictOptions, is_tiled, predict
from search.inference.prediction_folder import Folder, PredictedImage
from search.inference.prediction_inputs import find_images
from search.scoring.counting import decide

pytestmark = pytest.mark.processor

COLORS = ((0, 0, 0), (255, 0, 0))


def bright_or_dark(images: np.ndarray) -> np.ndarray:
    bright = images[..., :1].astype(np.float32) / 255
    return np.concatenate([1 - bright, bright], axis=-1)


def facts(side: int = 16, resize: str = "stretch") -> ModelMetadata:
    shape = (side, side, 1)
    return ModelMetadata(Path("m.keras"), shape, 2, ("background", "bright"), COLORS, resize)


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
    known: ModelMetadata | None = None,
    advance: Callable[[float], None] = lambda share: None,
    **options: object,
) -> list[PredictedImage]:
    known = known or facts()
    folder = Folder(out, known.classes, known.colors)
    folder.begin({})
    inputs = find_images(str(images)).inputs
    return list(predict(ask, known, folder, inputs, PredictOptions(**options), advance))


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


def test_groups_large_images_and_bad_files_come_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.inference.prediction._SMALL", 1000)
    monkeypatch.setattr("search.inference.prediction.LARGE", 700)
    for number, size in enumerate([(20, 20), (20, 20), (20, 20), (40, 40), (9, 300), (8, 8)]):
        write(tmp_path / "in" / f"{2 * number:02d}.png", *size, seed=number)
    for number in (1, 9, 11):
        (tmp_path / "in" / f"{number:02d}.png").write_bytes(b"no picture")
    batches: list[int] = []
    shares: list[float] = []

    def ask(images: np.ndarray) -> np.ndarray:
        batches.append(len(images))
        return bright_or_dark(images)

    outcomes = run(tmp_path / "in", tmp_path / "out", ask, advance=shares.append, batch_size=4)

    found = [(each.image.stem, each.how) for each in outcomes]
    whole = [(f"{number:02d}", "whole") for number in (0, 2, 4, 6)]
    assert found == [
        whole[0], ("01", ""), *whole[1:], ("08", "tiled"), ("09", ""), ("10", "whole"), ("11", "")
    ]  # fmt: skip
    assert batches[:3] == [1, 2, 1]
    assert shares[-1] == 1
    assert shares == sorted(shares)
    for outcome in outcomes:
        if outcome.how:
            mask = mask_of(tmp_path / "out" / "masks" / f"{outcome.image.stem}.png")
            assert mask.shape == outcome.shape
            assert outcome.pixels["bright"] == mask.sum()


def test_the_next_group_is_decoded_while_the_model_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        write(tmp_path / "in" / f"{number}.png", 20, 20, seed=number)
    decoded = [threading.Event() for _ in range(3)]

    def read(path: Path, channels: int) -> np.ndarray:
        image = read_image(path, channels)
        decoded[int(path.stem)].set()
        return image

    def ask(images: np.ndarray) -> np.ndarray:
        asked.append(len(images))
        if len(asked) < 3:
            ahead.append(decoded[len(asked)].wait(10))
        return bright_or_dark(images)

    asked: list[int] = []
    ahead: list[bool] = []
    monkeypatch.setattr("search.inference.prediction.read_image", read)

    run(tmp_path / "in", tmp_path / "out", ask, batch_size=1)

    assert ahead == [True, True]


def test_a_disk_that_fills_names_the_probabilities_it_was_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "in.png", 70, 45)

    def full(file: object, header: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)

    with pytest.raises(OSError, match=r"No space left.*probabilities.*in\.npy"):
        run(tmp_path / "in.png", tmp_path / "out", tiles="always", probabilities=True)

    kept = [path for path in (tmp_path / "out").rglob("*.p*") if path.suffix in (".png", ".npy")]
    assert not kept


@pytest.mark.soak
def test_a_large_image_is_in_memory_once(tmp_path: Path) -> None:
    """Peak memory of a process of its own, above that of a small image in the same process."""
    side = 8000
    code = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from tests.search.inference.test_prediction import bright_or_dark, facts, run
def peak():
    status = Path("/proc/self/status").read_text()  # getrusage begins with the parent's memory
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
known = facts(side=128)
options = dict(known=known, tiles="always", probabilities=True, overlays=False, batch_size=4)
run(Path(sys.argv[1]), Path(sys.argv[3]), **options)
before = peak()
[outcome] = run(Path(sys.argv[2]), Path(sys.argv[3]), **options)
print(peak() - before, outcome.shape)
"""
    small = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    for name, length in (("small", 600), ("large", side)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), cv2.resize(small, (length, length)))
    paths = [tmp_path / name for name in ("small.png", "large.png", "out")]

    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True, check=True
    )

    above = int(done.stdout.split()[0])
    assert f"({side}, {side})" in done.stdout
    # The image, 64 MB, and of a band of 128 rows its probabilities, what is done and its argmax.
    # 94 to 99 MB were measured, 138 MB with a copy made by the decoder.
    assert above < 1.85 * side * side


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


def test_a_saved_model_in_colour_is_asked_for_images_of_every_kind(tmp_path: Path) -> None:
    """Grey ones become RGB, 16 bit become 8, of one pixel or more: as a study would count them."""
    shape = (16, 16, 3)
    config = ModelConfig(num_layers=2, base_filters=4)
    path = tmp_path / "best.keras"
    build_flexunet(config, shape, 3).save(path)
    model = open_predictor(path)
    images = tmp_path / "in"
    images.mkdir()
    random = np.random.default_rng(0)
    written = {
        "one.png": random.integers(0, 256, (1, 1), np.uint8),
        "line.bmp": random.integers(0, 256, (1, 90), np.uint8),
        "deep.tif": random.integers(0, 65536, (20, 31), np.uint16),
        "colour.png": random.integers(0, 256, (33, 18, 3), np.uint8),
    }
    for name, pixels in written.items():
        cv2.imwrite(str(images / name), pixels)
    known = replace(
        facts(), image_shape=shape, num_classes=3, classes=("a", "b, [c]", "ü"),
        colors=((0, 0, 0), (250, 0, 0), (0, 250, 0)),
    )  # fmt: skip

    for tiles in ("never", "always"):
        outcomes = run(images, tmp_path / "out", model.predict, known, tiles=tiles)
        assert [each.error for each in outcomes] == [""] * 4
        for outcome in outcomes:
            mask = cv2.imread(str(tmp_path / "out" / "masks" / f"{outcome.image.stem}.png"))
            assert mask.shape[:2] == written[outcome.image.name].shape[:2] == outcome.shape
            if tiles == "never":
                image = read_image(outcome.image, 3)
                found = model.predict(resize_image(image, (16, 16), "stretch")[None])[0]
                labels, _ = decide(found, np.zeros(outcome.shape, np.uint8), "stretch")
                assert (mask[:, :, ::-1] == np.array(known.colors)[labels]).all()
                assert (
                    list(outcome.pixels.values())
                    == np.bincount(labels.ravel(), minlength=3).tolist()
                )
