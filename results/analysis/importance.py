"""How much each searched field mattered, by Optuna's evaluators on a study rebuilt in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.analysis.evaluators import Evaluator, evaluated, top_trials
from results.records.schemas import ParameterValue
from results.records.searched import SearchedField, searched_fields
from results.records.study import StudyRecord, TrialRecord

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

MINIMUM_TRIALS = 10
# Trials that an evaluator is given at most, and how often it is asked again: what keeps all three
# together below 2.5 seconds for six classes and six parameters.
LIMITS: Mapping[Evaluator, int] = {"ped_anova": 300, "fanova": 100, "mean_decrease_impurity": 200}
REPEATS: Mapping[Evaluator, int] = {"ped_anova": 10, "fanova": 3, "mean_decrease_impurity": 3}

_TARGET_COLUMNS = ["target", "kind", "parameter", "importance", "low", "high", "trials"]


def _why_not(fields: int, trials: int) -> str | None:
    if fields < 2:
        return f"Importances compare searched fields; this study searched {fields}."
    if trials < MINIMUM_TRIALS:
        return (
            f"Importances need at least {MINIMUM_TRIALS} COMPLETE trials; "
            f"this study has {trials} so far."
        )
    return None


def _frozen(
    trial: TrialRecord,
    distributions: dict[str, BaseDistribution],
    elsewhere: Mapping[str, ParameterValue],
) -> FrozenTrial | None:
    """Return a trial for Optuna; None where it has no value or lies outside the ranges.

    A field that is searched under conditions counts as its value of elsewhere where it was not.
    """
    from optuna.trial import FrozenTrial, TrialState

    if trial.value is None or not set(distributions) <= {*trial.params, *elsewhere}:
        return None
    params = {name: trial.params.get(name, elsewhere.get(name)) for name in distributions}
    within = all(
        _contains(distribution, params[name]) for name, distribution in distributions.items()
    )
    if not within or not math.isfinite(trial.value):
        return None
    return FrozenTrial(
        number=trial.number,
        state=TrialState.COMPLETE,
        value=trial.value,
        datetime_start=None,
        datetime_complete=None,
        params=params,
        distributions=distributions,
        user_attrs={},
        system_attrs={},
        intermediate_values={},
        trial_id=trial.number,
    )


def _elsewhere(field: SearchedField, distribution: BaseDistribution) -> ParameterValue:
    """Return a field's value where it is not searched, or one of the range in its place."""
    if _contains(distribution, field.otherwise):
        value: ParameterValue = field.otherwise
        return value
    return field.choices[0] if field.choices else field.low


def _contains(distribution: BaseDistribution, value: ParameterValue) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (TypeError, ValueError):
        return False


@dataclass(frozen=True, eq=False)
class TargetImportances:
    """Importances for the objective and for each class.

    Attributes:
        table: Columns target (the objective's name, or a class), kind ("objective" or "class"),
            parameter (dotted), importance (sums to 1 over a target's), low, high (10th and 90th
            percentile of the repeats, widened to hold the importance), trials (that were used);
            a target's most important parameter first. Empty where there are too few trials.
        evaluator: Optuna's.
        repeats: How often each target's was computed again.
        left_out: Why a target has no rows, by target.
        reason: Why the table is empty; None where it is not.
    """

    table: pd.DataFrame
    evaluator: Evaluator
    repeats: int
    left_out: Mapping[str, str]
    reason: str | None = None


def importance_table(
    study: StudyRecord, evaluator: Evaluator = "ped_anova", *, classes: bool = True
) -> TargetImportances:
    """Compute importances for the objective and for each foreground class, with uncertainty.

    A class's target is the trial's Dice of it at its best epoch. Only COMPLETE trials within the
    searched ranges count, of more than ``LIMITS`` a random draw (the same each time). Uncertainty:
    each is computed again from as many trials drawn with replacement, a forest from another seed,
    too.

    Args:
        study: The study's records.
        evaluator: One of Optuna's; see ``results.analysis.evaluators``.
        classes: Whether to do the classes, too; each takes as long as the objective.
    """
    records, trials = _drawn(study, LIMITS[evaluator])
    repeats = REPEATS[evaluator]
    reason = _why_not(len(searched_fields(study.config)), len(trials))
    rows: list[dict[str, object]] = []
    left_out: dict[str, str] = {}
    targets = _targets(study, records, classes) if reason is None else ()
    for target, kind, values in targets:
        known = [(t, v) for t, v in zip(trials, values, strict=True) if math.isfinite(v)]
        why = _why_no_target([value for _, value in known])
        if why is not None:
            left_out[target] = why
            continue
        rows += _target_rows(target, kind, known, evaluator, repeats)
    if reason is None and not rows:
        reason = next(iter(left_out.values()), "There is nothing to tell importances of.")
    table = pd.DataFrame(rows, columns=_TARGET_COLUMNS)
    return TargetImportances(table, evaluator, repeats, left_out, reason)


def _drawn(study: StudyRecord, limit: int) -> tuple[list[TrialRecord], list[FrozenTrial]]:
    fields = searched_fields(study.config)
    distributions = {name: field.distribution() for name, field in fields.items()}
    elsewhere = {n: _elsewhere(f, distributions[n]) for n, f in fields.items() if f.when}
    complete = [trial for trial in study.with_state("COMPLETE") if trial.repeat_of is None]
    order = np.random.default_rng(0).permutation(len(complete))
    found = []
    for index in order:
        frozen = _frozen(complete[index], distributions, elsewhere)
        if frozen is not None:
            found.append((complete[index], frozen))
        if len(found) == limit:
            break
    found.sort(key=lambda pair: pair[0].number)
    return [record for record, _ in found], [frozen for _, frozen in found]


def _targets(
    study: StudyRecord, records: Sequence[TrialRecord], classes: bool
) -> Iterator[tuple[str, str, list[float]]]:
    yield (
        study.objective,
        "objective",
        [t.value if t.value is not None else np.nan for t in records],
    )
    rows = [(trial.curve.dice, trial.best_row) for trial in records]
    for index, name in enumerate(study.classes[1:] if classes else (), start=1):
        values = [float(dice[row, index]) if row is not None else np.nan for dice, row in rows]
        yield name, "class", values


def _why_no_target(values: Sequence[float]) -> str | None:
    if len(values) < MINIMUM_TRIALS:
        return (
            f"Importances need at least {MINIMUM_TRIALS} COMPLETE trials; "
            f"{len(values)} have a score."
        )
    if not _stands_out(np.array(values)):
        return "No tenth of the trials scores higher than the rest."
    return None


def _stands_out(values: NDArray[np.float64]) -> bool:
    """Return whether the best tenth is not all of the trials, by ties at the lowest score."""
    ordered = np.sort(values)[::-1]
    return bool(ordered[top_trials(len(ordered)) - 1] > ordered[-1])


def _target_rows(
    target: str,
    kind: str,
    known: Sequence[tuple[FrozenTrial, float]],
    evaluator: Evaluator,
    repeats: int,
) -> list[dict[str, object]]:
    for trial, value in known:
        trial.value = value
    trials = [trial for trial, _ in known]
    shares = evaluated(trials, evaluator)
    again = [evaluated(drawn, evaluator, seed) for seed, drawn in _repeated(trials, repeats)]
    rows = []
    for name, share in sorted(shares.items(), key=lambda item: (-item[1], item[0])):
        ends = np.quantile([one[name] for one in again] or [np.nan], [0.1, 0.9])
        low, high = np.fmin(ends[0], share), np.fmax(ends[1], share)
        rows.append(
            dict(
                zip(
                    _TARGET_COLUMNS,
                    (target, kind, name, share, low, high, len(trials)),
                    strict=True,
                )
            )
        )
    return rows


def _repeated(
    trials: Sequence[FrozenTrial], repeats: int
) -> Iterator[tuple[int, list[FrozenTrial]]]:
    rng = np.random.default_rng(0)
    values = np.array([trial.value for trial in trials])
    for seed in range(1, repeats + 1):
        places = rng.integers(0, len(trials), len(trials))
        if _stands_out(values[places]):
            yield seed, [trials[place] for place in places]
