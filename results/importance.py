"""How much each searched field mattered, by PED-ANOVA on a study rebuilt in memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from results.records import StudyRecord, TrialRecord
from results.searched import searched_fields

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

MINIMUM_TRIALS = 10
_FEWEST_TOP_TRIALS = 4
_TOP_SHARE = 0.1


@dataclass(frozen=True)
class Importances:
    """Parameter importances.

    Attributes:
        table: columns parameter (dotted), importance (sums to 1), the largest first; empty where
            they cannot be told.
        trials: COMPLETE trials they were computed from.
        reason: why the table is empty; None where it is not.
    """

    table: pd.DataFrame
    trials: int
    reason: str | None = None


def importances(study: StudyRecord) -> Importances:
    """Compute parameter importances of a study.

    PED-ANOVA (Watanabe et al., IJCAI 2023, arXiv:2304.10255): how far the distribution of each
    parameter among the best tenth of the COMPLETE trials (at least 4) departs from the one among
    all of them. Trials outside the searched ranges (a baseline may be) are left out.

    Args:
        study: the study's records.

    Returns:
        The importances, or the reason why there are none.
    """
    distributions = {name: f.distribution() for name, f in searched_fields(study.config).items()}
    trials = [
        frozen
        for trial in study.with_state("COMPLETE")
        if (frozen := _frozen(trial, distributions)) is not None
    ]
    reason = _why_not(len(distributions), trials)
    if reason is not None:
        return Importances(_table({}), len(trials), reason)
    shares = _ped_anova(trials)
    if not sum(shares.values()) > 0:
        return Importances(
            _table({}), len(trials), "The best trials do not differ from the others in any field."
        )
    return Importances(_table(shares), len(trials))


def _table(shares: dict[str, float]) -> pd.DataFrame:
    rows = sorted(shares.items(), key=lambda item: -item[1])
    return pd.DataFrame(rows, columns=["parameter", "importance"])


def _why_not(fields: int, trials: list[FrozenTrial]) -> str | None:
    if fields < 2:
        return f"Importances compare searched fields; this study searched {fields}."
    if len(trials) < MINIMUM_TRIALS:
        return (
            f"Importances need at least {MINIMUM_TRIALS} COMPLETE trials; "
            f"this study has {len(trials)} so far."
        )
    if len({trial.value for trial in trials}) == 1:
        return "All COMPLETE trials have the same value."
    return None


def _frozen(trial: TrialRecord, distributions: dict[str, BaseDistribution]) -> FrozenTrial | None:
    from optuna.trial import create_trial

    if trial.value is None or not set(distributions) <= set(trial.params):
        return None
    params = {name: trial.params[name] for name in distributions}
    try:
        return create_trial(params=params, distributions=distributions, value=trial.value)
    except ValueError:  # a value outside its range, or one that is not finite
        return None


@contextmanager
def _quiet_storage() -> Iterator[None]:
    # The storage announces every study on stderr, as if the user had made one.
    logger = logging.getLogger("optuna.storages")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _ped_anova(trials: list[FrozenTrial]) -> dict[str, float]:
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.storages import InMemoryStorage
    from optuna.study import Study, StudyDirection

    storage = InMemoryStorage()
    with _quiet_storage():
        study_id = storage.create_new_study([StudyDirection.MAXIMIZE], "importances")
    for trial in trials:
        storage.create_new_trial(study_id, template_trial=trial)
    top = max(_TOP_SHARE, _FEWEST_TOP_TRIALS / len(trials))
    return get_param_importances(
        Study("importances", storage),
        evaluator=PedAnovaImportanceEvaluator(target_quantile=top),
    )
