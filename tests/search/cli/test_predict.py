from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from search.cli.main import app
from tests.model.lookup import write_lookup


@pytest.fixture(autouse=True)
def _used_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow's threads cannot be set once the tests have used it."""
    monkeypatch.setattr("search.process.setup.set_up_process", lambda resources: None)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lookup(tmp_path_factory.mktemp("model") / "best.keras", (16, 16, 1), 3)


def test_masks_overlays_and_a_table_are_written_and_a_bad_file_told(
    model: Path, tmp_path: Path
) -> None:
    images = tmp_path / "in"
    images.mkdir()
    labels = np.zeros((32, 32), np.uint8)
    labels[:8], labels[24:] = 1, 2
    cv2.imwrite(str(images / "a.png"), labels)
    (images / "b.png").write_bytes(b"x")

    result = CliRunner().invoke(app, ["predict", str(model), str(images), str(tmp_path / "out")])

    assert result.exit_code == 1
    assert "1 of 2 images predicted" in result.output
    assert "b.png: expected a jpg, png, bmp or tif" in result.output
    assert "class 1, class 2" in result.output
    record = json.loads((tmp_path / "out" / "predict.json").read_text())
    colors = np.array(list(record["classes"].values()))
    mask = cv2.imread(str(tmp_path / "out" / "masks" / "a.png"))[:, :, ::-1]
    assert (mask == colors[labels]).all()
    assert (tmp_path / "out" / "overlays" / "a.jpg").exists()


def test_none_that_can_be_read_is_bad_input(model: Path, tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"x")
    arguments = ["predict", str(model), str(tmp_path / "b.png"), str(tmp_path / "out")]

    assert CliRunner().invoke(app, arguments).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("MODEL", "none"), "expected images"),
        (("none.keras", "a.png"), "found no file"),
        (("MODEL", "a.png", "--device", "gpu"), "expected a GPU"),
    ],
)
def test_bad_input_is_named(
    model: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((16, 16), np.uint8))
    names = {"MODEL": str(model), "a.png": str(tmp_path / "a.png"), "none": str(tmp_path / "none")}
    first, second, *rest = (names.get(each, each) for each in arguments)

    result = CliRunner().invoke(app, ["predict", first, second, str(tmp_path / "out"), *rest])

    assert message in str(result.exception)
    assert not (tmp_path / "out").exists()
