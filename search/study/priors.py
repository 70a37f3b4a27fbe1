"""Proposals near what is known to be good: baselines and the best trials of earlier studies.

After PriorBand (Mallik et al., NeurIPS 2023, https://arxiv.org/abs/2306.12370): a share of the
proposals is drawn around such a config, and the share follows the evidence. A config that is no
better than what the sampler finds by itself is not drawn around at all, so a bad one costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from search.config.settings import SearchSettings
from search.study.attributes import BASELINE, FROM_STUDY, PRIOR, REPEAT_OF, derive_seed, is_own

_SPREAD = 0.25  # of a range, as in PriorBand: standard deviation of a draw
_KEPT = 0.5  # how often a choice is kept; else any of them
_EARLIER = 3  # the best trials of earlier studies that are centres
# COMPLETE trials of the sampler's own before a centre can be told to be good.
_FEWEST = 3
# A centre is drawn around where it is better than this share of the other trials, ...
_BETTER_THAN_HALF = 0.5
# ... and as often as the settings say where it is better than that one.
_BETTER_THAN_MOST = 0.75


class Priors:
    """Draws proposals near known configs, and knows how often to.

    Args:
        search: ``prior_share`` and ``startup_trials``.
        distributions: Of the searched fields, by dotted name.
        seed: Of the study.
    """

    def __init__(
        self, search: SearchSettings, distributions: Mapping[str, BaseDistribution], seed: int
    ) -> None:
        self._share = search.prior_share
        self._startup = search.startup_trials
        self._distributions = {n: d for n, d in distributions.items() if not d.single()}
        self._seed = seed
        # Value and parameters of each, by number.
        self._baselines: dict[int, tuple[float, Mapping[str, Any]]] = {}
        self._earlier: dict[int, tuple[float, Mapping[str, Any]]] = {}
        # Of the sampler's own COMPLETE trials: those that were stopped had fewer epochs.
        self._values: dict[int, float] = {}

    def take(self, trial: FrozenTrial) -> None:
        """Take a trial of the study, in whatever state: a centre, or evidence."""
        known = trial.user_attrs
        if not self._share or not trial.state.is_finished() or REPEAT_OF in known:
            return
        value = trial.value if trial.state is TrialState.COMPLETE else None
        if FROM_STUDY in known:
            if value is not None:
                self._earlier[trial.number] = value, trial.params
                best = sorted(self._earlier.items(), key=lambda each: (-each[1][0], each[0]))
                self._earlier = dict(best[:_EARLIER])
        elif BASELINE in known:
            if value is not None:
                self._baselines[trial.number] = value, trial.params
        elif is_own(trial) and PRIOR not in known and value is not None:
            self._values[trial.number] = value

    def centers(self) -> list[tuple[float, Mapping[str, Any]]]:
        """Return the configs to draw around, and how much each counts, in 0..1.

        0.5 of the sampler's own COMPLETE trials must be worse than it; it counts in full from 0.75
        on.
        """
        if len(self._values) < _FEWEST:
            return []
        found = []
        for value, params in (*self._baselines.values(), *self._earlier.values()):
            worse = sum(other < value for other in self._values.values()) / len(self._values)
            span = _BETTER_THAN_MOST - _BETTER_THAN_HALF
            weight = min(1.0, (worse - _BETTER_THAN_HALF) / span)
            if weight > 0:
                found.append((weight, params))
        return found

    def draw(self, number: int) -> dict[str, Any] | None:
        """Return the parameters of a proposal near a centre; None where the sampler is to propose.

        The share falls as trials end: to half of it after ``startup_trials``.

        Args:
            number: Of the trial that will have them: the draw follows from it and the seed.
        """
        centers = self.centers() if self._share else []
        if not centers:
            return None
        rng = np.random.default_rng(derive_seed(self._seed, number, 2))
        share = self._share * self._startup / (self._startup + len(self._values))
        weight, params = centers[rng.integers(len(centers))]
        if rng.random() >= share * weight:
            return None
        return {
            name: _near(params.get(name), distribution, rng)
            for name, distribution in self._distributions.items()
        }


def _near(value: Any, distribution: BaseDistribution, rng: np.random.Generator) -> Any:
    """Draw a value near another; anywhere where that is not of the distribution."""
    internal = None if value is None else _internal(value, distribution)
    known = internal is not None and distribution._contains(internal)
    if isinstance(distribution, CategoricalDistribution):
        if known and rng.random() < _KEPT:
            return value
        return distribution.choices[rng.integers(len(distribution.choices))]
    low, high = float(distribution.low), float(distribution.high)  # type: ignore[attr-defined]
    log = bool(distribution.log)  # type: ignore[attr-defined]
    if log:
        low, high = np.log(low), np.log(high)
    if known:
        center = np.log(value) if log else float(value)
        place = np.clip(rng.normal(center, _SPREAD * (high - low)), low, high)
    else:
        place = rng.uniform(low, high)
    return _on_grid(float(np.exp(place)) if log else float(place), distribution)


def _internal(value: Any, distribution: BaseDistribution) -> float | None:
    try:
        return float(distribution.to_internal_repr(value))
    except (ValueError, TypeError):
        return None


def _on_grid(value: float, distribution: Any) -> Any:
    """Return the nearest value that a numeric distribution has."""
    step = distribution.step
    if step is not None:
        steps = round((value - distribution.low) / step)
        value = min(distribution.low + steps * step, distribution.high)
    value = min(max(value, distribution.low), distribution.high)
    return distribution.to_external_repr(value)
