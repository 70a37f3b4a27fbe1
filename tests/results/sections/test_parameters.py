from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from results.analysis.importance import importance_table
from results.pages.page import render_part
from results.records.study import load_study
from results.sections import Material, parameters
from results.sections.parameter_parts import edge_part, edge_words, importance_part
from tests.results.conftest import HOSTILE_CLASSES, MakeStudy
from tests.results.simulated_study import class_names


def built(path: Path) -> tuple[Mapping[str, Any], str]:
    values = parameters.build(Material(load_study(path), "2026-03-02T12:00:00+00:00"))
    return values, str(render_part("sections/parameters.html.j2", {"s": values}))


@pytest.fixture(scope="module")
def study(make_study: MakeStudy) -> Path:
    return make_study(trials=60, absent=("Fray",))


@pytest.fixture(scope="module")
def page(study: Path) -> tuple[Mapping[str, Any], str]:
    return built(study)


def test_all_parts_are_there(page: tuple[Mapping[str, Any], str]) -> None:
    values, html = page
    assert [one["name"] for one in values["importances"]] == [
        *("ped_anova", "fanova", "mean_decrease_impurity")
    ]
    assert all(one["drawing"].figure is not None for one in values["importances"])
    assert "Not told: Fray" in values["importances"][0]["drawing"].note
    assert len(values["slices"]) == 6
    assert len(values["contours"]["drawings"]) == 3
    assert [one["name"] for one in values["tradeoffs"]] == [
        *("parameters", "gflops", "activation_mb", "seconds")
    ]
    assert 'id="importance-fanova"' in html
    assert 'id="slice-5"' in html
    assert 'id="contour-2"' in html
    assert values["fronts"] == {}


def test_the_script_has_the_trials_of_the_figures(page: tuple[Mapping[str, Any], str]) -> None:
    values, html = page
    trials = values["trials"]
    lines = values["parallel"].figure.data[0].dimensions
    assert [target["name"] for target in trials["targets"]] == [
        *("Mean foreground Dice", "Blowhole", "Break", "Crack", "Fray", "Uneven")
    ]
    assert len(lines) == len(trials["fields"]) + len(trials["targets"])
    for field, line in zip(trials["fields"], lines, strict=False):
        assert field["places"] == pytest.approx(line["values"], abs=1e-4)
    assert (
        set(trials["targets"][4]["values"]) == {None, 0.0} or None in trials["targets"][4]["values"]
    )
    for drawing in values["slices"]:
        for trace in drawing.figure.data:
            rows = [
                n
                for n, k in zip(trials["numbers"], trials["kinds"], strict=True)
                if k == trace.name
            ]
            assert rows == list(trace.customdata)
    source = html.split('id="parameter-trials">')[1].split("</script>")[0]
    assert json.loads(source) == trials


def test_a_wider_range_is_yaml(make_study: MakeStudy) -> None:
    path = _crowded(make_study(trials=60, epochs=2, prune=False, running=0))
    edges = edge_part(load_study(path))
    assert "the high end of num_layers" in edges["says"]
    assert [cell["text"] for cell in edges["rows"][0]][:2] == ["model.num_layers", "high"]
    loaded = yaml.safe_load(edges["yaml"])
    assert loaded["model"]["num_layers"]["int"][1] > 6
    assert loaded["train"]["loss"]["choice"][0] == "cross_entropy_dice"


def _crowded(path: Path) -> Path:
    """Let the best tenth of the trials have the most levels, and no other."""
    best = sorted(
        (trial for trial in load_study(path).trials if trial.value is not None),
        key=lambda trial: -(trial.value or 0),
    )
    for place, trial in enumerate(best):
        told = json.loads((trial.path / "trial.json").read_text())
        told["params"]["model.num_layers"] = 6 if place < 6 else 3 + place % 3
        (trial.path / "trial.json").write_text(json.dumps(told))
    return path


def test_edges_in_words() -> None:
    names = {"a.x": "x", "a.y": "y", "a.z": "z"}
    crowd = {"parameter": "a.x", "end": "low", "why": "best trials", "wider": "1 to 3"}
    lone = {"parameter": "a.y", "end": "high", "why": "incumbent", "wider": None}
    assert edge_words([crowd, lone], names) == (
        "The best trials crowd the low end of x; the best trial is at the high end of y: search "
        "further there. No wider can be: y."
    )
    assert edge_words([lone], names) == (
        "The best trial is at the high end of y: there the range can be no wider."
    )


@pytest.mark.parametrize(
    "options",
    [
        {"trials": 0},
        {"trials": 1, "running": 0},
        {"trials": 2, "running": 2},
        {"trials": 3, "running": 0, "states": dict.fromkeys(range(3), "FAIL")},
        {"trials": 5, "running": 0, "states": dict.fromkeys(range(5), "PRUNED")},
    ],
)
def test_studies_with_little_in_them_say_why(
    make_study: MakeStudy, options: dict[str, object]
) -> None:
    values, html = built(make_study(**options))
    assert values["importances"][0]["drawing"].figure is None
    assert "Importances need at least 10 COMPLETE trials" in html
    assert values["contours"]["reason"].startswith("The most important fields are not known.")
    assert values["edges"]["rows"] == []
    assert "nan" not in html.replace("name", "").lower().split('id="parameter-trials"')[0]


def test_thirty_classes_have_one_axis_and_the_forests_tell_the_mean(make_study: MakeStudy) -> None:
    path = make_study(trials=30, epochs=3, classes=class_names(30), prune=False)
    material = Material(load_study(path), "")
    trials = parameters.trials_json(material.tables)
    assert trials["one_class"]
    assert len(trials["targets"]) == 30
    found = importance_table(material.study, "mean_decrease_impurity", classes=False)
    forest = importance_part(material.study, found)["drawing"]
    assert forest.figure.data[0].z.shape[0] == 1
    assert "only PED-ANOVA is told class by class" in forest.note


def test_hostile_names_are_text(make_study: MakeStudy) -> None:
    values, html = built(make_study(trials=6, classes=HOSTILE_CLASSES))
    assert "<script>alert" not in html
    assert "<img" not in html
    names = [target["name"] for target in values["trials"]["targets"]]
    assert names[1:] == list(HOSTILE_CLASSES[1:])


def test_old_records_and_tables(make_study: MakeStudy) -> None:
    path = make_study(trials=6, schema="first")
    _, html = built(path)
    assert "Dice against cost" in html
    frames = parameters.frames(Material(load_study(path), ""))
    assert set(frames) >= {"importances", "best_trials_have", "range_edges", "front_seconds"}
    assert len(frames["best_trials_have"]) == 6
    assert "evaluator" in frames["importances"]
