from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from data_pipeline.problems import DataError
from model.inference import ModelError
from search.cli.main import app
from search.config.errors import ConfigError
from tests.data_pipeline.files import CLASSES
from tests.model.lookup import write_lookup
from tests.search.evaluated import SIDE, write_data

pytestmark = pytest.mark.processor


@pytest.fixture(autouse=True)
def _used_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow's threads cannot be set once the tests have used it."""
    monkeypatch.setattr("search.process.setup.set_up_process", lambda resources: None)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export's model with its record, and data that it segments by half."""
    folder = tmp_path_factory.mktemp("evaluate")
    write_data(folder / "data")
    write_lookup(folder / "best" / "best.keras", (SIDE, SIDE, 1), 3)
    data = {
        "source": "nowhere",
        "image_size": [SIDE, SIDE],
        "classes": {name: list(color) for name, color in CLASSES.items()},
    }
    tree = {"data": data, "provenance": {"data_fingerprint": "another"}}
    (folder / "best" / "best.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    return folder


def call(place: Path, *arguments: object) -> str:
    given = [str(place / "best" / "best.keras"), str(place / "data"), *map(str, arguments)]
    done = CliRunner().invoke(app, ["evaluate", *given, "--threads", "1", "--bootstrap", "100"])
    if done.exception is not None:
        raise done.exception
    return done.output


def test_a_model_is_scored_class_by_class_into_a_folder(place: Path) -> None:
    text = call(place)
    out = place / "best" / "evaluation-test-data"
    assert f"written: {out}" in text
    assert "2 images, 2 groups, at their own size" in text
    assert "described by" in text
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert lines["hole"][1:] == ["0.500", "0.333", "0.500", "0.500", "1", "1"]
    assert lines["crack"][1] == "1.000"
    assert "Mean foreground Dice 0.750" in text
    # 31/32, to whichever side of it the processor's convolutions round.
    assert re.search(r"Misleading: The reference's pooled metric is 0\.968[78]", text)
    assert "Not the data set that the model was trained on: whether" in text
    entropy, dice = (line.split(",") for line in (out / "evaluation.csv").read_text().splitlines())
    assert entropy == ["categorical_crossentropy", "0.5037"]
    assert dice[0] == "dice_coef_multiclass"
    assert dice[1] in ("0.9687", "0.9688")
    assert "Optimistic" in call(place, "--split", "valid", "--out", place / "valid")
    assert (place / "valid" / "gallery.html").is_file()


def test_bad_input_is_told_before_anything_is_written(place: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a split of .*'tests'"):
        call(place, "--split", "tests")
    (tmp_path / "mine").touch()
    with pytest.raises(FileExistsError, match="found mine"):
        call(place, "--out", tmp_path)
    other = tmp_path / "other.yaml"
    other.write_text("data: {source: x, image_size: 16, channels: 3}")
    with pytest.raises(ConfigError, match=r"data\.image_size: expected \[8, 8\]"):
        call(place, "--config", other, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_of_other_classes_is_told_with_every_difference(
    place: Path, tmp_path: Path
) -> None:
    model = write_lookup(tmp_path / "m.keras", (SIDE, SIDE, 1), 5)
    with pytest.raises(DataError, match=r"expected 5 classes, .* received 3: background, hole"):
        raise_of(model, place / "data")
    with pytest.raises(ModelError, match=r"gone\.keras: expected a model"):
        raise_of(tmp_path / "gone.keras", place / "data")


def raise_of(model: Path, data: Path) -> None:
    done = CliRunner().invoke(app, ["evaluate", str(model), str(data)])
    assert done.exception is not None
    raise done.exception
