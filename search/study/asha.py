"""Asynchronous successive halving that keeps what each rung has seen.

Optuna's ``SuccessiveHalvingPruner`` collects a rung's values from all trials of the study at every
decision, which takes longer than an epoch's report when there are thousands. This one decides the
same from the same records in the study, where a later run finds them, but reads them once.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial


class AshaPruner(BasePruner):
    """ASHA (Li et al., 2020, "A System for Massively Parallel Hyperparameter Tuning").

    A trial passes rung k, after ``min_resource * reduction_factor**k`` epochs, where it is among
    the best ``1 / reduction_factor`` of those that have come there before it.

    Args:
        min_resource: Epochs before the first decision.
        reduction_factor: The share that goes on is one in so many.
    """

    def __init__(self, min_resource: int, reduction_factor: int) -> None:
        self._min_resource = min_resource
        self._reduction_factor = reduction_factor
        self._rungs: dict[str, list[float]] | None = None

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Return whether a trial is to be stopped after its last reported epoch."""
        step = trial.last_step
        if step is None:
            return False
        value = trial.intermediate_values[step]
        rung = 0
        while _key(rung) in trial.system_attrs:
            rung += 1
        while step >= self._min_resource * self._reduction_factor**rung:
            if math.isnan(value) or not self._passes(study, trial, rung, value):
                return True
            rung += 1
        return False

    def _passes(self, study: optuna.Study, trial: FrozenTrial, rung: int, value: float) -> bool:
        if self._rungs is None:
            self._rungs = _rungs_of(study)
        rungs, self._rungs = self._rungs, None
        study._storage.set_trial_system_attr(trial._trial_id, _key(rung), value)
        seen = rungs.setdefault(_key(rung), [])
        bisect.insort(seen, value)
        self._rungs = rungs  # after an error they are read again, since it may be written or not
        most = max(len(seen) // self._reduction_factor, 1)
        if study.direction == optuna.study.StudyDirection.MAXIMIZE:
            return value >= seen[-most]
        return value <= seen[most - 1]


class ParetoAsha:
    """Successive halving of trials with several objectives.

    After Schmucker et al., "Multi-objective Asynchronous Successive Halving" (2021),
    https://arxiv.org/abs/2106.12639. A trial passes a rung where no other that has come there beats
    it in every objective; and where it is among the best ``1 / reduction_factor`` of those that
    have, in the order of how many others beat each (Fonseca and Fleming, 1993). Optuna prunes no
    study of several objectives, so this is asked by who reports.

    Args:
        min_resource, reduction_factor: As of :class:`AshaPruner`.
    """

    def __init__(self, min_resource: int, reduction_factor: int) -> None:
        self._min_resource = min_resource
        self._reduction_factor = reduction_factor
        self._rungs: dict[str, list[list[float]]] | None = None

    def stops(
        self, study: optuna.Study, trial: FrozenTrial, epoch: int, values: Sequence[float]
    ) -> bool:
        """Return whether a trial is to be stopped after an epoch.

        Args:
            study: The study, which keeps what each rung has seen.
            trial: The trial.
            epoch: From 1.
            values: Of each objective at that epoch, all of them the larger the better.
        """
        rung = 0
        while _key(rung) in trial.system_attrs:
            rung += 1
        while epoch >= self._min_resource * self._reduction_factor**rung:
            if not self._passes(study, trial, rung, list(values)):
                return True
            rung += 1
        return False

    def _passes(
        self, study: optuna.Study, trial: FrozenTrial, rung: int, values: list[float]
    ) -> bool:
        if self._rungs is None:
            self._rungs = _attributes(study)
        rungs, self._rungs = self._rungs, None
        study._storage.set_trial_system_attr(trial._trial_id, _key(rung), values)
        seen = rungs.setdefault(_key(rung), [])
        seen.append(values)
        self._rungs = rungs  # after an error they are read again, since it may be written or not
        table = np.array(seen, float)
        beaten_by = [int(_beat(table, row).sum()) for row in table]
        better = sum(count < beaten_by[-1] for count in beaten_by)
        return beaten_by[-1] == 0 or better < len(seen) // self._reduction_factor


def _beat(table: NDArray[np.float64], row: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which rows are at least as good in every objective, and better in one."""
    as_good, better = np.all(table >= row, axis=1), np.any(table > row, axis=1)
    beat: NDArray[np.bool_] = np.logical_and(as_good, better)
    return beat


def _key(rung: int) -> str:
    """Return the name under which Optuna's pruner keeps a rung, so that studies may change over."""
    return f"completed_rung_{rung}"


def _attributes(study: optuna.Study) -> dict[str, list[Any]]:
    """Return what the trials of a study have reached at each rung, by trial."""
    rungs: dict[str, list[Any]] = {}
    for trial in study.get_trials(deepcopy=False):
        for key, value in trial.system_attrs.items():
            if key.startswith("completed_rung_"):
                rungs.setdefault(key, []).append(value)
    return rungs


def _rungs_of(study: optuna.Study) -> dict[str, list[float]]:
    return {key: sorted(values) for key, values in _attributes(study).items()}
