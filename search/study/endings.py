"""How trials end: their final state, recorded in the study once and mirrored in their folder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from results.records.epochs import best_of, epochs_in
from search.config.objectives import values_of
from search.config.schema import StudyConfig
from search.process.memory import OUT_OF_MEMORY
from search.storage.files import trial_folder
from search.study import attributes
from search.study.live_trial import LiveTrial
from search.study.opening import mirror_trial


class Endings:
    """Tells the study how its trials ended.

    Args:
        study: The opened study.
        config: The study's config.
    """

    def __init__(self, study: optuna.Study, config: StudyConfig) -> None:
        self._study = study
        self._config = config

    def end(self, live: LiveTrial, done: bool) -> tuple[FrozenTrial, TrialState] | None:
        """Tell the end of a trial; return it with its state, or None where it only stopped.

        Args:
            live: The trial.
            done: Whether its worker has trained it to its end, or it failed.
        """
        state = self._final_state(live, done)
        if state is None:
            return None
        if not live.epochs:
            self._recall(live)
        note(live.trial, known_of(live))
        if live.reason and live.reason.startswith(OUT_OF_MEMORY):
            live.trial.set_constraint("memory", 1.0)
        return self._tell(live.trial, live.best_value, state), state

    def settle(self, frozen: FrozenTrial) -> FrozenTrial | None:
        """Tell the end of a trial that its driver had decided and was killed before telling.

        None where it had not.
        """
        if attributes.REASON in frozen.user_attrs:
            state = TrialState.FAIL
        elif attributes.STOPPED in frozen.user_attrs or attributes.LIMIT in frozen.user_attrs:
            state = TrialState.PRUNED
        else:
            return None
        return self._tell(Trial(self._study, frozen._trial_id), None, state)

    def mirror(self, trial: Trial) -> None:
        frozen = self._study._storage.get_trial(trial._trial_id)
        mirror_trial(self._config.directory, frozen)

    def _final_state(self, live: LiveTrial, done: bool) -> TrialState | None:
        if live.reason:
            return TrialState.FAIL
        if live.pruned or live.broken:
            return TrialState.PRUNED
        if not done:
            return None
        if live.best_value is None or not math.isfinite(live.best_value):
            how = "undefined" if live.best_value is None else str(live.best_value)
            live.reason = f"{self._config.search.objective} was {how} in every epoch"
            live.best_value = None
            return TrialState.FAIL
        return TrialState.COMPLETE

    def _recall(self, live: LiveTrial) -> None:
        """Take what a trial's earlier workers have left, where its last one reported nothing."""
        epochs = epochs_in(trial_folder(self._config.directory, live.trial.number))
        if epochs:
            live.epochs = epochs[-1].epoch
        best = best_of(epochs)
        if best is not None and best.objective is not None and math.isfinite(best.objective):
            live.best_value, live.best_epoch = best.objective, best.epoch

    def _tell(self, trial: Trial, best_value: float | None, state: TrialState) -> FrozenTrial:
        values: dict[str, float] = {}
        if state is TrialState.COMPLETE and best_value is not None:
            search, cost = self._config.search, trial.user_attrs.get(attributes.COST) or {}
            values = values_of(search.objective, best_value, search.minimize, cost)
            note(trial, {attributes.VALUES: values if search.minimize else None})
        frozen = self._study._storage.get_trial(trial._trial_id)
        if not frozen.state.is_finished():  # it is, where its telling was only half acknowledged
            frozen = self._study.tell(trial, list(values.values()) or None, state=state)
        mirror_trial(self._config.directory, frozen)
        return frozen


def known_of(live: LiveTrial) -> dict[str, Any]:
    """Return what is known of a trial, as the study's attributes; None where it is not."""
    return {
        attributes.EPOCHS: live.epochs or None,
        attributes.BEST_VALUE: live.best_value,
        attributes.BEST_EPOCH: live.best_epoch,
        attributes.REASON: live.reason,
    }


def note(trial: Trial, values: Mapping[str, Any]) -> None:
    """Write a trial's attributes to the study; those that are None or there already are not."""
    known = trial.user_attrs
    for key, value in values.items():
        if value is not None and known.get(key) != value:
            trial.set_user_attr(key, value)
