from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from results.pages.page import render_part
from results.records.study import load_study
from results.sections import picture_strips, pictures
from results.sections.material import Material
from tests.results.conftest import HOSTILE_CLASSES
from tests.results.simulated_evaluation import write_evaluations
from tests.results.simulated_study import Simulation, class_names, write_study


def scored(folder: Path, **options: Any) -> Path:
    simulation = Simulation(**({"trials": 12, "running": 0} | options))
    path = write_study(folder / "study", simulation)
    write_evaluations(path, simulation)
    return path


def material(path: Path) -> Material:
    return Material(load_study(path), "2026-03-03T00:00:00+00:00")


def rendered(view: dict[str, Any]) -> str:
    return str(render_part("sections/pictures.html.j2", {"s": view}))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scored(tmp_path_factory.mktemp("pictures"), absent=("Fray",))


@pytest.fixture(scope="module")
def view(path: Path) -> dict[str, Any]:
    return pictures.build(material(path))


def test_both_models_are_shown(view: dict[str, Any], path: Path) -> None:
    best = load_study(path).incumbent
    assert best is not None
    titles = [model["title"] for model in view["models"]]
    assert titles == [f"Best (trial {best.number})", "Baseline (trial 0)"]
    assert (view["reason"], view["problem"]) == ("", "")


def test_classes_stand_by_error_with_three_images_each(view: dict[str, Any]) -> None:
    classes = view["models"][0]["strips"]["classes"]
    assert {one["name"] for one in classes} == {"Blowhole", "Break", "Crack", "Uneven"}
    dice = [float(one["dice"]) for one in classes]
    assert dice == sorted(dice)
    assert [row["place"] for row in classes[0]["rows"]] == ["worst", "median", "best"]
    assert not any(row["problem"] for one in classes for row in one["rows"])


def test_five_panels_compare_both_models(view: dict[str, Any]) -> None:
    row = view["models"][0]["strips"]["classes"][0]["rows"][2]
    titles = [panel["title"] for panel in row["panels"]]
    assert titles == ["Image", "Truth", "Prediction, best trial", "Errors", "Prediction, baseline"]
    assert row["panels"][2]["text"].startswith(f"Dice {row['dice']}, mean {row['mean']}. ")
    # The simulated baseline sees background alone.
    assert row["panels"][4]["text"] == "Dice 0.000, mean 0.000. Background alone"
    assert row["panels"][3]["alt"].startswith(f"Errors of {row['image']}. ")
    assert all(panel["src"].startswith("data:image/webp;base64,") for panel in row["panels"])
    # The same photograph, overlaid in other ways.
    assert len({panel["src"] for panel in row["panels"]}) >= 3


def test_the_page_is_within_its_budget(view: dict[str, Any]) -> None:
    assert len(rendered(view)) < 1_500_000


def test_tables_hold_both_models(path: Path) -> None:
    frames = pictures.frames(material(path))
    assert set(frames) == {"images", "images_by_class", "confusion", "image_confusion", "objects"}
    assert all(set(frame["model"]) == {"best", "baseline"} for frame in frames.values())
    assert len(frames["images"]) == 2 * 131


def test_counts_of_both_stand_beside_each_other(view: dict[str, Any]) -> None:
    part = view["objects"]["by_size"]
    assert part["models"] == ["Best", "Baseline"]
    for row in part["rows"]:
        found, in_part, missed, _ = (int(cell) for cell in row["models"][1])
        assert found + in_part + missed == int(row["total"])
        assert found == 0


def test_the_lowest_of_many_classes_are_shown(tmp_path: Path) -> None:
    many = pictures.build(material(scored(tmp_path, classes=class_names(30), trials=6)))
    strips = many["models"][0]["strips"]
    assert len(strips["classes"]) == picture_strips.MOST_CLASSES
    assert "Shown are the 6 of 29 classes of the lowest Dice" in strips["note"]
    assert rendered(many)


def test_hostile_names_are_text(tmp_path: Path) -> None:
    simulated = scored(tmp_path, classes=HOSTILE_CLASSES, stem="<img src=x onerror=alert(9)>")
    html = rendered(pictures.build(material(simulated)))
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert "&lt;img src=x onerror=alert(9)&gt;" in html


def test_a_study_that_was_not_scored_says_what_to_do(study_dir: Path) -> None:
    view = pictures.build(material(study_dir))
    assert view["models"] == []
    html = rendered(view)
    assert "No model was scored image by image yet" in html
    assert "flexunet-search score STUDY_DIR" in html
    assert pictures.frames(material(study_dir)) == {}


def test_a_study_without_a_model_says_so(tmp_path: Path) -> None:
    path = write_study(tmp_path / "study", Simulation(trials=0))
    assert "No trial is COMPLETE yet" in rendered(pictures.build(material(path)))


def test_counts_are_shown_without_pictures(tmp_path: Path) -> None:
    path = scored(tmp_path, classes=("background", "a"))
    (path / "evaluation" / "pictures.json").unlink()
    view = pictures.build(material(path))
    assert "No pictures were drawn" in view["problem"]
    assert view["models"][0]["confusion"].figure is not None
    assert "No pictures were drawn" in rendered(view)


def test_pictures_that_are_lost_are_told_row_by_row(tmp_path: Path) -> None:
    path = scored(tmp_path, classes=("background", "a"))
    listing = json.loads((path / "evaluation" / "pictures.json").read_text())
    (path / "evaluation" / listing["images"][0]["image"]).unlink()
    rows = pictures.build(material(path))["models"][0]["strips"]["classes"][0]["rows"]
    problems = [row["problem"] for row in rows if row["problem"]]
    assert len(problems) == 1
    assert "0000.jpg: expected a picture" in problems[0]


def test_a_listing_that_is_damaged_is_told(tmp_path: Path) -> None:
    path = scored(tmp_path, classes=("background", "a"))
    (path / "evaluation" / "pictures.json").write_text("{")
    assert "expected a list of pictures" in pictures.build(material(path))["problem"]
