from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from results.records.study import load_study
from results.sections import data
from results.sections.material import Material
from results.tables.data import InputAccount
from tests.results.conftest import MakeStudy

JPEG = b"\xff\xd8\xff\xe0 and the rest"


def build(path: Path) -> Any:
    return data.build(Material(load_study(path), ""))


def account(**facts: Any) -> InputAccount:
    given = {"source": "pipeline.json", "sharing": "local", "why": "one trial at a time"}
    numbers = {"images": 1000, "made": 0, "hit_rate": None, "train_seconds": 100.0}
    return InputAccount(**(given | numbers | {"input_seconds": 2.0} | facts))


def test_classes_have_their_counts_and_both_colours(make_study: MakeStudy) -> None:
    built = build(make_study(trials=2, running=0))
    row = next(row for row in built["classes"] if row["swatch"]["name"] == "Crack")
    assert row["swatch"]["own"].startswith("rgb(")
    assert row["cells"][0] == {"images": "57", "groups": "57", "share": "0.24 %", "none": False}
    assert built["splits"] == ["train", "valid", "test"]
    assert built["lead"].endswith("Models see them at 128 x 128 pixels, grey. No file left out.")


def test_a_class_that_a_split_lacks_stands_out(make_study: MakeStudy) -> None:
    built = build(make_study(trials=2, running=0, absent=("Fray",)))
    row = next(row for row in built["classes"] if row["swatch"]["name"] == "Fray")
    assert all(cell["none"] for cell in row["cells"])


def test_old_data_have_no_groups_by_class(make_study: MakeStudy) -> None:
    built = build(make_study(trials=2, running=0, schema="first"))
    assert {cell["groups"] for row in built["classes"] for cell in row["cells"]} == {"–"}
    assert "left out" not in built["lead"]
    assert built["feeding"]["says"].startswith("Not recorded")


def test_files_left_out_are_counted_and_listed(make_study: MakeStudy) -> None:
    path = make_study(trials=2, running=0)
    told = json.loads((path / "data.json").read_text())
    told["skipped"] = [{"path": "train/a.png", "message": "torn"}]
    (path / "data.json").write_text(json.dumps(told))
    built = build(path)
    assert built["lead"].endswith("1 bad file left out; the findings name them.")
    assert any("train/a.png: torn" in finding["files"] for finding in built["findings"])


def test_without_a_description_the_section_says_so(make_study: MakeStudy) -> None:
    path = make_study(trials=2, running=0)
    (path / "data.json").unlink()
    built = build(path)
    assert built["lead"] == "The study directory holds no description of its data."
    assert built["classes"] == []
    assert built["untold"]


def test_the_augmentation_is_shown_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "evaluation"
    folder.mkdir()
    (folder / "augmentation.jpg").write_bytes(JPEG)
    (folder / "augmentation.json").write_text('{"rows": 2, "samples": 4, "caption": "flips"}')
    shown = data.augmentation(tmp_path)
    assert shown["uri"] == "data:image/jpeg;base64," + base64.b64encode(JPEG).decode()
    assert "2 training images as they are; beside each, 4 of" in shown["text"]
    assert shown["text"].endswith("The best trial's augmentation: flips.")


@pytest.mark.parametrize("content", [None, b"<svg onload=alert(1)>", JPEG + bytes(1_000_000)])
def test_no_other_file_is_put_into_the_page(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "evaluation").mkdir()
        (tmp_path / "evaluation" / "augmentation.jpg").write_bytes(content)
    assert data.augmentation(tmp_path)["uri"] is None


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, "during 2 % of their training time: the input kept up"),
        ({"input_seconds": 0.4}, "during less than 1 % of"),
        ({"input_seconds": 20.0}, "20 % of their training time: feeding them faster would"),
        ({}, "Each trial augmented its own images"),
        ({"hit_rate": 0.75, "sharing": "service"}, "75 % of the images they read came from the"),
    ],
)
def test_the_sentence_tells_whether_trials_waited(facts: dict[str, Any], words: str) -> None:
    assert words in data.feeding_sentence(account(**facts))
