"""The trials to hand out: interrupted ones first, then what the sampler proposes."""

from __future__ import annotations

from collections.abc import Callable, Container

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from search.config.schema import StudyConfig
from search.study.attributes import DUPLICATE_OF, SEED
from search.study.opening import started_trials
from search.study.proposer import Proposer
from search.study.search_space import SearchSpace


class TrialQueue:
    """Adopts trials that lost their workers, and asks the sampler for new ones.

    Args:
        study: The opened study. It is this process' alone, so a trial that is RUNNING in it without
            a worker has lost it, maybe with an earlier driver.
        config: The study's config.
        proposer: Asks the sampler.
        settle: Tells the end of a trial whose earlier driver had decided it; returns whether it
            did.
    """

    def __init__(
        self,
        study: optuna.Study,
        config: StudyConfig,
        proposer: Proposer,
        settle: Callable[[FrozenTrial], bool],
    ) -> None:
        self._study = study
        self._limit = config.search.num_trials
        self._proposer = proposer
        self._settle = settle
        self._space = SearchSpace(config)
        self._interrupted: list[int] = []
        self._started = 0

    @property
    def waiting(self) -> bool:
        """Whether an interrupted trial is to be handed out again."""
        return bool(self._interrupted)

    @property
    def all_begun(self) -> bool:
        """Whether no new trial will be proposed: there are enough, or none is left or wanted."""
        enough = self._limit is not None and self._started >= self._limit
        return enough or self._proposer.over

    def adopt(self, held: Container[int]) -> None:
        """Take up the RUNNING trials that nobody holds; tell those whose end was decided.

        Args:
            held: Optuna's identifiers of those that Ray holds.
        """
        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            known = frozen._trial_id in held or frozen._trial_id in self._interrupted
            # Duplicates wait for their originals, without a worker.
            if known or frozen.user_attrs.get(DUPLICATE_OF) is not None:
                continue
            if not self._settle(frozen):
                self._interrupted.append(frozen._trial_id)
        self._started = len(started_trials(self._study))

    def again(self, trial: Trial) -> None:
        """Hand out a trial once more, which goes on from its last epoch."""
        self._interrupted.append(trial._trial_id)

    def next(self) -> Trial | None:
        """Return the trial to hand out now; None where the sampler has none."""
        while self._interrupted:
            trial = Trial(self._study, self._interrupted[0])
            begun = SEED in trial.user_attrs
            # A driver killed while it asked has left some of the parameters to be drawn.
            self._space.complete(trial)
            admitted = begun or self._proposer.admit(trial)
            del self._interrupted[0]
            if admitted:
                return trial
            self._started -= 1
        if self.all_begun:
            return None
        left = None if self._limit is None else self._limit - self._started
        proposed = self._proposer.next(left)
        self._started += proposed is not None
        return proposed
