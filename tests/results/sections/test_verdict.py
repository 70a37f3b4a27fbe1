from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from results.analysis.baseline_comparison import contest
from results.pages.page import render_part
from results.records.study import load_study
from results.sections import verdict
from results.sections.material import Material
from results.sections.verdict import Verdict
from tests.results.conftest import HOSTILE_CLASSES, MakeStudy
from tests.results.simulated_confirmation import write_confirmation
from tests.results.simulated_evaluation import write_evaluations
from tests.results.simulated_study import Simulation, class_names, write_study


def material(path: Path) -> Material:
    return Material(load_study(path), "2030-01-01T00:00:00+00:00")


def built(path: Path) -> tuple[dict[str, Any], str]:
    """The section's values and its HTML."""
    values = verdict.build(material(path))
    return values, str(render_part("sections/verdict.html.j2", {"s": values}))


def kinds(values: dict[str, Any]) -> list[str]:
    return [caution.kind for caution in values["cautions"]]


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten trials, scored, three of them and the baseline confirmed over two seeds."""
    simulation = Simulation(trials=10, running=0)
    path = write_study(tmp_path_factory.mktemp("confirmed") / "study", simulation)
    write_evaluations(path, simulation)
    write_confirmation(path, simulation, seeds=2)
    return path


def test_a_confirmed_study_is_measured_on_its_test_split(confirmed: Path) -> None:
    values, html = built(confirmed)
    confirmation = material(confirmed).confirmation
    assert confirmation is not None
    best = confirmation.ranking.iloc[0]

    assert values["headline"]["label"] == (
        "Confirmed mean foreground Dice, test split, mean of 2 seeds"
    )
    assert values["headline"]["score"] == f"{best['mean']:.3f}"
    assert values["headline"]["interval"] == f"{best['low']:.3f} to {best['high']:.3f}"
    assert values["headline"]["trial"] == int(best["trial"])
    assert values["headline"]["caution"] == ""
    assert "not confirmed" not in kinds(values)
    assert [len(row) for row in values["ranking"]["rows"]] == [6] * 4
    assert "Confirmed configs, test split" in html
    assert "An optimistic number." not in html


def test_its_tables_are_for_files_too(confirmed: Path) -> None:
    frames = verdict.frames(material(confirmed))

    assert set(frames) == {
        *("best_against_baselines", "best_parameters", "cost", "cautions", "confirmation"),
    }
    assert len(frames["best_against_baselines"]) == 8  # six classes, two means
    assert frames["best_against_baselines"]["low"].notna().any()


def test_a_scored_study_has_intervals_and_a_caution(tmp_path: Path) -> None:
    simulation = Simulation(trials=6, running=0)
    path = write_study(tmp_path / "study", simulation)
    write_evaluations(path, simulation)
    values, html = built(path)

    assert "at the images’ own size" in values["headline"]["label"]
    assert values["headline"]["interval"]
    assert "An optimistic number." in html
    assert "not scored" not in kinds(values)
    rows = values["against"][0]["rows"]
    assert [row["name"] for row in rows][-1] == "background"
    assert all(row["interval"] for row in rows)


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    simulation = Simulation(trials=4, running=0)
    path = write_study(tmp_path / "study", simulation)
    (path / "evaluation").mkdir()
    (path / "evaluation" / "valid-trial-00001.npz").write_bytes(b"torn")
    (path / "confirm").mkdir()
    (path / "confirm" / "confirm.json").write_text('{"format": 7}')
    values, _ = built(path)
    told = next(caution for caution in values["cautions"] if caution.kind == "scores left out")

    plan = next(caution for caution in values["cautions"] if caution.kind == "trainings left out")

    assert "valid-trial-00001.npz" in told.text
    assert "confirm/confirm.json" in plan.text
    assert plan.action.startswith("Move the folder confirm/ away")
    assert values["headline"]["score"] != "–"
    assert values["ranking"] is None


def test_problems_of_an_unfinished_confirmation_are_told(tmp_path: Path) -> None:
    simulation = Simulation(trials=4, running=0)
    path = write_study(tmp_path / "study", simulation)
    first = write_confirmation(path, simulation, seeds=1, top=1)[0]
    (path / "confirm" / "runs" / first / "evaluation.npz").write_bytes(b"torn")
    values, html = built(path)
    told = next(caution for caution in values["cautions"] if caution.kind == "trainings left out")

    assert first in told.text
    assert told.action == "Run flexunet-search confirm STUDY_DIR again."
    assert "Nothing to warn of" not in html


def test_a_confirmation_at_the_prepared_size_says_so(confirmed: Path) -> None:
    whole = Verdict(material(confirmed)).confirmation[0]
    assert whole is not None
    models = {run: replace(one, resolution="prepared") for run, one in whole.evaluations.items()}
    prepared = replace(whole, evaluations=models)
    study = load_study(confirmed)
    told = verdict.ranking(contest(study, [], prepared), prepared)
    native = verdict.ranking(contest(study, [], whole), whole)

    assert told is not None
    assert native is not None
    assert "It was scored at the size of the prepared data" in told["says"]
    assert "prepared data" not in native["says"]


def test_an_end_where_the_incumbent_alone_lies_is_no_advice(
    make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [("a.x", "best trials", "0 to 9"), ("a.y", "incumbent", "0 to 5")]
    table = pd.DataFrame(rows, columns=["parameter", "why", "wider"])
    monkeypatch.setattr(verdict, "edges_table", lambda _: SimpleNamespace(table=table))
    values, _ = built(make_study(trials=4, running=0))
    told = next(caution for caution in values["cautions"] if caution.kind == "edge of the range")

    assert told.action == "Search wider next: a.x: 0 to 9."


def test_without_a_baseline_the_key_has_none(make_study: MakeStudy) -> None:
    assert 'class="tick"' in built(make_study(trials=6, running=0))[1]
    assert 'class="tick"' not in built(make_study(trials=1, running=0))[1]


def test_nothing_is_praised_where_nothing_was_confirmed(make_study: MakeStudy) -> None:
    values = built(make_study(trials=0))[0] | {"cautions": ()}
    confirmed_values = values | {"confirmed": True}
    praise = "Nothing to warn of"

    assert praise not in str(render_part("sections/verdict.html.j2", {"s": values}))
    assert praise in str(render_part("sections/verdict.html.j2", {"s": confirmed_values}))


@pytest.mark.parametrize(
    "options",
    [
        {"trials": 0},
        {"trials": 1, "running": 0},
        {"trials": 3, "running": 0, "states": dict.fromkeys(range(3), "FAIL")},
        {"trials": 4, "schema": "first"},
        {"trials": 4, "classes": ("background", "a"), "absent": ("a",)},
        {"trials": 4, "classes": class_names(30)},
    ],
    ids=["none", "one", "failed", "old", "undefined", "thirty"],
)
def test_any_study_has_a_verdict(make_study: MakeStudy, options: dict[str, object]) -> None:
    values, html = built(make_study(**options))

    assert values["headline"]["statement"]
    assert (values["headline"]["score"] == "–") == (not values["against"])
    assert "nan" not in html


def test_a_searched_study_says_what_the_baseline_has(make_study: MakeStudy) -> None:
    path = make_study(trials=6, running=0)
    values, html = built(path)
    study = load_study(path)
    assert study.incumbent is not None

    assert values["headline"]["score"] == f"{study.incumbent.value:.3f}"
    assert values["headline"]["baselines"] == ["0.000 baseline “reference”, trial 0"]
    assert "not scored" in kinds(values)
    assert html.count("<table") == 2
    assert values["parameters"][0]["name"] == "model.num_layers"


def test_several_baselines_can_be_switched(make_study: MakeStudy) -> None:
    path = make_study(trials=8, running=0)
    for number in (1, 2):
        file = path / "trials" / f"{number:05d}" / "trial.json"
        text = file.read_text().replace('"baseline": null', f'"baseline": "other {number}"')
        file.write_text(text)
    values, html = built(path)
    names = [one["name"] for one in values["against"]]

    assert sorted(names) == ["“other 1”", "“other 2”", "“reference”"]
    assert html.count("data-show=") == 3
    assert html.count(" hidden>") == 2


def test_hostile_classes_are_text(make_study: MakeStudy) -> None:
    _, html = built(make_study(trials=4, running=0, classes=HOSTILE_CLASSES))

    assert "<script" not in html
    assert "<img" not in html
    assert "{{ 7*7 }}" in html
