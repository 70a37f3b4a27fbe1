from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from results.analysis.confirmation import (
    Confirmation,
    ConfirmationPlan,
    PlannedConfig,
    Run,
    load_confirmation,
)
from search.cli.main import app
from search.confirm.confirming import ConfirmationSummary, ConfirmOptions
from tests.results.confirmed import holes, write_plan, write_run
from tests.results.conftest import MakeStudy, make_study  # noqa: F401  (a fixture)

CONFIGS = (PlannedConfig(trial=4, value=0.5), PlannedConfig(trial=0, value=0.1, baseline="recipe"))


@pytest.fixture
def study(make_study: MakeStudy) -> Path:  # noqa: F811
    """A confirmation in which trial 4 is the best; one of its trainings is missing."""
    path = make_study(trials=6, classes=("background", "hole"))
    plan = ConfirmationPlan(top=1, seeds=2, configs=CONFIGS)
    write_plan(path, plan)
    for run in plan.runs:
        found = 9 if run.trial == 4 else 2
        counts = holes({"a": (found, 0, 10 - found), "b": (found, 0, 10 - found)})
        write_run(path, run, counts if run != Run(4, 1) else None)
    return path


def finish(study: Path) -> Confirmation:
    write_run(study, Run(4, 1), holes({"a": (9, 0, 1), "b": (9, 0, 1)}))
    return known(study)


def known(study: Path) -> Confirmation:
    found = load_confirmation(study)
    assert found is not None
    return found


def call(
    monkeypatch: pytest.MonkeyPatch, outcome: ConfirmationSummary, *arguments: object
) -> tuple[int, str, list[Any]]:
    """The command, with an outcome as if it had run."""
    asked: list[Any] = []

    def confirm_study(
        study: Path, options: ConfirmOptions, observer: Any, progress: Any
    ) -> ConfirmationSummary:
        asked.extend([study, options])
        return outcome

    monkeypatch.setattr("search.confirm.confirming.confirm_study", confirm_study)
    done = CliRunner().invoke(app, ["confirm", *map(str, arguments)])
    return done.exit_code, done.output, asked


def test_the_ranking_is_printed_with_intervals_and_what_comes_next(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = ConfirmationSummary(finish(study), 60.0, None, 0)
    code, text, asked = call(monkeypatch, outcome, study, "--seeds", 2, "--set", "resources.x=1")
    assert code == 0
    first, second, *rest = text.splitlines()
    assert first == "trial 4: 0.9474 (95 %: 0.9474 to 0.9474), 2 seeds; hole 0.95"
    assert second == "trial 0 (recipe): 0.3333 (95 %: 0.3333 to 0.3333), 2 seeds; hole 0.33"
    assert rest[0].startswith("trial 4 confirmed best: 0.9474")
    assert f"next: flexunet-search export {study} {study / 'best'}" in rest
    assert asked == [study, ConfirmOptions(None, 2, None, ("resources.x=1",), False)]


def test_an_early_end_says_so_and_keeps_its_exit_code(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = ConfirmationSummary(known(study), 60.0, "SIGINT", 130)
    code, text, _ = call(monkeypatch, outcome, study, "--address", "auto", "--take-over")
    assert code == 130
    assert "stopped: SIGINT; not finished; the same command continues it" in text
    assert "not finished: 3 of 4 trainings have ended" in text
    assert "trial 4: 0.9474 (95 %: 0.9474 to 0.9474), 1 seed; hole 0.95" in text


def test_a_url_is_refused_with_what_to_do() -> None:
    done = CliRunner().invoke(app, ["confirm", "s3://bucket/study"])
    assert done.exit_code == 1
    assert "received a URL: copy the study into one" in str(done.exception)
