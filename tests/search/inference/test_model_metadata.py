from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from search.config.errors import ConfigError
from search.inference.model_metadata import digest_of, distinct_colors, facts_of, find_record

CLASSES = {"background": [0, 0, 0], "hole": [255, 0, 0], "crack": [0, 0, 255]}
DATA: dict[str, Any] = {"source": "nowhere", "image_size": [16, 24], "channels": 1}


@dataclass(frozen=True)
class Opened:
    image_shape: tuple[int, int, int] = (16, 24, 1)
    num_classes: int = 3


def record(path: Path, tree: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def test_without_a_record_names_and_colours_are_made_up(tmp_path: Path) -> None:
    facts = facts_of(tmp_path / "m.keras", opened=Opened(num_classes=4))
    assert facts.classes == ("background", "class 1", "class 2", "class 3")
    assert facts.colors == ((0, 0, 0), (0, 114, 178), (213, 94, 0), (0, 158, 115))
    assert (facts.source, facts.resize, facts.trained_on) == (None, "stretch", ())
    assert facts.image_shape == (16, 24, 1)
    assert (facts.named, facts.colored) == (False, False)


def test_no_two_made_up_colours_are_equal() -> None:
    assert len(set(distinct_colors(255))) == 255
    assert distinct_colors(255)[:8] == distinct_colors(8)


def test_a_training_tells_classes_resize_data_and_splits(tmp_path: Path) -> None:
    tree = {
        "config": {"data": {**DATA, "resize": "letterbox"}},
        "classes": CLASSES,
        "resize": "letterbox",
        "data_fingerprint": "abc",
    }
    path = record(tmp_path / "training.yaml", tree)
    facts = facts_of(tmp_path / "best.keras", opened=Opened())
    assert facts.classes == ("background", "hole", "crack")
    assert facts.colors == ((0, 0, 0), (255, 0, 0), (0, 0, 255))
    assert (facts.source, facts.resize, facts.fingerprint) == (path, "letterbox", "abc")
    assert facts.trained_on == ("train",)
    assert facts.data is not None
    assert facts.data.image_size == (16, 24)

    record(path, {**tree, "final": True})
    assert facts_of(tmp_path / "best.keras", opened=Opened()).trained_on == ("train", "valid")


def test_an_export_tells_its_classes_and_where_they_come_from(tmp_path: Path) -> None:
    provenance = {"data_fingerprint": "f" * 64, "scores": {"dice": dict.fromkeys(CLASSES, 0.5)}}
    path = record(
        tmp_path / "best.yaml", {"data": {**DATA, "classes": CLASSES}, "provenance": provenance}
    )
    facts = facts_of(tmp_path / "best.onnx", opened=Opened())
    assert facts.source == path
    assert facts.colors[1] == (255, 0, 0)
    assert facts.fingerprint == "f" * 64
    # An older export states no classes: their scores name them, and colours are made up.
    record(path, {"data": DATA, "provenance": provenance})
    facts = facts_of(tmp_path / "saved_model", opened=Opened())
    assert facts.classes == ("background", "hole", "crack")
    assert facts.colors == distinct_colors(3)
    assert (facts.named, facts.colored) == (True, False)
    # The data themselves know them, where they are in reach.
    record(tmp_path / "data" / "dataset.yaml", {"format": 1, "classes": CLASSES})
    record(path, {"data": {**DATA, "source": str(tmp_path / "data")}, "provenance": provenance})
    facts = facts_of(tmp_path / "m.keras", opened=Opened())
    assert (facts.colors[1], facts.colored) == ((255, 0, 0), True)


@pytest.mark.parametrize("folder", ["trials/00012", "confirm/runs/trial-00012-seed-0"])
def test_a_studys_models_are_told_by_the_study(tmp_path: Path, folder: str) -> None:
    study = record(
        tmp_path / "study.yaml",
        {"classes": [*CLASSES], "data_fingerprint": "abc", "config": {"data": DATA}},
    )
    model = tmp_path / folder / "best.keras"
    assert find_record(model) == study
    assert facts_of(model, opened=Opened()).colors == distinct_colors(3)
    told = {"classes": [*CLASSES], "colors": CLASSES}
    (tmp_path / "data.json").write_text(json.dumps(told))
    facts = facts_of(model, opened=Opened())
    assert facts.colors == ((0, 0, 0), (255, 0, 0), (0, 0, 255))
    assert (facts.fingerprint, facts.trained_on) == ("abc", ("train",))


def test_a_config_that_is_given_is_believed(tmp_path: Path) -> None:
    record(tmp_path / "best.yaml", {"data": {**DATA, "channels": 3}})
    config = record(tmp_path / "other" / "config.yaml", {"data": {**DATA, "classes": CLASSES}})
    facts = facts_of(tmp_path / "m.keras", config, opened=Opened())
    assert (facts.source, facts.classes[2], facts.trained_on) == (config, "crack", ())


def test_a_record_of_another_model_is_one_error(tmp_path: Path) -> None:
    record(tmp_path / "best.yaml", {"data": {**DATA, "classes": CLASSES}})
    with pytest.raises(ConfigError) as caught:
        facts_of(tmp_path / "m.keras", opened=Opened((32, 32, 3), 5))
    text = str(caught.value)
    assert "best.yaml: 4 problems" in text
    assert "data.image_size: expected [32, 32], which the model takes, received [16, 24]" in text
    assert "data.channels: expected 3, which the model takes, received 1" in text
    assert "expected 5 classes, which the model tells apart, received 3: background, hole" in text
    assert "the model is" in text


def test_a_model_has_one_digest_wherever_it_lies(tmp_path: Path) -> None:
    (tmp_path / "m.keras").write_bytes(b"weights")
    assert digest_of(tmp_path / "m.keras") == hashlib.sha256(b"weights").hexdigest()
    found = []
    for name in ("a", "b"):
        (tmp_path / name / "variables").mkdir(parents=True)
        (tmp_path / name / "saved_model.pb").write_bytes(b"graph")
        (tmp_path / name / "variables" / "v").write_bytes(b"weights")
        found.append(digest_of(tmp_path / name))
    assert found[0] == found[1]
    (tmp_path / "b" / "variables" / "v").rename(tmp_path / "b" / "v")
    assert digest_of(tmp_path / "b") != found[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2", "not YAML"),
        ("model: {}", "data: expected the section of the data, received None"),
        ("data: {image_size: 4}", "data.image_size: expected sides of 8 to 4096 pixels"),
        ("data: {chanels: 3}", "data.chanels: Extra inputs are not permitted"),
        ("{config: {data: {image_size: 16}}, classes: {a: [0, 0, 0]}}", "expected 2 to 255"),
    ],
)
def test_a_record_that_cannot_be_read_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "training.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"training\.yaml") as caught:
        facts_of(tmp_path / "m.keras", opened=Opened())
    assert message in str(caught.value)
