"""What confirming a study found: its top configs trained again over seeds, scored on new images.

``confirm/`` in a study directory holds the plan (``confirm.json``) and, in ``runs/``, a folder a
training. A training counts once its ``evaluation.npz`` is there; ``failed.json`` says why one never
will be. Intervals are of :mod:`results.analysis.intervals`: groups and seeds drawn again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from results.analysis.alignment import aligned, joined
from results.analysis.ranking import ranking_table
from results.records import file_names
from results.records.epochs import best_of, epochs_in
from results.records.evaluation import Evaluation, EvaluationError
from results.records.schemas import Flips, ParameterValue
from results.records.study import RecordError, StudyRecord, load_study

FOLDER = "confirm"
PLAN = "confirm.json"
RUNS = "runs"
EVALUATION = "evaluation.npz"
FAILED = "failed.json"
MODEL = file_names.MODEL


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class PlannedConfig(_Record):
    """A config that is trained again.

    Attributes:
        trial: The trial of the study that it is from.
        baseline: The baseline's name; None of a sampled trial.
        value: The trial's value in the search, on the validation split.
        params: Its searched fields by dotted name.
    """

    trial: int = Field(ge=0)
    baseline: str | None = None
    value: float | None = None
    params: dict[str, ParameterValue] = {}


class ConfirmationPlan(_Record):
    """What is to be trained: every config over every seed, and over every fold where there are any.

    Attributes:
        created: ISO time.
        top: How many of the study's best configs were asked for.
        seeds: Trainings of each config, numbered from 0.
        folds: K of a cross-validation over groups; None: the test split is scored.
        split: Split that is scored; with folds, that of each fold's store.
        flips: Mirror images whose answers are averaged as it is.
        data_fingerprint: Of the study's data.
        configs: By their value in the search, the best first.
    """

    format: Literal[1] = 1
    created: str = ""
    top: int = Field(ge=1)
    seeds: int = Field(ge=1)
    folds: int | None = Field(None, ge=3)
    split: str = "test"
    flips: Flips = "none"
    data_fingerprint: str | None = None
    configs: tuple[PlannedConfig, ...] = ()

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every training: all configs with one seed before the next seed."""
        folds = (None,) if self.folds is None else tuple(range(self.folds))
        return tuple(
            Run(config.trial, seed, fold)
            for seed in range(self.seeds)
            for config in self.configs
            for fold in folds
        )


@dataclass(frozen=True)
class Run:
    """One training of a confirmation.

    Attributes:
        trial: The config's trial.
        seed: Number of the seed, from 0.
        fold: Number of the fold, from 0; None without folds.
    """

    trial: int
    seed: int
    fold: int | None = None

    @property
    def name(self) -> str:
        """Name of its folder, and of its model's counts."""
        fold = "" if self.fold is None else f"-fold-{self.fold}"
        return f"trial-{self.trial:05d}-seed-{self.seed}{fold}"


@dataclass(frozen=True, eq=False)
class Confirmation:
    """A study's confirmation, finished or not.

    Attributes:
        path: The study directory.
        plan: What was asked for.
        evaluations: Counts of every training that is done, by run.
        failed: Why a training failed for good, by run.
        problems: What could not be read or compared, a sentence each.
        ranking: ``results.analysis.ranking.ranking_table``.
        incumbent: Trial whose config confirmed best; None while trainings are missing, or where
            no config has all of its seeds.
    """

    path: Path
    plan: ConfirmationPlan
    evaluations: Mapping[Run, Evaluation]
    failed: Mapping[Run, str]
    problems: tuple[str, ...]
    ranking: pd.DataFrame
    incumbent: int | None

    @property
    def missing(self) -> tuple[Run, ...]:
        """Trainings that are neither done nor failed, in the order of the plan."""
        ended = self.evaluations.keys() | self.failed.keys()
        return tuple(run for run in self.plan.runs if run not in ended)

    @property
    def resolution(self) -> str | None:
        """native or prepared, as all of its scores are; None before the first."""
        return next((each.resolution for each in self.evaluations.values()), None)

    def of_trial(self, trial: int) -> tuple[Evaluation, ...]:
        """Count of a config, one a seed that is done; the folds of a seed are joined."""
        return _of_trial(self.plan, self.evaluations, trial)

    def best_run(self, trial: int) -> Run | None:
        """Return the training of a config whose model to use: the best by its *validation* value.

        Never by what it scored on the images that confirm it: that would choose by them. Of equals
        the first; None where none is done.
        """
        values = {
            run: value
            for run in self.plan.runs
            if run.trial == trial and run in self.evaluations
            if (value := validation_value(run_folder(self.path, run))) is not None
        }
        return max(values, key=lambda run: values[run], default=None)

    def verdict(self) -> tuple[str, ...]:
        if self.missing:
            total = len(self.plan.runs)
            return (f"not finished: {total - len(self.missing)} of {total} trainings have ended",)
        if self.incumbent is None:
            return ("no config has a score over all of its seeds: nothing is confirmed",)
        return _verdict(self)


def run_folder(study_dir: Path, run: Run) -> Path:
    """Return the folder of a training."""
    return study_dir / FOLDER / RUNS / run.name


def validation_value(folder: Path) -> float | None:
    """Return the objective at the best epoch of a training; None where there is none."""
    best = best_of(epochs_in(folder))
    return None if best is None else best.objective


def load_plan(study_dir: Path) -> ConfirmationPlan | None:
    """Read a study's plan; None where it was never confirmed.

    Raises:
        RecordError: for a plan that cannot be read.
    """
    path = study_dir / FOLDER / PLAN
    try:
        return ConfirmationPlan.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordError(study_dir, [f"{FOLDER}/{PLAN}: cannot be read: {error}"]) from None
    except ValidationError as error:
        problems = [
            f"{FOLDER}/{PLAN}: {'.'.join(map(str, detail['loc']))}: {detail['msg']}"
            for detail in error.errors()[:5]
        ]
        raise RecordError(study_dir, problems) from None


def load_confirmation(
    study_dir: Path | str, study: StudyRecord | None = None
) -> Confirmation | None:
    """Read what confirming a study has found so far.

    Args:
        study_dir: The study directory.
        study: Its records; None: they are read.

    Returns:
        None where the study was never confirmed.

    Raises:
        RecordError: for a plan or a study that cannot be read. A training that cannot be read is
            one of ``problems`` and counts as not done.
    """
    path = Path(study_dir)
    plan = load_plan(path)
    if plan is None:
        return None
    study = study or load_study(path)
    evaluations, failed, problems = _read_runs(path, plan)
    problems += _drop_unlike(plan, evaluations)
    search = study.config.get("search") or {}
    ranking = ranking_table(
        plan.configs,
        {config.trial: _of_trial(plan, evaluations, config.trial) for config in plan.configs},
        seeds=plan.seeds,
        classes=study.classes,
        objective=study.objective,
        weights=search.get("class_weights") or {},
    )
    ended = evaluations.keys() | failed.keys()
    finished = all(run in ended for run in plan.runs)
    best = ranking.loc[ranking["complete"] & ranking["mean"].notna(), "trial"]
    return Confirmation(
        path=path,
        plan=plan,
        evaluations=evaluations,
        failed=failed,
        problems=tuple(problems),
        ranking=ranking,
        incumbent=int(best.iloc[0]) if finished and len(best) else None,
    )


def failure_of(folder: Path) -> str | None:
    """Return why a training failed for good; None where it did not."""
    try:
        return _Failed.model_validate_json((folder / FAILED).read_bytes()).reason
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        return "for a reason that cannot be read"


class _Failed(_Record):
    reason: str


def _read_runs(
    path: Path, plan: ConfirmationPlan
) -> tuple[dict[Run, Evaluation], dict[Run, str], list[str]]:
    evaluations: dict[Run, Evaluation] = {}
    failed: dict[Run, str] = {}
    problems: list[str] = []
    for run in plan.runs:
        folder = run_folder(path, run)
        if (folder / EVALUATION).is_file():
            try:
                evaluations[run] = Evaluation.load(folder / EVALUATION)
                continue
            except EvaluationError as error:
                problems.append(str(error))
        reason = failure_of(folder)
        if reason is not None:
            failed[run] = reason
    return evaluations, failed, problems


def _drop_unlike(plan: ConfirmationPlan, evaluations: dict[Run, Evaluation]) -> list[str]:
    """Take out the counts of other images than their fold's others: they compare with none."""
    problems = _drop_prepared(plan, evaluations)
    for fold in {run.fold for run in evaluations}:
        runs = [run for run in plan.runs if run.fold == fold and run in evaluations]
        reference = _most_alike([evaluations[run] for run in runs])
        for run in runs:
            problem = _unlike(reference, evaluations[run])
            if problem is not None:
                del evaluations[run]
                problems.append(f"{problem}; it is not counted, confirming again scores it anew")
    return problems


def _drop_prepared(plan: ConfirmationPlan, evaluations: dict[Run, Evaluation]) -> list[str]:
    """Take out the counts at the size of the prepared data where others have the images' own."""
    if all(each.resolution == "prepared" for each in evaluations.values()):
        return []
    names = []
    for run in plan.runs:
        if run in evaluations and evaluations[run].resolution == "prepared":
            del evaluations[run]
            names.append(run.name)
    if not names:
        return []
    listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return [
        "not counted, since scored at the size of the prepared data and others at the images' own: "
        f"{listed}; data.source could not be read where they ran: make it readable at that path "
        "on every node and confirm again, which scores them anew"
    ]


def _most_alike(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Return the first of those that most are like."""
    alike: list[list[Evaluation]] = []
    for each in evaluations:
        for others in alike:
            if _unlike(others[0], each) is None:
                others.append(each)
                break
        else:
            alike.append([each])
    return max(alike, key=len)[0]


def _unlike(a: Evaluation, b: Evaluation) -> str | None:
    try:
        aligned(a, b)
    except ValueError as error:
        return str(error)
    return None


def _of_trial(
    plan: ConfirmationPlan, evaluations: Mapping[Run, Evaluation], trial: int
) -> tuple[Evaluation, ...]:
    by_seed = []
    for seed in range(plan.seeds):
        runs = [run for run in plan.runs if (run.trial, run.seed) == (trial, seed)]
        found = [evaluations[run] for run in runs if run in evaluations]
        if runs and len(found) == len(runs):
            whole = found[0] if plan.folds is None else joined(found)
            by_seed.append(replace(whole, name=Run(trial, seed).name))
    return tuple(by_seed)


def _verdict(confirmation: Confirmation) -> tuple[str, ...]:
    plan, ranking = confirmation.plan, confirmation.ranking
    best = ranking.iloc[0]
    how = f"{interval_text(best['low'], best['high'])}, {seeds_text(plan.seeds)}"
    lines = [
        f"trial {int(best['trial'])} confirmed best: {_score(best['mean'])} ({how}, "
        f"{where(plan)}); in the search it had {_score(best['searched'])} on the "
        "validation split"
    ]
    complete = ranking[ranking["complete"]]
    tied = complete.loc[complete["tied"], "trial"].tolist()
    if tied:
        names = ", ".join(str(int(number)) for number in tied)
        lines.append(f"not distinguishable from trial{'s' if len(tied) > 1 else ''} {names}")
    against = ranking["baseline"].notna() & ranking["complete"]
    if best["difference"] == best["difference"]:
        name = ranking.loc[against, "baseline"].iloc[0]
        real = best["difference_low"] > 0
        lines.append(
            f"{best['difference']:+.4f} against the baseline {name} "
            f"({interval_text(best['difference_low'], best['difference_high'])})"
            + ("" if real else ": no difference that these images and seeds could tell")
        )
    if plan.folds is not None:
        lines.append(FOLDS_CAVEAT)
    if confirmation.resolution == "prepared":
        lines.append(PREPARED_CAVEAT)
    lines += [f"{run.name} failed: {reason}" for run, reason in confirmation.failed.items()]
    return tuple(lines)


FOLDS_CAVEAT = (
    "the configs were chosen by scores on some of these images, so a cross-validation is slightly "
    "optimistic against a fresh test split"
)

PREPARED_CAVEAT = (
    "scored at the size of the prepared data: the images themselves could not be read where the "
    "models were trained"
)


def where(plan: ConfirmationPlan) -> str:
    """Say what was scored: the test split, or all images by folds."""
    return f"{plan.split} split" if plan.folds is None else f"all images, {plan.folds} folds"


def seeds_text(count: int) -> str:
    """Say how many seeds."""
    return f"{count} seed{'s' if count != 1 else ''}"


def _score(value: float | None) -> str:
    return "undefined" if value is None or value != value else f"{value:.4f}"


def interval_text(low: float, high: float) -> str:
    """Say an interval; that there is none, where its ends are NaN."""
    return "no interval" if low != low else f"95 % interval {low:.4f} to {high:.4f}"
