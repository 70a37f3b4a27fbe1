from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from results.analysis.confirmation import (
    EVALUATION,
    FOLDER,
    PLAN,
    ConfirmationPlan,
    PlannedConfig,
    Run,
    load_confirmation,
    load_plan,
    run_folder,
)
from results.records.study import RecordError
from tests.results.confirmed import holes, write_plan, write_run
from tests.results.conftest import MakeStudy

# Truth: 10 pixels in each image.
GOOD = {"a": (9, 0, 1), "b": (8, 0, 2)}  # 34 / 37
FAIR = {"a": (8, 0, 2), "b": (4, 0, 6)}  # 24 / 32
POOR = {"a": (5, 0, 5), "b": (0, 0, 10)}  # 10 / 25

CONFIGS = (
    PlannedConfig(trial=7, value=0.6, params={"model.num_layers": 3}),
    PlannedConfig(trial=4, value=0.5),
    PlannedConfig(trial=0, value=0.1, baseline="recipe"),
)
PLAN_OF_TWO = ConfirmationPlan(top=2, seeds=2, configs=CONFIGS)


@pytest.fixture
def study(make_study: MakeStudy, tmp_path: Path) -> Path:
    made = make_study(trials=8, classes=("background", "hole"))
    return Path(shutil.copytree(made, tmp_path / "study"))


def fill(study: Path, plan: ConfirmationPlan = PLAN_OF_TWO) -> None:
    """All trainings done: trial 4 is the best, 7 is close to it, 0 far."""
    write_plan(study, plan)
    for run in plan.runs:
        counts = {4: GOOD, 7: FAIR, 0: POOR}[run.trial]
        write_run(study, run, holes(counts), validation=0.5 - 0.1 * run.seed)


def test_a_study_that_was_never_confirmed_has_none(study: Path) -> None:
    assert load_confirmation(study) is None
    assert load_plan(study) is None


def test_the_best_over_all_seeds_is_the_incumbent(study: Path) -> None:
    fill(study)
    found = load_confirmation(study)
    assert found is not None
    assert found.incumbent == 4
    assert found.ranking["trial"].tolist() == [4, 7, 0]
    assert found.ranking["mean"].tolist() == pytest.approx([34 / 37, 24 / 32, 10 / 25])
    assert found.missing == ()
    assert found.problems == ()
    said = "\n".join(found.verdict())
    assert "trial 4 confirmed best: 0.9189" in said
    assert "2 seeds, test split" in said
    assert "+0.5189 against the baseline recipe" in said
    assert "not distinguishable" not in said


def test_a_tie_within_the_intervals_is_said(study: Path) -> None:
    fill(study)
    for seed in range(2):  # better than trial 4 in b, worse in a
        write_run(study, Run(7, seed), holes({"a": (7, 0, 3), "b": (9, 0, 1)}))
    found = load_confirmation(study)
    assert found is not None
    assert found.incumbent == 4
    assert "not distinguishable from trial 7" in found.verdict()


def test_there_is_no_incumbent_before_all_trainings_have_ended(study: Path) -> None:
    fill(study)
    (run_folder(study, Run(7, 1)) / EVALUATION).unlink()
    found = load_confirmation(study)
    assert found is not None
    assert found.incumbent is None
    assert found.missing == (Run(7, 1),)
    assert found.verdict() == ("not finished: 5 of 6 trainings have ended",)


def test_a_config_with_a_failed_training_is_never_the_incumbent(study: Path) -> None:
    fill(study)
    (run_folder(study, Run(4, 1)) / EVALUATION).unlink()
    write_run(study, Run(4, 1), None, failed="NonFiniteLoss: the loss is nan")
    found = load_confirmation(study)
    assert found is not None
    assert found.incumbent == 7
    assert found.failed == {Run(4, 1): "NonFiniteLoss: the loss is nan"}
    assert "trial-00004-seed-1 failed: NonFiniteLoss: the loss is nan" in found.verdict()


def test_the_model_to_use_is_chosen_by_validation_never_by_the_test(study: Path) -> None:
    fill(study)
    write_run(study, Run(4, 1), holes({"a": (0, 0, 10), "b": (0, 0, 10)}), validation=0.9)
    found = load_confirmation(study)
    assert found is not None
    assert found.best_run(4) == Run(4, 1)
    assert found.best_run(7) == Run(7, 0)
    assert found.best_run(99) is None


def test_folds_of_a_seed_are_joined_and_a_seed_counts_when_it_has_all(study: Path) -> None:
    plan = ConfirmationPlan(top=1, seeds=2, folds=3, configs=CONFIGS[:1])
    write_plan(study, plan)
    counts = [(9, 0, 1), (5, 0, 5), (1, 0, 9)]
    for run in plan.runs:
        assert run.fold is not None
        scored = holes({f"image-{run.fold}": counts[run.fold]}, fold=run.fold)
        write_run(study, run, scored)
    found = load_confirmation(study)
    assert found is not None
    assert found.incumbent == 7
    assert found.ranking["mean"][0] == pytest.approx(30 / 45)
    joined = found.of_trial(7)
    assert [each.name for each in joined] == ["trial-00007-seed-0", "trial-00007-seed-1"]
    assert joined[0].images == ("image-0", "image-1", "image-2")
    assert any("slightly optimistic" in line for line in found.verdict())
    assert plan.runs[1].name == "trial-00007-seed-0-fold-1"

    (run_folder(study, Run(7, 1, 2)) / EVALUATION).unlink()
    found = load_confirmation(study)
    assert found is not None
    assert [each.name for each in found.of_trial(7)] == ["trial-00007-seed-0"]


def test_counts_that_compare_with_none_are_told_and_left_out(study: Path) -> None:
    fill(study)
    write_run(study, Run(7, 0), holes(GOOD | {"c": (1, 0, 0)}, name="trial-00007-seed-0"))
    write_run(study, Run(4, 1), None)
    (run_folder(study, Run(4, 1)) / EVALUATION).write_bytes(b"no npz")
    found = load_confirmation(study)
    assert found is not None
    assert set(found.missing) == {Run(4, 1), Run(7, 0)}
    assert any("expected the counts of a model" in problem for problem in found.problems)
    assert any("expected the same images" in problem for problem in found.problems)


def test_counts_at_the_images_own_size_stand_against_others(study: Path) -> None:
    fill(study)
    first = PLAN_OF_TWO.runs[0]
    small = holes({"a": (2, 0, 0), "b": (2, 0, 0)}, resolution="prepared")
    write_run(study, first, small)
    found = load_confirmation(study)
    assert found is not None
    assert found.missing == (first,)
    assert "confirm again" in found.problems[0]
    assert first.name in found.problems[0]


def test_folds_at_another_size_than_the_others_are_not_joined_with_them(study: Path) -> None:
    plan = ConfirmationPlan(top=1, seeds=1, folds=3, configs=CONFIGS[:1])
    write_plan(study, plan)
    for run in plan.runs:
        size = "prepared" if run.fold == 1 else "native"
        counts = holes({f"image-{run.fold}": (9, 0, 1)}, fold=run.fold, resolution=size)
        write_run(study, run, counts)
    found = load_confirmation(study)
    assert found is not None
    assert (found.missing, found.incumbent) == ((Run(7, 0, 1),), None)


def test_scores_at_the_size_of_the_prepared_data_are_said_to_be(study: Path) -> None:
    fill(study)
    found = load_confirmation(study)
    assert found is not None
    assert not any("prepared data" in line for line in found.verdict())
    for run in PLAN_OF_TWO.runs:
        write_run(study, run, holes(GOOD, resolution="prepared"))
    found = load_confirmation(study)
    assert found is not None
    assert found.missing == ()
    assert any("at the size of the prepared data" in line for line in found.verdict())


def test_a_broken_plan_is_an_error_that_names_it(study: Path) -> None:
    write_plan(study, PLAN_OF_TWO)
    (study / FOLDER / PLAN).write_text('{"format": 1, "top": 0, "seeds": 2}', encoding="utf-8")
    with pytest.raises(RecordError, match=r"confirm/confirm\.json: top: .*greater than or equal"):
        load_confirmation(study)
