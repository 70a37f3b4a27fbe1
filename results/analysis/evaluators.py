"""Optuna's importance evaluators on trials given as a list, without a study of theirs."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from optuna.importance import BaseImportanceEvaluator
    from optuna.study import Study
    from optuna.trial import FrozenTrial

Evaluator = Literal["ped_anova", "fanova", "mean_decrease_impurity"]

_FEWEST_TOP_TRIALS = 4
_TOP_SHARE = 0.1
_FANOVA_TREES, _FANOVA_DEPTH = 4, 8
_IMPURITY_TREES = 8


def evaluated(
    trials: Sequence[FrozenTrial], evaluator: Evaluator, seed: int = 0
) -> dict[str, float]:
    """Compute the importances of the parameters that the trials share.

    Args:
        trials: COMPLETE, each with a trial id of its own unless it is the same trial; more than 4.
        evaluator: ped_anova: what sets the best tenth of the trials, at least four, apart from the
            others (Watanabe et al., IJCAI 2023, arXiv:2304.10255). fanova: share of the variance
            that the parameter alone explains in a forest (Hutter et al., ICML 2014).
            mean_decrease_impurity: share of the impurity that a forest's splits on it take away
            (Louppe et al., NeurIPS 2013).
        seed: Of the forests.

    Returns:
        By parameter, summing to 1; all equal where nothing sets the trials apart.
    """
    from optuna.importance import get_param_importances

    with _quiet():
        found = get_param_importances(
            _study(trials), evaluator=_evaluator(evaluator, len(trials), seed)
        )
    return {name: float(value) for name, value in found.items()}


def _evaluator(name: Evaluator, trials: int, seed: int) -> BaseImportanceEvaluator:
    from optuna import importance

    if name == "fanova":
        return importance.FanovaImportanceEvaluator(
            n_trees=_FANOVA_TREES, max_depth=_FANOVA_DEPTH, seed=seed
        )
    if name == "mean_decrease_impurity":
        return importance.MeanDecreaseImpurityImportanceEvaluator(
            n_trees=_IMPURITY_TREES, seed=seed
        )
    top = max(_TOP_SHARE, _FEWEST_TOP_TRIALS / trials)
    return importance.PedAnovaImportanceEvaluator(target_quantile=top)


def top_trials(trials: int) -> int:
    """Return how many of so many trials are the best tenth of ped_anova: at least four."""
    return math.ceil(max(_TOP_SHARE, _FEWEST_TOP_TRIALS / trials) * trials)


def _study(trials: Sequence[FrozenTrial]) -> Study:
    from optuna.storages import InMemoryStorage
    from optuna.study import Study, StudyDirection
    from optuna.trial import TrialState

    class Given(InMemoryStorage):
        """Hands the trials out as they are: adding them one by one would copy each."""

        def get_all_trials(
            self,
            study_id: int,
            deepcopy: bool = True,
            states: tuple[TrialState, ...] | None = None,  # type: ignore[override]
        ) -> list[FrozenTrial]:
            return list(trials)

    storage = Given()
    storage.create_new_study([StudyDirection.MAXIMIZE], "importances")
    return Study("importances", storage)


@contextmanager
def _quiet() -> Iterator[None]:
    # The storage announces every study on stderr, as if the user had made one.
    logger = logging.getLogger("optuna.storages")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
