"""TPE whose suggestions cost the same after ten thousand trials as after a few hundred.

Optuna's TPE divides all finished trials of a study into the best and the rest at every suggestion,
and models the density of each. The best are 25 at most; the rest grow with the study, though a
sample of them has the same density. Here TPE models the best and such a sample.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.sampler import _split_trials, default_gamma
from optuna.trial import FrozenTrial, TrialState

SAMPLE = 500
# TPE models a tenth of the finished trials as the best, but no more than these.
BEST = 25

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_Row = tuple[float, ...]


class BoundedTPESampler(TPESampler):
    """Optuna's TPE over the best finished trials of a study and a sample of the rest.

    The best are so by TPE's own order: complete trials by value, then pruned ones by epoch and
    value, then those that broke a limit. The sample are the trials whose numbers have the smallest
    hashes, so that what is looked at follows from the study alone, whichever run asks. Trials that
    run are all looked at; TPE counts them among the rest.

    While the sample holds all finished trials, the proposals are those of Optuna's sampler. They
    always are with several objectives, where the best are a tenth of all trials, however many.

    One sampler is for one study.

    Args:
        n_startup_trials: Trials drawn at random first.
        seed: Of the draws.
        sample: Finished trials in the sample.
    """

    def __init__(
        self, n_startup_trials: int = 10, seed: int | None = None, sample: int = SAMPLE
    ) -> None:
        super().__init__(n_startup_trials=n_startup_trials, seed=seed)
        self._size = sample
        self._selections: dict[int | None, _Selection] = {}
        self._rows: dict[tuple[tuple[str, BaseDistribution], ...], dict[int, _Row]] = {}

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the parameters that all finished trials have; they are drawn together."""
        selection = self._select(study)
        if selection is None:
            return super().infer_relative_search_space(study, trial)
        return {name: d for name, d in selection.space.items() if not d.single()}

    def _sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        # As Optuna's, which counts the finished trials by looking at each.
        selection = self._select(study)
        if selection is None:
            return super()._sample_relative(study, trial, search_space)
        if not search_space or selection.finished < self._n_startup_trials:
            return {}
        return self._sample(study, trial, search_space)

    def _sample(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        selection = self._select(study)
        if selection is None:
            return super()._sample(study, trial, search_space)
        below, above = selection.split(study)
        running = study._get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        above += [other for other in running if other.number != trial.number]
        above.sort(key=lambda other: other.number)
        # From here on as Optuna's.
        good = self._build_parzen_estimator(study, search_space, below, handle_below=True)
        bad = self._build_parzen_estimator(study, search_space, above, handle_below=False)
        drawn = good.sample(self._rng.rng, self._n_ei_candidates)
        chosen = self._compare(drawn, self._compute_acquisition_func(drawn, good, bad))
        return {name: d.to_external_repr(chosen[name]) for name, d in search_space.items()}

    def _select(self, study: optuna.Study) -> _Selection | None:
        """Return what is looked at; None: all."""
        if len(study.directions) > 1:
            return None
        # Hyperband asks for each of its brackets with a study of its own, which may hide trials.
        bracket = getattr(study, "_bracket_id", None)
        selection = self._selections.setdefault(bracket, _Selection(self._size))
        selection.update(study)
        return selection

    def _get_internal_repr(
        self,
        trials: Sequence[FrozenTrial],
        search_space: dict[str, BaseDistribution],
        study: optuna.Study,
    ) -> dict[str, NDArray[Any]]:
        """Return the trials' parameters as numbers; they are kept, for none changes once drawn."""
        known = self._rows.setdefault(tuple(search_space.items()), {})
        rows = []
        for trial in trials:
            row = known.get(trial.number)
            if row is None:
                whole = search_space.keys() <= trial.params.keys()
                params = trial.params if whole else self._get_params(trial, study)
                row = _numbers(params, search_space)
                if whole:
                    known[trial.number] = row
            if row:
                rows.append(row)
        table = np.array(rows, dtype=float).reshape(len(rows), len(search_space))
        return {name: table[:, column] for column, name in enumerate(search_space)}


def _numbers(params: dict[str, Any], search_space: dict[str, BaseDistribution]) -> _Row:
    """Return parameters as numbers; none where some are missing."""
    if not search_space.keys() <= params.keys():
        return ()
    return tuple(d.to_internal_repr(params[name]) for name, d in search_space.items())


class _Selection:
    """The finished trials of a study that are looked at, kept up to date as others finish.

    Args:
        size: Of the sample.

    Attributes:
        finished: Number of all finished trials.
        space: The parameters that all of them have, by name.
    """

    def __init__(self, size: int) -> None:
        self.finished = 0
        self.space: dict[str, BaseDistribution] = {}
        self._size = size
        self._best: list[FrozenTrial] = []
        self._sample: list[tuple[int, int, FrozenTrial]] = []  # a heap: -hash, number
        self._open: list[int] = []  # positions of the trials that have not ended
        self._seen = 0

    def update(self, study: optuna.Study) -> None:
        """Take in the trials that have finished since the last time."""
        # Read once a suggestion: a list of ten thousand trials takes a millisecond.
        trials = study._get_trials(deepcopy=False, use_cache=True)
        candidates = [*self._open, *range(self._seen, len(trials))]
        self._open = [at for at in candidates if not trials[at].state.is_finished()]
        self._seen = len(trials)
        new = [trials[at] for at in candidates if trials[at].state in _FINISHED]
        if not new:
            return
        if not self.finished:
            self.space = dict(sorted(new[0].distributions.items()))
        self.finished += len(new)
        # The best of all are among the best so far and the new ones.
        contenders = sorted([*self._best, *new], key=lambda trial: trial.number)
        self._best, _ = _split_trials(study, contenders, BEST)
        for trial in new:
            shared = trial.distributions
            self.space = {name: d for name, d in self.space.items() if shared.get(name) == d}
            heapq.heappush(self._sample, (-_hash(trial.number), trial.number, trial))
            if len(self._sample) > self._size:
                heapq.heappop(self._sample)

    def split(self, study: optuna.Study) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
        """Return what TPE models as the best, and a sample of the rest; the first by number."""
        best, _ = _split_trials(study, self._best, default_gamma(self.finished))
        numbers = {trial.number for trial in best}
        return best, [trial for _, number, trial in self._sample if number not in numbers]


def _hash(number: int) -> int:
    """Return a hash of a trial's number: the trials with the smallest are a random sample."""
    return int.from_bytes(hashlib.sha256(str(number).encode()).digest()[:8])
