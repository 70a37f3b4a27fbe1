from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
import pytest

from results.analysis.baseline_comparison import contest
from results.analysis.convergence import Convergence, convergence
from results.records.schemas import TrialState
from results.records.study import StudyRecord
from results.warnings import Caution, Evidence, cautions, cautions_table
from tests.results.conftest import MakeStudy
from tests.results.verdicts import (
    BETTER,
    WORSE,
    best_of,
    confirmed,
    cut_short,
    scored,
    scored_contest,
    studied,
    unfinished,
)


def told(findings: Evidence) -> Mapping[str, Caution]:
    return {caution.kind: caution for caution in cautions(findings)}


def of(study: StudyRecord, **changes: object) -> Mapping[str, Caution]:
    return told(
        replace(
            Evidence(contest(study), convergence(study)),
            **changes,  # type: ignore[arg-type]
        )
    )


def test_an_unscored_short_search_is_told_as_such(make_study: MakeStudy) -> None:
    found = of(studied(make_study))

    assert "chosen among 3 validation scores" in found["not confirmed"].text
    assert "flexunet-search confirm STUDY_DIR" in found["not confirmed"].action
    assert "flexunet-search score STUDY_DIR" in found["not scored"].action
    assert "2 scored trials for 6 searched fields" in found["few trials"].text
    assert not {"leak", "no baseline", "running", "failures", "not converged"} & found.keys()


@pytest.mark.parametrize(
    ("state", "action"),
    [
        ("PRUNED", "search.prune_baselines: false"),
        ("RUNNING", "Run the search again"),
        ("FAIL", "See error.txt"),
    ],
)
def test_a_baseline_that_was_not_trained_in_full_is_told(
    make_study: MakeStudy, state: TrialState, action: str
) -> None:
    found = of(cut_short(studied(make_study), state))["short baseline"]

    assert found.text.startswith("Not trained in full: baseline “reference”.")
    assert action in found.action


def test_a_baseline_that_was_trained_in_full_needs_no_caution(make_study: MakeStudy) -> None:
    assert "short baseline" not in of(studied(make_study))
    assert "short baseline" not in of(cut_short(studied(make_study), "COMPLETE"))


def test_a_leak_comes_first(make_study: MakeStudy) -> None:
    study = studied(make_study, leak=True)
    found = cautions(Evidence(contest(study), convergence(study)))

    assert found[0].kind == "leak"
    assert found[0].bad
    assert "3 groups have images in train and in valid" in found[0].text
    bad = [caution.bad for caution in found]
    assert bad == sorted(bad, reverse=True)


def test_classes_that_few_groups_show(make_study: MakeStudy) -> None:
    study = studied(make_study)
    model = scored(best_of(study), BETTER, groups=4)
    findings = Evidence(contest(study, [model]), convergence(study), validation=model)
    texts = [caution for caution in cautions(findings) if caution.kind == "few groups"]

    assert [caution.text for caution in texts] == [
        "One group of the validation split shows Fray: its Dice is one object's.",
        "Fewer than 5 groups of the validation split show Crack (4): other objects may score "
        "quite differently.",
    ]
    assert [caution.bad for caution in texts] == [True, False]
    assert "--folds 5" in texts[0].action


def test_unscored_the_images_are_counted_instead(make_study: MakeStudy) -> None:
    study = studied(make_study, absent=("Fray",))
    text = of(study)["few groups"].text

    assert text == "Nothing in the validation split shows Fray: not measured there."


def test_five_groups_are_enough(make_study: MakeStudy) -> None:
    study = studied(make_study)
    model = scored(best_of(study), BETTER, groups=5)
    found = told(Evidence(contest(study, [model]), convergence(study), validation=model))

    assert "Crack" not in found["few groups"].text


def test_a_confirmation_ends_the_optimism(make_study: MakeStudy) -> None:
    study = studied(make_study)
    whole = confirmed(study, {best_of(study).number: BETTER, 0: WORSE})
    finished = told(Evidence(contest(study, [], whole), convergence(study), confirmation=whole))
    part = unfinished(whole)
    begun = told(Evidence(contest(study, [], part), convergence(study), confirmation=part))

    assert not {"not confirmed", "not scored"} & finished.keys()
    assert "test split shows Fray" in finished["few groups"].text
    assert "3 of 4 trainings ended" in begun["not confirmed"].text


def test_a_confirmation_without_a_result_is_told(make_study: MakeStudy) -> None:
    study = studied(make_study)
    whole = confirmed(study, {best_of(study).number: BETTER, 0: WORSE})
    failed = dict.fromkeys(whole.evaluations, "out of memory")
    none = replace(whole, evaluations={}, failed=failed, incumbent=None)
    found = told(Evidence(contest(study, [], none), convergence(study), confirmation=none))

    assert "4 trainings failed" in found["not confirmed"].text


def test_prepared_resolution_is_told(make_study: MakeStudy) -> None:
    study = studied(make_study)
    model = scored(best_of(study), BETTER, 6, resolution="prepared")
    found = told(Evidence(contest(study, [model]), convergence(study), validation=model))

    assert "out of reach" in found["resolution"].text
    assert "not scored" not in found
    assert "“reference”" in found["baseline"].text


@pytest.mark.parametrize(("failed", "told_of"), [(1, False), (2, True)])
def test_more_than_a_tenth_of_failures(make_study: MakeStudy, failed: int, told_of: bool) -> None:
    states = dict.fromkeys(range(10), "COMPLETE") | dict.fromkeys(range(1, failed + 1), "FAIL")
    found = of(studied(make_study, trials=10, states=states))

    assert ("failures" in found) is told_of
    if told_of:
        assert "2 of 10 ended trials failed (20 %)" in found["failures"].text


def test_a_baseline_that_is_not_there(make_study: MakeStudy) -> None:
    study = studied(make_study)
    found = of(replace(study, trials=study.trials[1:]))

    assert "search.baselines" in found["no baseline"].action


def test_a_best_epoch_that_is_the_last(make_study: MakeStudy) -> None:
    study = studied(make_study)
    best = best_of(study)

    def at(epoch: int) -> Mapping[str, Caution]:
        changed = replace(best, best_epoch=epoch)
        return of(replace(study, trials=tuple(changed if t is best else t for t in study.trials)))

    assert "its last epoch, 27" in at(27)["still rising"].text
    assert "still rising" not in at(26)


@pytest.mark.parametrize(("probability", "told_of"), [(0.19, False), (0.2, True)])
def test_a_likely_gain_is_not_converged(
    make_study: MakeStudy, probability: float, told_of: bool
) -> None:
    study = studied(make_study)
    row = {"more": 20, "probability": probability, "low": 0.1, "high": 0.4}
    converged = Convergence(pd.DataFrame([row]), 30, None, 0.01, 3, 81)
    found = of(study, converged=converged)

    assert ("not converged" in found) is told_of
    if told_of:
        assert "about 20 % (10 to 40 %)" in found["not converged"].text


def test_what_still_runs_cannot_be_read_or_crowds_an_edge(make_study: MakeStudy) -> None:
    study = studied(make_study, states={2: "RUNNING"})
    found = of(
        study,
        unreadable=[f"{n}.npz: damaged" for n in range(5)],
        unconfirmed=["confirm/runs/a: damaged"],
        edges=["model.num_layers: 3 to 9"],
    )

    assert found["running"].text.startswith("1 trial still runs, or was cut off")
    assert found["scores left out"].bad
    assert "0.npz: damaged; 1.npz: damaged; 2.npz: damaged. And 2 more." in (
        found["scores left out"].text
    )
    assert "flexunet-search score" in found["scores left out"].action
    assert found["trainings left out"].text.endswith("left out: confirm/runs/a: damaged.")
    assert found["trainings left out"].action == "Run flexunet-search confirm STUDY_DIR again."
    assert "model.num_layers: 3 to 9" in found["edge of the range"].action


def test_a_study_with_nothing_in_it_has_nothing_to_warn_of(make_study: MakeStudy) -> None:
    study = replace(studied(make_study, trials=0, states={}), data={})

    assert cautions(Evidence(contest(study), convergence(study))) == ()
    assert cautions_table(()).columns.tolist() == ["kind", "bad", "text", "action"]


def test_the_objective_of_two_scored_models_needs_no_caution(make_study: MakeStudy) -> None:
    study = studied(make_study)
    found = scored_contest(study)

    assert (
        not {"not scored", "resolution", "baseline", "no baseline"}
        & told(Evidence(found, convergence(study), validation=found.evaluation)).keys()
    )
