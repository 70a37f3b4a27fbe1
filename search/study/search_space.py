"""A study's space as Optuna is asked about it: fields that are searched under conditions last."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from search.config.schema import StudyConfig
from search.config.space import points

# Beyond so many combinations the points of a space with conditions are not counted one by one.
_MOST_COUNTED = 100_000


class SearchSpace:
    """Asks a sampler for the parameters of a trial.

    Args:
        config: The study.

    Attributes:
        distributions: Of every searched field, by dotted name.
    """

    def __init__(self, config: StudyConfig) -> None:
        self._config = config
        self.distributions = {name: d.to_optuna() for name, d in config.space.items()}
        conditional = [name for name, d in config.space.items() if d.when]
        self._first = {n: d for n, d in self.distributions.items() if n not in conditional}
        self._then = _in_order(config, conditional)

    def ask(self, study: optuna.Study) -> Trial:
        """Return a new trial with all the parameters that its conditions let it have."""
        trial = study.ask(self._first)
        self.complete(trial)
        return trial

    def complete(self, trial: Trial) -> None:
        """Let the sampler draw what a trial still lacks: a driver may have died while it asked."""
        params = dict(trial.params)
        for name in (*self._first, *self._then):
            if self._config.is_searched(name, params):
                params[name] = trial._suggest(name, self.distributions[name])

    def is_whole(self, params: Mapping[str, Any]) -> bool:
        """Return whether parameters are a point: of all fields that are searched there, no more."""
        searched = {n for n in self.distributions if self._config.is_searched(n, params)}
        return params.keys() == searched

    @property
    def size(self) -> float:
        """Number of points; infinite where a field is continuous."""
        sizes = {name: points(each) for name, each in self.distributions.items()}
        product = math.prod(sizes.values())
        if not self._then or product > _MOST_COUNTED:
            return product
        found = set()
        for values in itertools.product(*map(_values, self.distributions.values())):
            params = dict(zip(self.distributions, values, strict=True))
            found.add(
                tuple(v for n, v in params.items() if self._config.is_searched(n, params))
                + tuple(n for n in params if self._config.is_searched(n, params))
            )
        return len(found)


def _in_order(config: StudyConfig, names: list[str]) -> list[str]:
    """Return fields with conditions, each after those that its conditions name."""
    ordered: list[str] = []
    left = list(names)
    while left:
        ready = [n for n in left if not (config.space[n].when or {}).keys() & set(left)]
        ordered += ready
        left = [name for name in left if name not in ready]
    return ordered


def _values(distribution: BaseDistribution) -> Iterator[Any]:
    """Yield the values of a finite distribution."""
    if isinstance(distribution, CategoricalDistribution):
        yield from distribution.choices
    elif isinstance(distribution, IntDistribution):
        yield from range(distribution.low, distribution.high + 1, distribution.step)
    elif isinstance(distribution, FloatDistribution):
        steps = round((distribution.high - distribution.low) / (distribution.step or 1.0))
        yield from (
            distribution.low + place * (distribution.step or 0.0) for place in range(steps + 1)
        )
