"""Training the leading configs again, with other seeds: ``search.repeats_of_best``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from results.records.repeats import trained_configs
from search.config.settings import SearchSettings
from search.study.attributes import BASELINE, REPEAT_OF, is_own


class Repeats:
    """Knows how often each config was trained and with what values, and which is due again.

    Args:
        search: ``repeats_of_best`` and ``startup_trials``.
    """

    def __init__(self, search: SearchSettings) -> None:
        self._wanted = search.repeats_of_best
        self._startup = search.startup_trials
        # Of several objectives a trial has no single value, and nothing is repeated.
        self._counts = not search.minimize
        self._params: dict[int, Mapping[str, Any]] = {}
        # Of each trial that has ended: its number, the one it repeats, state, value.
        self._ended: dict[int, tuple[int, int | None, str, float | None]] = {}
        self._begun: Counter[int] = Counter()  # repeats of a config, in whatever state
        self._sampled: set[int] = set()  # of the sampler's own trials, those that have ended

    @property
    def best(self) -> float | None:
        """The highest mean of a config that had all its trainings; None before there is one."""
        configs = trained_configs(self._ended.values())
        whole = [each.mean for each in configs if each.trainings > self._wanted]
        return max(whole, default=None)

    def read(self, trial: FrozenTrial) -> None:
        """Take a trial that an earlier run has left, in whatever state."""
        original = trial.user_attrs.get(REPEAT_OF)
        if original is not None:
            self._begun[original] += 1
        self.ended(trial)

    def ended(self, trial: FrozenTrial) -> None:
        """Take a trial; one that has not ended, or was not trained here, changes nothing."""
        if not (self._counts and trial.state.is_finished() and is_own(trial)):
            return
        original = trial.user_attrs.get(REPEAT_OF)
        value = trial.value if trial.state is TrialState.COMPLETE else None
        self._ended[trial.number] = trial.number, original, trial.state.name, value
        if original is None:
            self._params[trial.number] = trial.params
            if BASELINE not in trial.user_attrs:
                self._sampled.add(trial.number)

    def due(self, left: int | None) -> tuple[int, Mapping[str, Any]] | None:
        """Return the config to train again now, (trial that tried it first, parameters), or None.

        The one with the highest mean, as long as it was begun less often than wanted. Not before
        the startup trials have ended, where the lead changes often; but in time for the trials
        that are left.

        Args:
            left: Trials that may still begin; None: no limit.
        """
        if not self._wanted:
            return None
        configs = trained_configs(self._ended.values())
        if not configs:
            return None
        best = max(configs, key=lambda config: (config.mean, -config.number))
        missing = self._wanted - self._begun[best.number]
        early = len(self._sampled) < self._startup and (left is None or left > missing)
        return None if missing <= 0 or early else (best.number, self._params[best.number])

    def begun(self, original: int) -> None:
        """Count a repeat of a config that is about to begin."""
        self._begun[original] += 1
