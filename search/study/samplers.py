"""Samplers, which propose trials, and pruners, which stop them: one entry each.

Each entry takes the study's config and, a sampler, a seed that differs between runs of one study:
a continued study must not draw again what it drew.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Collection, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
)
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.config.errors import ConfigError
from search.config.schema import StudyConfig
from search.study.asha import AshaPruner, ParetoAsha
from search.study.bounded_tpe import BoundedTPESampler


class GridSampler(BruteForceSampler):
    """Every point of a finite space once, in random order; the trials say which are left.

    Optuna's own ends the optimization by ``Study.stop``, which only ``Study.optimize`` allows;
    here the proposer sees that the space is exhausted.
    """

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Do nothing."""


class CmaEs(CmaEsSampler):
    """Optuna's CMA-ES without its warning, at every trial, that it does not look at constraints.

    The limits' constraints are recorded in the study whatever the sampler; docs/search.md says
    which samplers learn from them. It models the fields that every trial has: with others it
    fails (findings/cmaes_margin_conditional.sh).

    Args:
        conditional: Fields that not every trial has, by dotted name.
        options: As Optuna's takes them.
    """

    def __init__(self, conditional: Collection[str], **options: Any) -> None:
        super().__init__(**options)
        self._conditional = frozenset(conditional)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        space = super().infer_relative_search_space(study, trial)
        return {name: d for name, d in space.items() if name not in self._conditional}

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Constraints have been set", UserWarning)
            super().after_trial(study, trial, state, values)


def _tpe(config: StudyConfig, seed: int) -> BaseSampler:
    return BoundedTPESampler(n_startup_trials=config.search.startup_trials, seed=seed)


def _gp(config: StudyConfig, seed: int) -> BaseSampler:
    return GPSampler(n_startup_trials=config.search.startup_trials, seed=seed)


def _cma_es(config: StudyConfig, seed: int) -> BaseSampler:
    # Choices are drawn at random, which needs no warning a trial. With margin, integers with few
    # values do not freeze (Hamano et al., 2022).
    conditional = [name for name, distribution in config.space.items() if distribution.when]
    return CmaEs(conditional, seed=seed, with_margin=True, warn_independent_sampling=False)


def _nsga2(config: StudyConfig, seed: int) -> BaseSampler:
    # Optuna's population of 50 would make a study of 40 trials a random one.
    return NSGAIISampler(population_size=max(2, config.search.startup_trials), seed=seed)


def _qmc(config: StudyConfig, seed: int) -> BaseSampler:
    # The sequence follows from the study's own seed and goes on where the study stands.
    return QMCSampler(
        scramble=True,
        seed=config.study.seed,
        independent_sampler=RandomSampler(seed=seed),
        warn_independent_sampling=False,
    )


SAMPLERS: dict[str, Callable[[StudyConfig, int], BaseSampler]] = {
    "tpe": _tpe,
    "random": lambda _, seed: RandomSampler(seed=seed),
    "gp": _gp,
    "cma-es": _cma_es,
    "nsga2": _nsga2,
    "grid": lambda _, seed: GridSampler(seed=seed),
    "qmc": _qmc,
}

PRUNERS: dict[str, Callable[[StudyConfig], BasePruner]] = {
    "asha": lambda config: AshaPruner(config.search.grace_epochs, config.search.reduction_factor),
    "hyperband": lambda config: HyperbandPruner(
        min_resource=config.search.grace_epochs,
        max_resource=max(config.values("train.epochs")) * (config.search.folds or 1),
        reduction_factor=config.search.reduction_factor,
    ),
    "median": lambda config: MedianPruner(n_warmup_steps=config.search.grace_epochs),
    "none": lambda _: NopPruner(),
}

# What a sampler imports beyond this project's own dependencies, and what installs it.
NEEDED = {"gp": ("torch", "flexunet-search[gp]")}


def check_installed(config: StudyConfig) -> None:
    """Refuse a sampler whose libraries are not there, before anything is prepared.

    Raises:
        ConfigError: saying what to install.
    """
    module, extra = NEEDED.get(config.search.sampler, (None, ""))
    if module is not None and importlib.util.find_spec(module) is None:
        problem = (
            f"search.sampler: expected {module} for {config.search.sampler!r}, received none; "
            f"pip install '{extra}'"
        )
        raise ConfigError(config.study.name, [problem])


def make_sampler(config: StudyConfig, seed: int) -> BaseSampler:
    """Return the config's sampler.

    Args:
        config: The study.
        seed: Of its random draws; differs between runs of one study.

    Raises:
        ConfigError: where its libraries are not installed.
    """
    check_installed(config)
    with warnings.catch_warnings():
        # Optuna marks some samplers experimental; the contract test holds what is used of them.
        warnings.simplefilter("ignore", ExperimentalWarning)
        return SAMPLERS[config.search.sampler](config, seed)


def make_pareto_pruner(config: StudyConfig) -> ParetoAsha | None:
    """Return what stops trials of several objectives; None where nothing does."""
    search = config.search
    if not search.minimize or search.pruner == "none":
        return None
    return ParetoAsha(search.grace_epochs, search.reduction_factor)


def make_pruner(config: StudyConfig) -> BasePruner:
    """Return the config's pruner; of several objectives Optuna asks none."""
    return PRUNERS[config.search.pruner](config)
