"""Whether a search has found enough: ``search.stop_when``."""

from __future__ import annotations

from collections.abc import Iterable

from optuna.trial import FrozenTrial

from results.analysis.convergence import chance_of_gain
from search.config.settings import SearchSettings
from search.study.attributes import BASELINE, REPEAT_OF, is_own
from search.study.repeats import Repeats


class Enough:
    """Tells from the trials that have ended whether more of them are worth it.

    Args:
        search: ``stop_when`` and ``startup_trials``.
        repeats: Knows the best value: a config's mean over all the trainings it is to have.
    """

    def __init__(self, search: SearchSettings, repeats: Repeats) -> None:
        self._rule = search.stop_when
        self._startup = search.startup_trials
        self._repeats = repeats
        # State and value of the sampler's own trials, by number.
        self._sampled: dict[int, tuple[str, float | None]] = {}

    def after(self, trials: Iterable[FrozenTrial]) -> str | None:
        """Take trials that have ended; say why the search may end, None where it may not."""
        if self._rule is None:
            return None
        for trial in trials:
            self._take(trial)
        return self._goal_reached() or self._little_to_gain()

    def _take(self, trial: FrozenTrial) -> None:
        if not (trial.state.is_finished() and is_own(trial)):
            return
        value = trial.value if trial.state.name == "COMPLETE" else None
        if not {BASELINE, REPEAT_OF} & trial.user_attrs.keys():
            self._sampled[trial.number] = trial.state.name, value

    def _goal_reached(self) -> str | None:
        goal = self._rule.value if self._rule else None
        best = self._repeats.best
        if goal is None or best is None or best < goal:
            return None
        return f"search.stop_when: the best value, {best:.4f}, has reached {goal:g}"

    def _little_to_gain(self) -> str | None:
        rule, best = self._rule, self._repeats.best
        if rule is None or rule.chance is None or best is None:
            return None
        outcomes = [self._sampled[number] for number in sorted(self._sampled)]
        chance = chance_of_gain(outcomes, self._startup, best, rule.trials, rule.gain)
        if chance is None or chance >= rule.chance:
            return None
        return (
            f"search.stop_when: {rule.trials} more trials would gain {rule.gain:g} or more with a "
            f"probability of {100 * chance:.2g} %, less than {100 * rule.chance:g} %"
        )
