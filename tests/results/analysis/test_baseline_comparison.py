from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from results.analysis.baseline_comparison import MOST_BASELINES, contest
from tests.results.conftest import MakeStudy
from tests.results.verdicts import BETTER, WORSE, best_of, confirmed, scored, studied, unfinished


def test_without_a_result_there_is_no_best(make_study: MakeStudy) -> None:
    found = contest(studied(make_study, trials=0, states={}))

    assert found.best is None
    assert (found.source, found.baselines, found.evaluation) == ("search", (), None)


def test_unscored_it_is_the_searchs_own_epochs(make_study: MakeStudy) -> None:
    study = studied(make_study)
    found = contest(study)
    best = best_of(study)

    assert found.source == "search"
    assert found.best is not None
    assert found.best.trial is best
    assert found.best.dice.tolist() == best.curve.dice[best.best_row].tolist()
    assert [each.trial.number for each in found.baselines] == [0]
    assert found.best.found is None


def test_scored_models_are_measured_alike(make_study: MakeStudy) -> None:
    study = studied(make_study)
    best = best_of(study)
    found = contest(study, [scored(study.trials[0], WORSE), scored(best, BETTER)])

    assert found.source == "scored"
    assert found.best is not None
    assert found.best.dice.tolist() == pytest.approx([580 / 725, 0.8, 2 / 3])
    assert found.baselines[0].dice[1] == pytest.approx(2 / 3)
    assert found.ranking is not None
    assert found.ranking["trial"].tolist() == [best.number, 0]
    assert not found.missing


def test_a_baseline_that_was_not_scored_is_missing(make_study: MakeStudy) -> None:
    study = studied(make_study)
    found = contest(study, [scored(best_of(study), BETTER)])

    assert found.source == "scored"
    assert not found.baselines
    assert [trial.number for trial in found.missing] == [0]


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"fingerprint": "other"}, "data 'other' instead of"),
        ({"epoch": 1}, "epoch 1 instead of"),
        ({"classes": ("background", "Crack", "Other")}, "classes"),
    ],
)
def test_counts_of_something_else_are_left_out(
    make_study: MakeStudy, facts: dict[str, object], told: str
) -> None:
    study = studied(make_study)
    found = contest(study, [scored(best_of(study), BETTER, 6, **facts)])

    assert found.source == "search"
    assert len(found.problems) == 1
    assert told in found.problems[0]


def test_a_baseline_of_other_images_is_left_out(make_study: MakeStudy) -> None:
    study = studied(make_study)
    models = [scored(best_of(study), BETTER), scored(study.trials[0], WORSE, groups=5)]
    found = contest(study, models)

    assert not found.baselines
    assert "expected the same images" in found.problems[0]


def test_a_finished_confirmation_goes_before_the_search(make_study: MakeStudy) -> None:
    study = studied(make_study)
    own = best_of(study).number
    other = next(t.number for t in study.trials if t.number not in (0, own))
    confirmation = confirmed(study, {own: WORSE, other: BETTER, 0: WORSE})
    found = contest(study, [scored(best_of(study), BETTER)], confirmation)

    assert found.source == "confirmed"
    assert found.best is not None
    assert found.best.trial.number == other
    assert [each.trial.number for each in found.baselines] == [0]
    assert np.isclose(found.best.dice[1], 0.8)
    assert found.evaluation is not None
    assert found.evaluation.split == "test"


def test_one_that_is_not_finished_does_not(make_study: MakeStudy) -> None:
    study = studied(make_study)
    confirmation = unfinished(confirmed(study, {best_of(study).number: BETTER, 0: WORSE}))

    assert contest(study, [], confirmation).source == "search"


def test_at_most_four_baselines_are_compared(make_study: MakeStudy) -> None:
    study = studied(make_study, trials=8, states=dict.fromkeys(range(8), "COMPLETE"))
    best = best_of(study)
    trials = tuple(
        trial if trial is best else replace(trial, baseline=f"number {trial.number}")
        for trial in study.trials
    )
    found = contest(replace(study, trials=trials))

    assert len(found.baselines) == MOST_BASELINES
    values = [each.trial.value or 0.0 for each in found.baselines]
    assert values == sorted(values, reverse=True)
