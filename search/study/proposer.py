"""Asking the sampler: what is trained, what is refused, and what is known already.

A proposal that is predicted to break a limit, or to need as much memory as a trial that ran out of
it, is recorded in the study with its constraint and never trained; the sampler is asked again. One
with the parameters of an earlier trial takes that trial's result. Both are in the study, so that
samplers learn from them, and neither is one of its ``num_trials``.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from foundation.files import write_text
from results.records.proposals import DUPLICATES_NAME, REFUSED_NAME
from search.config.limits import LATENCY
from search.config.schema import StudyConfig
from search.interfaces.observers import Placer
from search.study import attributes
from search.study.attributes import derive_seed, is_own
from search.study.enough import Enough
from search.study.priors import Priors
from search.study.repeats import Repeats
from search.study.screening import ConstraintScreen, limit_name, measured_excess
from search.study.search_space import SearchSpace

_log = logging.getLogger(__name__)

MOST_REFUSED = 100
MOST_DUPLICATES = 50
# A sampler that insists on what is known or refused is helped out by random draws: gp and cma-es
# learn from completed trials alone.
RANDOM_AFTER = 10


@dataclass
class _InARow:
    """Proposals since the last one that was trained."""

    refused: int = 0
    duplicates: int = 0
    limits: Counter[str] = field(default_factory=Counter)


class Proposer:
    """Asks a study for trials to train.

    What is known of earlier trials is read once, then kept: asking costs no look at all of them.

    Args:
        study: The opened study.
        config: Its config.
        num_classes: Classes of the data, the background included; None: as the config says, or 2.
        placer: Knows what memory a config needs on the cluster's nodes, and whether one has it.

    Attributes:
        stuck: Why no proposal will ever be trained, an error of the run; None while there is hope.
        exhausted: Why nothing more is proposed, an end of the search; None before.
        refused: Number of refused proposals by the field of the limit that they broke.
        duplicates: Number of proposals that took, or wait for, an earlier trial's result.
    """

    def __init__(
        self,
        study: optuna.Study,
        config: StudyConfig,
        num_classes: int | None = None,
        placer: Placer | None = None,
    ) -> None:
        self.study = study
        self.config = config
        self.stuck: str | None = None
        self.exhausted: str | None = None
        self.refused: Counter[str] = Counter()
        self.duplicates = 0
        num_classes = num_classes or len(config.data.classes or ()) or 2
        self._judge = ConstraintScreen(config, num_classes, placer)
        self._space = SearchSpace(config)
        self._size = self._space.size
        self._originals: dict[str, tuple[int, int]] = {}  # parameters: trial number and id
        self._tried: set[str] = set()
        self._waiting: dict[int, list[int]] = {}  # number of an original: ids of its duplicates
        self._row = _InARow()
        self._priors = Priors(config.search, self._space.distributions, config.study.seed)
        self._satisfied = False
        self._repeats = Repeats(config.search)
        self._enough = Enough(config.search, self._repeats)
        trials = study.get_trials(deepcopy=False)
        self._random = optuna.samplers.RandomSampler(
            seed=derive_seed(config.study.seed, len(trials), 1)
        )
        self._read(trials)

    def next(self, left: int | None = None) -> Trial | None:
        """Ask until a proposal is to be trained; None where there will be none.

        Args:
            left: Trials that may still begin, this one among them; None: no limit.
        """
        while True:
            self._enqueue_repeat(left)
            if self._is_over():
                return None
            self._enqueue_near_prior()
            trial = self._ask()
            if self.admit(trial):
                return trial

    def admit(self, trial: Trial) -> bool:
        """Return whether a trial with all its parameters is to be trained; tell it if not."""
        params = trial.params
        key = _key(params)
        self._tried.add(key)
        again = attributes.REPEAT_OF in trial.user_attrs
        original = self._originals.get(key)
        if original is not None and not again and not self._repeats_elsewhere(trial, original):
            self._row.duplicates += 1
            self._repeat(trial, *original)
            return False
        excesses, reasons = self._judge.judge(params)
        if reasons and not again:  # what was trained here before can be trained again
            self._row.refused += 1
            self._refuse(trial, excesses, reasons)
            return False
        for name, excess in excesses.items():
            if name != LATENCY and not reasons:  # it will be measured
                _constrain(trial, name, excess)
        if not again:
            self._originals[key] = (trial.number, trial._trial_id)
        self._row = _InARow()
        return True

    def measured(self, trial: Trial) -> str:
        """Take what was measured of a trial's model; return how it breaks a limit, or ''."""
        cost = trial.user_attrs.get(attributes.COST) or {}
        found = measured_excess(self.config, cost)
        if found is None:
            return ""
        if LATENCY not in trial.constraints:
            self._judge.learn_latency(cost)
            _constrain(trial, LATENCY, found[0])
        return found[1]

    def ended(self, trial: FrozenTrial) -> None:
        """Take the end of a trial, and tell it to the duplicates that waited for it."""
        if trial.state is TrialState.FAIL and attributes.REPEAT_OF not in trial.user_attrs:
            self._originals.pop(_key(trial.params), None)
        self._repeats.ended(trial)
        self._priors.take(trial)
        self._judge.learn_memory(trial)
        self._look_whether_enough([trial])
        for trial_id in self._waiting.pop(trial.number, ()):
            self._retell(Trial(self.study, trial_id), trial)

    def sentences(self) -> list[str]:
        """Return what there is to say of the end of the search."""
        return [reason for reason in (self.stuck, self.exhausted) if reason]

    def _enqueue_repeat(self, left: int | None) -> None:
        """Enqueue the leading config, where it is to be trained again and nothing else waits."""
        due = self._due(left)
        if due is not None and not self._enqueued():
            original, params = due
            self.study.enqueue_trial(dict(params), user_attrs={attributes.REPEAT_OF: original})
            self._repeats.begun(original)

    def _enqueue_near_prior(self) -> None:
        """Enqueue a proposal near a known config, where it is time for one and nothing waits."""
        if not self.config.search.prior_share or self._stuck_in_a_row() or self._enqueued():
            return
        params = self._priors.draw(len(self.study.get_trials(deepcopy=False)))
        if params is not None:
            self.study.enqueue_trial(params, user_attrs={attributes.PRIOR: True})

    def _stuck_in_a_row(self) -> bool:
        """Whether the sampler insists on what is known or refused."""
        return max(self._row.refused, self._row.duplicates) >= RANDOM_AFTER

    def _due(self, left: int | None) -> tuple[int, Mapping[str, Any]] | None:
        """Return the config to train again now; where nothing is proposed any more, at once."""
        if self.stuck or self._satisfied:
            return None
        return self._repeats.due(0 if self.exhausted else left)

    def _ask(self) -> Trial:
        if not self._stuck_in_a_row():
            return self._space.ask(self.study)
        sampler, self.study.sampler = self.study.sampler, self._random
        try:
            return self._space.ask(self.study)
        finally:
            self.study.sampler = sampler

    def _is_over(self) -> bool:
        whole = len(self._tried) >= self._size and not self._enqueued()
        if self._row.refused >= MOST_REFUSED:
            self.stuck = _stuck(f"{MOST_REFUSED} proposals in a row were refused", self._row.limits)
        elif whole and self.refused and not self._originals:
            self.stuck = _stuck(f"all {self._size} points of the space are refused", self.refused)
        elif whole:
            self.exhausted = f"the space is exhausted: each of its {self._size} points was proposed"
        elif self._row.duplicates >= MOST_DUPLICATES:
            self.exhausted = (
                f"the space seems exhausted: {MOST_DUPLICATES} proposals in a row repeat earlier "
                "trials"
            )
        return self.over

    @property
    def over(self) -> bool:
        """Whether nothing more is to be proposed.

        Baselines that wait are tried in any case, and leading configs trained again.
        """
        if self.stuck or not self.exhausted:
            return bool(self.stuck)
        return not self._enqueued() and self._due(0) is None

    def _look_whether_enough(self, trials: list[FrozenTrial]) -> None:
        said = self._enough.after(trials)
        if said and self.exhausted is None:
            self._satisfied, self.exhausted = True, said

    def _enqueued(self) -> bool:
        return bool(self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    # What earlier runs left.

    def _read(self, trials: list[FrozenTrial]) -> None:
        self._write_logs(trials)
        for trial in trials:
            self._repeats.read(trial)
            self._priors.take(trial)
        self._look_whether_enough(trials)
        by_number = {trial.number: trial for trial in trials}
        for trial in trials:
            self._index(trial)
        for trial in trials:
            if trial.state is TrialState.RUNNING and attributes.REFUSED in trial.user_attrs:
                self.study.tell(trial.number, state=TrialState.PRUNED)
            original = by_number.get(trial.user_attrs.get(attributes.DUPLICATE_OF, -1))
            if trial.state is TrialState.RUNNING and original is not None:
                if original.state.is_finished():
                    self._retell(Trial(self.study, trial._trial_id), original)
                else:
                    self._waiting.setdefault(original.number, []).append(trial._trial_id)

    def _index(self, trial: FrozenTrial) -> None:
        known = trial.user_attrs
        if trial.state is TrialState.WAITING or not self._space.is_whole(trial.params):
            return
        begun = trial.state.is_finished() or attributes.SEED in known
        if attributes.REFUSED in known or begun:
            self._tried.add(_key(trial.params))
        if is_own(trial) and begun:
            self._judge.learn(trial)
        if not begun or trial.state is TrialState.FAIL:
            return
        key = _key(trial.params)
        # One that was trained here, and has a folder, goes before one from elsewhere.
        if attributes.REPEAT_OF in known:
            return
        if is_own(trial) or (attributes.FROM_STUDY in known and key not in self._originals):
            self._originals[key] = (trial.number, trial._trial_id)

    # Refusals.

    def _refuse(
        self, trial: Trial, excesses: Mapping[str, float], reasons: Mapping[str, str]
    ) -> None:
        for name, excess in excesses.items():
            _constrain(trial, name, excess)
        names = {limit_name(name, reason): reason for name, reason in reasons.items()}
        trial.set_user_attr(attributes.REFUSED, names)
        frozen = self.study.tell(trial, state=TrialState.PRUNED)
        line = _refused_line(frozen)
        self._row.limits.update(line["limits"])
        self.refused.update(line["limits"])
        self._log(REFUSED_NAME, line)

    # Duplicates.

    def _repeats_elsewhere(self, trial: Trial, original: tuple[int, int]) -> bool:
        """Return whether a baseline was trained in another study alone: here it has no model."""
        if attributes.BASELINE not in trial.user_attrs:
            return False
        return attributes.FROM_STUDY in self.study._storage.get_trial(original[1]).user_attrs

    def _repeat(self, trial: Trial, number: int, original_id: int) -> None:
        trial.set_user_attr(attributes.DUPLICATE_OF, number)
        self.duplicates += 1
        self._log(DUPLICATES_NAME, {"number": trial.number, "duplicate_of": number})
        original = self.study._storage.get_trial(original_id)
        if original.state.is_finished():
            self._retell(trial, original)
        else:
            self._waiting.setdefault(number, []).append(trial._trial_id)

    def _retell(self, trial: Trial, original: FrozenTrial) -> None:
        """Tell a duplicate as its original ended; its own failure is nobody's result."""
        known = self.study._storage.get_trial(trial._trial_id).intermediate_values
        for step, value in original.intermediate_values.items():
            if step not in known:
                trial.report(value, step)
        for name, excess in original.constraints.items():
            _constrain(trial, name, excess)
        if original.state is TrialState.FAIL:
            trial.set_user_attr(
                attributes.REASON, f"trial {original.number}, of the same parameters, failed"
            )
        values = original.values if original.state is TrialState.COMPLETE else None
        self.study.tell(trial, values, state=original.state)

    # The mirror that is read without Optuna.

    def _write_logs(self, trials: list[FrozenTrial]) -> None:
        refused = [_refused_line(t) for t in trials if attributes.REFUSED in t.user_attrs]
        repeated = [
            {"number": t.number, "duplicate_of": t.user_attrs[attributes.DUPLICATE_OF]}
            for t in trials
            if t.user_attrs.get(attributes.DUPLICATE_OF) is not None
        ]
        self.refused.update(name for line in refused for name in line["limits"])
        self.duplicates = len(repeated)
        for name, lines in ((REFUSED_NAME, refused), (DUPLICATES_NAME, repeated)):
            path = self.config.directory / name
            if lines or path.exists():
                write_text(path, "".join(f"{json.dumps(line)}\n" for line in lines))

    def _log(self, name: str, line: Mapping[str, Any]) -> None:
        try:
            with open(self.config.directory / name, "a", encoding="utf-8") as file:
                file.write(f"{json.dumps(line)}\n")
        except OSError as error:  # the study has it, and the next run writes the file anew
            _log.warning("%s: %s", name, error)


def _stuck(what: str, limits: Counter[str]) -> str:
    counts = ", ".join(f"{count} by {name}" for name, count in limits.most_common())
    return f"stopped: {what}: {counts}; expected a space with configs within these limits"


def _refused_line(trial: FrozenTrial) -> dict[str, Any]:
    reasons = trial.user_attrs[attributes.REFUSED]
    return {
        "number": trial.number,
        "params": trial.params,
        "reason": "; ".join(reasons.values()),
        "limits": list(reasons),
        "constraints": trial.constraints,
    }


def _constrain(trial: Trial, name: str, excess: float) -> None:
    """Set a constraint once: Optuna keeps the first and warns of the second."""
    if name not in trial.constraints:
        trial.set_constraint(name, excess)


def _key(params: Mapping[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)
