"""Which proposals are refused, by what is predicted of a config from its shape and the trials."""

from __future__ import annotations

import math
import statistics
from bisect import insort
from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from search.config.limits import (
    FIELDS,
    GFLOPS,
    LATENCY,
    MEMORY,
    bounds,
    broken_by,
    demand_of,
    excesses,
)
from search.config.schema import StudyConfig
from search.config.settings import ResourceSettings
from search.config.trial import TrialConfig
from search.interfaces.observers import Placer
from search.process.memory import OUT_OF_MEMORY
from search.study.attributes import COST, REASON, RESERVED

LATENCIES_TO_PREDICT = 3
# Of a proposal that needs exactly as much memory as one that ran out of it.
_LEAST_EXCESS = 0.01


class ConstraintScreen:
    """Predicts what a config needs, and says what speaks against training it.

    Args:
        config: The study.
        num_classes: Classes of the data, the background included.
        placer: Knows what memory a config needs on the cluster's nodes, and whether one has it.
            None: the formula alone does, for oneDNN's kernels.
    """

    def __init__(
        self,
        config: StudyConfig,
        num_classes: int,
        placer: Placer | None = None,
    ) -> None:
        self._config = config
        self._placer = placer
        self._classes = num_classes
        self._share = share_of(config.resources)
        self._latencies: list[float] = []  # ms per GFLOP, sorted
        self._ran_out: list[float] = []  # predicted GB of trials that did, on this share
        self._fitted = 0.0  # most predicted GB of a trial that ended well on it
        self._unweighed: list[FrozenTrial] = []
        self._least_too_much = math.inf

    def learn(self, trial: FrozenTrial) -> None:
        """Take what a trial that ran in this study has shown."""
        self.learn_latency(trial.user_attrs.get(COST) or {})
        self.learn_memory(trial)

    def learn_latency(self, cost: Mapping[str, Any]) -> None:
        """Take what was measured of a trial's model."""
        if LATENCY in cost and cost.get("flops"):
            insort(self._latencies, cost[LATENCY] / (cost["flops"] / 1e9))

    def learn_memory(self, trial: FrozenTrial) -> None:
        """Take how much is too much from a trial that ran out of memory on the present share.

        One that did where a larger trial fitted did not because of its size.
        """
        if trial.user_attrs.get(RESERVED, self._share) != self._share:
            return
        reason = str(trial.user_attrs.get(REASON, ""))
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            self._unweighed.append(trial)  # worth the arithmetic only once one has run out
        elif trial.state is TrialState.FAIL and reason.startswith(OUT_OF_MEMORY):
            self._ran_out.append(self._demand(self._config.at(trial.params))[MEMORY])
        if self._ran_out:
            fitted = [self._demand(self._config.at(t.params))[MEMORY] for t in self._unweighed]
            self._fitted = max([self._fitted, *fitted])
            self._unweighed.clear()
            too_much = [need for need in self._ran_out if need > self._fitted]
            self._least_too_much = min(too_much, default=math.inf)

    def judge(self, params: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, str]]:
        """Return (excess by constraint, reason by constraint that is broken).

        An excess is relative to its limit and above 0 where it is broken; there is none for a
        limit that is not set, nor for latency before three trials were measured.
        """
        search = self._config.search
        trial = self._config.at(params)
        misfit = self._placer and self._placer.problem(trial)
        if misfit:
            return {MEMORY: _LEAST_EXCESS}, {MEMORY: f"{OUT_OF_MEMORY}: {misfit}"}
        if not bounds(search) and math.isinf(self._least_too_much):
            return {}, {}
        demand = self._demand(trial)
        # Compared among trials: by the formula alone, which no later measurement changes.
        needed = demand[MEMORY]
        if self._placer is not None:
            demand[MEMORY] = self._placer.estimate(trial).total / 1e9
        found, reasons = excesses(search, demand), broken_by(search, demand)
        if needed >= self._least_too_much:
            excess = max(needed / self._least_too_much - 1, _LEAST_EXCESS)
            found[MEMORY] = max(found.get(MEMORY, 0.0), excess)
            reasons[MEMORY] = (
                f"{OUT_OF_MEMORY}: predicted {needed:.3g} GB, and a trial of "
                f"{self._least_too_much:.3g} GB ran out"
            )
        return found, reasons

    def _demand(self, trial: TrialConfig) -> dict[str, float]:
        demand = demand_of(trial, self._config.image_shape, self._classes)
        if len(self._latencies) >= LATENCIES_TO_PREDICT:
            demand[LATENCY] = demand[GFLOPS] * statistics.median(self._latencies)
        return demand


def share_of(resources: ResourceSettings) -> str:
    """Return what bounds a trial's memory, as a text that is equal where the bounds are."""
    gpus, memory = (
        f"{amount:g}" if isinstance(amount, int | float) else str(amount)
        for amount in (resources.gpus_per_trial, resources.memory_per_trial)
    )
    return f"gpus {gpus}, memory {memory} GB"


def limit_name(constraint: str, reason: str) -> str:
    """Return how people call what a proposal broke: the field of the limit."""
    return OUT_OF_MEMORY if reason.startswith(OUT_OF_MEMORY) else FIELDS[constraint][0]


def measured_excess(config: StudyConfig, cost: Mapping[str, Any]) -> tuple[float, str] | None:
    """Return the measured latency's excess and, where it breaks the limit, the reason.

    None where there is no limit or no measurement; the reason is empty within the limit.
    """
    limit = bounds(config.search).get(LATENCY)
    if limit is None or LATENCY not in cost:
        return None
    field, words = FIELDS[LATENCY]
    excess = cost[LATENCY] / limit - 1
    reason = f"expected at most {field} = {limit:,}, measured {words.format(cost[LATENCY])}"
    return excess, reason if excess > 0 else ""
