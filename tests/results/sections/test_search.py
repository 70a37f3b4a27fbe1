from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from results.analysis.convergence import Convergence, Tail
from results.analysis.savings import Savings
from results.records.proposals import Untrained
from results.records.study import load_study
from results.sections import search
from results.sections.material import Material
from results.sections.outlook import outlook, percent, pruning
from tests.results.conftest import MakeStudy


def build(path: Path) -> Any:
    return search.build(Material(load_study(path), "2026-03-02T12:00:00+00:00"))


def forecast(probability: float, since: int = 7) -> Convergence:
    row = {"more": 20, "probability": probability, "low": 0.001, "high": 0.9}
    table = pd.DataFrame([row | {"expected_gain": 0.004, "any_gain": 0.25}])
    return Convergence(table, 60, Tail(0.4, 0.2, 6, 0.1), 0.01, since, 90)


@pytest.mark.parametrize(
    ("probability", "words"), [(0.05, "hardly worth"), (0.2, "may be"), (0.7, "are likely worth")]
)
def test_the_advice_follows_the_probability(probability: float, words: str) -> None:
    found = outlook(forecast(probability))
    assert words in found["says"]
    assert f"{100 * probability:.0f} % (< 1 % to 90 %)" in found["says"]
    assert found["says"].endswith("7 trials (90 epochs) since the best were no better.")
    assert "exponential" in found["note"]
    assert found["rows"][0][0]["text"] == "20"


def test_next_to_no_chance_is_said_in_short() -> None:
    table = forecast(0.002).table.assign(high=0.003, expected_gain=0.0001)
    said = outlook(Convergence(table, 60, Tail(0.4, 0.2, 6, 0.1), 0.01, 7, 90))["says"]
    assert "with a probability of < 1 %, by < 0.001 in the mean" in said


def test_what_cannot_be_forecast_says_why() -> None:
    nothing = Convergence(pd.DataFrame(), 3, None, 0.01, 0, 0, reason="Too few trials: 3.")
    found = outlook(nothing)
    assert found["rows"] == []
    assert found["says"] == (
        "Whether more trials are worth it cannot be told: too few trials: 3. "
        "No later trial has ended."
    )


def test_certainty_is_never_claimed() -> None:
    assert [percent(p) for p in (0.0, 0.001, 0.5, 0.999, 1.0)] == [
        *("0 %", "< 1 %", "50 %", "> 99 %", "100 %")
    ]


def test_what_pruning_saved_is_told_in_epochs_and_hours() -> None:
    table = pd.DataFrame({"number": [1, 2]})
    found = pruning(Savings(table, 100, 3600.0, 50, 1800.0, 1 / 3, 12.34))
    assert found["says"] == (
        "Pruning spared 50 epochs of 2 trials, 30 min of worker time: 33 % of what the study "
        "would have taken without it."
    )
    assert ("Trials an hour", "12.3", "finished, pauses left out") in found["facts"]
    untimed = pruning(Savings(table, 100, 0.0, 50, 0.0, float("nan"), float("nan")))
    assert untimed["says"] == "Pruning spared 50 epochs of 2 trials."


def test_proposals_without_a_trial_are_told() -> None:
    assert search.untrained_text(Untrained(0, {}, 0)) == ""
    text = search.untrained_text(Untrained(3, {"max_parameters": 3}, 1))
    assert text.startswith("Not trained: 3 proposals refused: 3 by max_parameters; 1 duplicate")


@pytest.mark.parametrize(
    "options",
    [
        {"trials": 0},
        {"trials": 1, "running": 0},
        {"trials": 3, "running": 3},
        {"trials": 3, "running": 0, "states": dict.fromkeys(range(3), "FAIL")},
        {"trials": 6, "running": 0, "schema": "first"},
        {"trials": 6, "running": 0, "classes": ("background", "a"), "absent": ("a",)},
    ],
)
def test_any_study_has_its_section(make_study: MakeStudy, options: dict[str, Any]) -> None:
    built = build(make_study(**options))
    drawings = [built[name] for name in ("curves", "class_curves", "loss", "timeline")]
    for drawing in [*drawings, *(history["drawing"] for history in built["histories"])]:
        assert drawing.figure is not None or drawing.note.endswith(".")
    assert built["outlook"]["says"].endswith(".")
    assert built["pruning"]["says"].endswith(".")


def test_every_figure_says_what_it_shows(study_dir: Path) -> None:
    built = build(study_dir)
    names = ("curves", "class_curves", "loss", "timeline", "utilisation")
    drawings = [built[name] for name in names] + [h["drawing"] for h in built["histories"]]
    assert all(d.says.endswith(".") and d.note for d in drawings)
    best = load_study(study_dir).incumbent
    assert best is not None
    assert all(f"trial {best.number}," in h["drawing"].says for h in built["histories"])


def test_tables_are_written_with_their_names(study_dir: Path) -> None:
    frames = search.frames(Material(load_study(study_dir), ""))
    assert {"history", "timeline", "utilisation", "savings", "convergence"} <= set(frames)
