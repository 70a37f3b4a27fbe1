"""Samplers, which propose trials, and pruners, which stop them: one entry each."""

from __future__ import annotations

from collections.abc import Callable

from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from search.asha import AshaPruner
from search.config import SearchSettings

SAMPLERS: dict[str, Callable[[SearchSettings, int], BaseSampler]] = {
    "tpe": lambda settings, seed: TPESampler(n_startup_trials=settings.startup_trials, seed=seed),
    "random": lambda _, seed: RandomSampler(seed=seed),
}

PRUNERS: dict[str, Callable[[SearchSettings], BasePruner]] = {
    "asha": lambda settings: AshaPruner(settings.grace_epochs, settings.reduction_factor),
    "none": lambda _: NopPruner(),
}
