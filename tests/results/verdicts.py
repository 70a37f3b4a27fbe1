"""Studies with a hand-made best config and baseline, for what the verdict says of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from results.analysis.baseline_comparison import BaselineComparison, contest
from results.analysis.confirmation import Confirmation, ConfirmationPlan, PlannedConfig, Run
from results.analysis.ranking import ranking_table
from results.records.evaluation import Evaluation
from results.records.schemas import TrialState
from results.records.study import StudyRecord, TrialRecord, load_study
from tests.results.counted import CLASSES, counted
from tests.results.simulated_study import FINGERPRINT

MakeStudy = Callable[..., Path]
Cells = Sequence[tuple[int, int, int]]

BETTER: Cells = ((0, 0, 40), (1, 1, 40), (1, 0, 20))  # Crack: 80 / (80 + 20)
WORSE: Cells = ((0, 0, 40), (1, 1, 30), (1, 0, 30))  # Crack: 60 / (60 + 30)
FRAY: Cells = ((0, 0, 50), (2, 2, 25), (2, 0, 25))  # Fray: 50 / (50 + 25)


def studied(make_study: MakeStudy, **options: object) -> StudyRecord:
    """A study of three trials of Crack and Fray; number 0 is the baseline."""
    given: dict[str, object] = {
        "trials": 3,
        "running": 0,
        "classes": CLASSES,
        "states": dict.fromkeys(range(3), "COMPLETE"),
    }
    return load_study(make_study(**(given | options)))


def best_of(study: StudyRecord) -> TrialRecord:
    """Its incumbent, which there must be."""
    assert study.incumbent is not None
    return study.incumbent


def cut_short(study: StudyRecord, state: TrialState) -> StudyRecord:
    """The study with a baseline that has ended so after three epochs."""
    baseline = replace(study.trials[0], state=state, epochs=3)
    return replace(study, trials=(baseline, *study.trials[1:]))


def scored(trial: TrialRecord, crack: Cells, groups: int = 6, **facts: object) -> Evaluation:
    """A trial's model: each group shows Crack alike, the first one has an image of Fray too."""
    images = {f"valid/{i}": list(crack) for i in range(groups)} | {"valid/fray": list(FRAY)}
    of_group = {f"valid/{i}": f"g{i}" for i in range(groups)} | {"valid/fray": "g0"}
    given: dict[str, object] = {
        "name": f"trial-{trial.number:05d}",
        "trial": trial.number,
        "epoch": trial.best_epoch,
        "fingerprint": FINGERPRINT,
    }
    return counted(images, of_group, **(given | facts))  # type: ignore[arg-type]


def scored_contest(
    study: StudyRecord, best: Cells = BETTER, baseline: Cells = WORSE
) -> BaselineComparison:
    """The incumbent against the baseline, both scored."""
    models = [scored(best_of(study), best), scored(study.trials[0], baseline)]
    return contest(study, models)


def confirmed(
    study: StudyRecord, cells: dict[int, Cells], seeds: int = 2, folds: int | None = None
) -> Confirmation:
    """A finished confirmation of configs by trial, all seeds of one alike."""
    by_number = {trial.number: trial for trial in study.trials}
    configs = tuple(
        PlannedConfig(trial=n, baseline=by_number[n].baseline, value=by_number[n].value)
        for n in cells
    )
    plan = ConfirmationPlan(top=len(cells), seeds=seeds, folds=folds, configs=configs)
    evaluations = {
        run: scored(by_number[run.trial], cells[run.trial], split="test", seed=run.seed)
        for run in replace_folds(plan).runs
    }
    of_trial = {n: [e for run, e in evaluations.items() if run.trial == n] for n in cells}
    ranking = ranking_table(configs, of_trial, seeds=seeds, classes=study.classes)
    incumbent = int(ranking["trial"].iloc[0])
    return Confirmation(study.path, plan, evaluations, {}, (), ranking, incumbent)


def replace_folds(plan: ConfirmationPlan) -> ConfirmationPlan:
    """The plan without folds."""
    return plan.model_copy(update={"folds": None})


def unfinished(confirmation: Confirmation) -> Confirmation:
    """The same while its last training is missing."""
    runs = list(confirmation.evaluations)
    left: dict[Run, Evaluation] = {run: confirmation.evaluations[run] for run in runs[:-1]}
    return replace(confirmation, evaluations=left, incumbent=None)
