"""The best config against the baselines, measured on the best images that there are.

What it is measured by, from the strongest: a finished confirmation (new trainings over seeds, on
images that chose no epoch), the scored model (image by image, so there are intervals), else the
search's own epochs (without intervals).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.analysis.alignment import aligned
from results.analysis.baselines import baselines_by_rank
from results.analysis.confirmation import PlannedConfig
from results.analysis.intervals import Bootstrap, seeded_bootstrap
from results.analysis.ranking import ranking_table
from results.records.evaluation import Evaluation, of_trial
from results.records.study import StudyRecord, TrialRecord

if TYPE_CHECKING:
    from results.analysis.confirmation import Confirmation

MOST_BASELINES = 4

Source = Literal["confirmed", "scored", "search"]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MeasuredConfig:
    """A config, and how well it segments.

    Attributes:
        trial: Its trial.
        dice: [C] Dice per class; NaN where undefined.
        evaluations: Its counts, one a training; empty where only the search measured it.
        found: Their bootstrap; None without counts.
    """

    trial: TrialRecord
    dice: Floats
    evaluations: tuple[Evaluation, ...] = ()
    found: Bootstrap | None = None


@dataclass(frozen=True, eq=False)
class BaselineComparison:
    """The best config and the baselines it is compared with, all measured alike.

    Attributes:
        study: The study.
        source: What they are measured by.
        best: The confirmed incumbent, else the search's; None without one.
        baselines: At most four others, by rank in the search.
        missing: Baselines that were not measured so.
        ranking: ``results.analysis.ranking.ranking_table`` of all of them; None of source "search".
        problems: Why something was left out, a sentence each.
    """

    study: StudyRecord
    source: Source
    best: MeasuredConfig | None
    baselines: tuple[MeasuredConfig, ...] = ()
    missing: tuple[TrialRecord, ...] = ()
    ranking: pd.DataFrame | None = None
    problems: tuple[str, ...] = ()

    @property
    def evaluation(self) -> Evaluation | None:
        """The best config's counts (of its first training): which images they are of."""
        counted = self.best.evaluations if self.best else ()
        return counted[0] if counted else None

    def shortfall(self, baseline: MeasuredConfig) -> tuple[int, int] | None:
        """Return the epochs that a baseline had and was to have, where it was not trained in full.

        None where it was, until early stopping ended it perhaps, or trained anew by a confirmation.
        Where nothing is known of what it was to have, that is what the best config had.
        """
        if self.best is None or self.source == "confirmed" or baseline.trial.state == "COMPLETE":
            return None
        had = baseline.trial.epochs
        planned = self.study.planned_epochs(baseline.trial) or self.best.trial.epochs
        return (had, planned) if had < planned else None


def contest(
    study: StudyRecord,
    scored: Sequence[Evaluation] = (),
    confirmation: Confirmation | None = None,
    trial: TrialRecord | None = None,
) -> BaselineComparison:
    """Choose the best config and measure it and the baselines.

    Args:
        study: The study's records.
        scored: Counts of its scored models.
        confirmation: What confirming it has found so far.
        trial: Measure this one in the place of the search's best.
    """
    if confirmation is not None and confirmation.incumbent is not None:
        confirmed = _confirmed(study, confirmation, confirmation.incumbent)
        if confirmed is not None:
            return confirmed
    best = trial or study.incumbent
    if best is None:
        return BaselineComparison(study, "search", None)
    evaluation, problems = own_counts(study, scored, best)
    if evaluation is None:
        return _searched(study, best, problems)
    return _scored(study, scored, best, evaluation, problems)


def _rivals(study: StudyRecord, best: TrialRecord) -> list[TrialRecord]:
    others = [trial for trial in baselines_by_rank(study) if trial.number != best.number]
    return others[:MOST_BASELINES]


def _confirmed(
    study: StudyRecord, confirmation: Confirmation, number: int
) -> BaselineComparison | None:
    by_number = {trial.number: trial for trial in study.trials}
    best = by_number.get(number)
    if best is None:
        return None
    complete = confirmation.ranking.loc[confirmation.ranking["complete"], "trial"].tolist()
    rivals = _rivals(study, best)
    measured = [trial for trial in rivals if trial.number in complete]
    return BaselineComparison(
        study,
        "confirmed",
        _standing(best, confirmation.of_trial(number)),
        tuple(_standing(trial, confirmation.of_trial(trial.number)) for trial in measured),
        tuple(trial for trial in rivals if trial not in measured),
        confirmation.ranking,
        confirmation.problems,
    )


def _standing(trial: TrialRecord, evaluations: Sequence[Evaluation]) -> MeasuredConfig:
    found = seeded_bootstrap(evaluations, config=trial.number)
    return MeasuredConfig(trial, found.value[: len(found.classes)], tuple(evaluations), found)


def own_counts(
    study: StudyRecord, scored: Sequence[Evaluation], trial: TrialRecord
) -> tuple[Evaluation | None, list[str]]:
    """Return the counts of a trial's model on the validation split.

    Returns:
        None, with the reason, where they are of other classes, data or epoch than the study's; None
        without one where it was not scored.
    """
    evaluation = of_trial(scored, trial.number)
    if evaluation is None:
        return None, []
    differ = [
        f"{name} {received!r} instead of {expected!r}"
        for name, expected, received in (
            ("classes", study.classes, evaluation.classes),
            ("data", study.data_fingerprint, evaluation.fingerprint),
            ("epoch", trial.model_epoch, evaluation.epoch),
        )
        if None not in (expected, received) and expected != received
    ]
    if not evaluation.images:
        differ.append("no image")
    if differ:
        return None, [f"{evaluation.name} was scored with {', '.join(differ)}"]
    return evaluation, []


def _scored(
    study: StudyRecord,
    scored: Sequence[Evaluation],
    best: TrialRecord,
    evaluation: Evaluation,
    problems: list[str],
) -> BaselineComparison:
    counted = {best: evaluation}
    rivals = _rivals(study, best)
    for trial in rivals:
        own, reasons = own_counts(study, scored, trial)
        problems += reasons
        if own is not None:
            try:
                counted[trial] = aligned(evaluation, own)
            except ValueError as error:
                problems.append(str(error))
    standings = {trial: _standing(trial, [own]) for trial, own in counted.items()}
    return BaselineComparison(
        study,
        "scored",
        standings[best],
        tuple(standings[trial] for trial in rivals if trial in standings),
        tuple(trial for trial in rivals if trial not in standings),
        rank(study, list(standings.values())),
        tuple(problems),
    )


def rank(study: StudyRecord, standings: Sequence[MeasuredConfig]) -> pd.DataFrame:
    """Rank configs of a study by its objective; see ``results.analysis.ranking.ranking_table``."""
    search = study.config.get("search")
    weights = search.get("class_weights") if isinstance(search, Mapping) else None
    return ranking_table(
        [
            PlannedConfig(
                trial=each.trial.number, baseline=each.trial.baseline, value=each.trial.value
            )
            for each in standings
        ],
        {each.trial.number: each.evaluations for each in standings},
        seeds=min(len(each.evaluations) for each in standings),
        classes=study.classes,
        objective=study.objective,
        weights=weights or {},
    )


def _searched(study: StudyRecord, best: TrialRecord, problems: Sequence[str]) -> BaselineComparison:
    def standing(trial: TrialRecord) -> MeasuredConfig:
        row = trial.best_row
        unknown = np.full(len(study.classes), np.nan)
        return MeasuredConfig(trial, unknown if row is None else trial.curve.dice[row])

    rivals = tuple(standing(trial) for trial in _rivals(study, best))
    return BaselineComparison(study, "search", standing(best), rivals, problems=tuple(problems))
