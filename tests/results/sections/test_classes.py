from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from results.pages.page import render_part
from results.records.study import load_study
from results.sections import class_words, classes
from results.sections.material import Material
from tests.results.conftest import HOSTILE_CLASSES, MakeStudy
from tests.results.simulated_evaluation import write_evaluations
from tests.results.simulated_study import Simulation, class_names, write_study


def material(path: Path) -> Material:
    return Material(load_study(path), "2026-03-03T00:00:00+00:00")


def row(precision: float, recall: float, true: int = 10) -> dict[str, Any]:
    return {"precision": precision, "recall": recall, "true_pixels": true}


@pytest.mark.parametrize(
    ("scores", "read"),
    [
        (row(0.9, 0.4), class_words.MISSES),
        (row(0.4, 0.9), class_words.INVENTS),
        (row(0.45, 0.4), class_words.EVEN),
        (row(math.nan, 0.0), class_words.NOTHING),
        (row(0.0, 0.0), class_words.NOTHING),
        (row(0.0, math.nan, 0), class_words.INVENTS),
        (row(math.nan, math.nan, 0), "–"),
    ],
)
def test_precision_and_recall_are_read_together(scores: dict[str, Any], read: str) -> None:
    assert class_words.reading(scores) == read


def winners(**rows: tuple[int, float, float, float]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"class": name, "trial": trial, "dice": top, "chosen": chosen, "cost": top - chosen}
            | {"given_up": given_up}
            for name, (trial, top, chosen, given_up) in rows.items()
        ]
    )


def test_what_the_mean_costs_is_said() -> None:
    table = winners(Crack=(7, 0.5, 0.25, 0.125), Fray=(3, 0.5, 0.5, 0.0))
    assert class_words.winners_says(table, 3) == (
        "1 of 2 classes has its best in another trial than 3, the best by the objective. "
        "Choosing it costs Crack most: 0.250 instead of 0.500 in trial 7, which is 0.125 lower by "
        "it."
    )
    table = winners(Crack=(3, 0.5, 0.5, 0.0))
    assert class_words.winners_says(table, 3).endswith("is also the best of every class.")


def pooled(best: float, mean: float) -> pd.DataFrame:
    rows = [("best", best, mean), ("background alone", 0.95, 0.0)]
    return pd.DataFrame(rows, columns=["model", "pooled_dice", "mean_foreground_dice"])


def test_what_the_pooled_metric_hides_is_said() -> None:
    above = class_words.pooled_says(pooled(0.98, 0.4))
    assert above.endswith("only 0.030 more, where its mean foreground Dice is 0.400 against 0.000.")
    below = class_words.pooled_says(pooled(0.94, 0.4))
    assert "no less than the best trial (0.940)" in below


def test_a_study_that_was_not_scored_has_its_scores_from_its_epochs(study_dir: Path) -> None:
    view = classes.build(material(study_dir))
    assert view["scores"]["reason"] == ""
    assert "at each trial's best epoch" in view["scores"]["note"]
    assert [row["name"] for row in view["scores"]["rows"]][-1] == "background"
    assert [len(row["models"]) for row in view["scores"]["rows"]] == [2] * 6
    assert len(view["pooled"]["rows"]) == 3
    assert render_part("sections/classes.html.j2", {"s": view})


def test_scored_models_have_theirs_from_the_images(tmp_path: Path) -> None:
    simulation = Simulation(trials=12, running=0)
    path = write_study(tmp_path / "study", simulation)
    write_evaluations(path, simulation)
    view = classes.build(material(path))
    assert "at the images' own size" in view["scores"]["note"]


@pytest.mark.parametrize(
    "options",
    [
        {"trials": 0},
        {"trials": 1, "running": 0},
        {"trials": 2, "running": 2},
        {"trials": 2, "running": 0, "states": dict.fromkeys(range(2), "FAIL")},
        {"trials": 6, "running": 0, "classes": ("background", "a"), "absent": ("a",)},
        {"trials": 6, "running": 0, "classes": class_names(30)},
        {"trials": 6, "running": 0, "classes": HOSTILE_CLASSES},
        {"trials": 6, "running": 0, "schema": "first"},
    ],
)
def test_every_kind_of_study_has_the_section(
    make_study: MakeStudy, options: dict[str, Any]
) -> None:
    found = material(make_study(**options))
    html = render_part("sections/classes.html.j2", {"s": classes.build(found)})
    assert "<script>alert" not in html
    assert classes.frames(found)["dice_per_class"].shape[1] == len(found.study.classes)


def test_a_study_without_data_or_baseline_has_the_section(make_study: MakeStudy) -> None:
    path = make_study(trials=6, running=0)
    (path / "data.json").unlink()
    shutil.rmtree(path / "trials" / "00000")
    view = classes.build(material(path))
    assert [model["name"] for model in view["scores"]["models"]] == ["Best trial"]
    assert view["pooled"]["says"] == ""


def test_a_baseline_that_is_best_is_compared_with_no_one(make_study: MakeStudy) -> None:
    found = material(make_study(trials=1, running=0))
    assert list(class_words.front_trials(found)) == ["best"]
    nothing = replace(found, study=replace(found.study, trials=()))
    assert class_words.front_trials(nothing) == {}
