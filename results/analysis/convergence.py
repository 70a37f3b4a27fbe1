"""Is another 20 trials worth it? What the best trials' spread says of the next ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from results.records.study import StudyRecord

MARGIN = 0.01
MINIMUM_TRIALS = 20
MINIMUM_COMPLETE = 10
ASSUMPTION = (
    "The next trials are taken to be like the last ones: a sampler that still learns does better "
    "than this, one that repeats itself worse. Beyond the best trials the scores are taken to thin "
    "out exponentially; where they near a ceiling, the forecast promises too much."
)

_FEWEST_IN_TAIL = 5
_TAIL_SHARE = 100
_CEILING = 1.0  # of Dice
_LEVEL = 0.95
_QUANTILES = 99
_STEPS = 500
_COLUMNS = ["more", "probability", "low", "high", "expected_gain", "any_gain"]

Floats = NDArray[np.float64]
Outcome = tuple[str, float | None]  # a finished trial's state and value


@dataclass(frozen=True)
class Tail:
    """The best scores of a search, as peaks over a threshold.

    Attributes:
        best: The highest of them.
        excess: Sum over the k best of score - the next lower one.
        count: k.
        trials: n, that they are the best of.
    """

    best: float
    excess: float
    count: int
    trials: int


@dataclass(frozen=True, eq=False)
class Convergence:
    """What more trials may bring.

    Attributes:
        table: Columns more (trials), probability (0..1, that the best of them beats the incumbent
            by ``margin`` or more), low, high (its 95 % range, from what is not known of the tail's
            scale alone), expected_gain (in Dice, over all cases, those without a gain too),
            any_gain (0..1, that the best of these trials is beaten at all: more /
            (more + trials), whatever the scores' distribution). Empty where there are too few
            trials.
        trials: Finished trials of the sampler's that were used.
        tail: None where the table is empty.
        margin: In Dice.
        since_trials: Finished trials after the incumbent, by number; None without an incumbent.
        since_epochs: Their epochs.
        reason: Why the table is empty; None where it is not.
        assumption: What has to hold, in words.
    """

    table: pd.DataFrame
    trials: int
    tail: Tail | None
    margin: float
    since_trials: int | None
    since_epochs: int | None
    reason: str | None = None
    assumption: str = ASSUMPTION


def convergence(
    study: StudyRecord, more: Sequence[int] = (20,), margin: float = MARGIN
) -> Convergence:
    """Tell how likely more trials beat the incumbent.

    Told from the sampler's own finished trials (no baselines), those after its startup trials
    where they are at least 20 with 10 COMPLETE ones, else from all of them. A trial that was
    pruned or failed counts as one that did not get there.

    Args:
        study: The study's records.
        more: Numbers of further trials.
        margin: What a gain has to be at least, in Dice.
    """
    own = [
        t
        for t in study.trials
        if t.baseline is None and t.repeat_of is None and t.state != "RUNNING"
    ]
    scores, used = _used([(t.state, t.value) for t in own], _startup_trials(study))
    since_trials, since_epochs = _since_improvement(study)
    incumbent = study.incumbent
    tail, reason = None, _why_not(used, len(scores))
    if reason is None:
        tail = exponential_tail(scores, used)
        if tail is None:
            reason = "The best trials all have the same value: their spread tells nothing."
    rows = []
    if tail is not None and incumbent is not None and incumbent.value is not None:
        rows = [
            {
                "more": m,
                **forecast(tail, max(incumbent.value, tail.best), m, margin),
                "any_gain": m / (m + used),
            }
            for m in more
        ]
    table = pd.DataFrame(rows, columns=_COLUMNS)
    return Convergence(table, used, tail, margin, since_trials, since_epochs, reason)


def chance_of_gain(
    outcomes: Sequence[Outcome], startup: int, best: float, more: int, margin: float
) -> float | None:
    """Return the probability that more trials beat the best one by a margin, as `convergence`.

    Args:
        outcomes: Of the sampler's finished trials, in order.
        startup: Trials that it draws at random first.
        best: The score to beat, of a baseline perhaps.
        more: Trials.
        margin: What a gain has to be at least, in Dice.

    Returns:
        None where there are too few trials to tell it.
    """
    scores, used = _used(outcomes, startup)
    if _why_not(used, len(scores)):
        return None
    tail = exponential_tail(scores, used)
    # A config's mean over several trainings may be less than a single one's best.
    beat = best if tail is None else max(best, tail.best)
    return None if tail is None else forecast(tail, beat, more, margin)["probability"]


def _why_not(trials: int, complete: int) -> str | None:
    if trials >= MINIMUM_TRIALS and complete >= MINIMUM_COMPLETE:
        return None
    return (
        f"What more trials would bring is told from at least {MINIMUM_TRIALS} finished trials of "
        f"the sampler's, {MINIMUM_COMPLETE} of them COMPLETE; so far there are {trials} and "
        f"{complete}."
    )


def _used(outcomes: Sequence[Outcome], startup: int) -> tuple[Floats, int]:
    """Return the scores of the COMPLETE trials that tell, and how many trials tell in all."""
    later = outcomes[startup:]
    enough = not _why_not(len(later), len(_scores(later)))
    used = later if enough else outcomes
    return _scores(used), len(used)


def _scores(outcomes: Sequence[Outcome]) -> Floats:
    values = [value for state, value in outcomes if state == "COMPLETE" and value is not None]
    scores = np.array(values, np.float64)
    return scores[np.isfinite(scores)]


def _startup_trials(study: StudyRecord) -> int:
    search = study.config.get("search")
    startup = search.get("startup_trials") if isinstance(search, Mapping) else None
    return startup if isinstance(startup, int) and startup > 0 else 0


def _since_improvement(study: StudyRecord) -> tuple[int | None, int | None]:
    if study.incumbent is None:
        return None, None
    number = study.incumbent.number
    later = [t for t in study.trials if t.number > number and t.state != "RUNNING"]
    return len(later), sum(max(trial.epochs, len(trial.curve)) for trial in later)


def exponential_tail(scores: ArrayLike, trials: int) -> Tail | None:
    """Describe the k best scores by their excess over the next one; k = max(5, a hundredth).

    Peaks over a threshold (Pickands, Annals of Statistics 3, 1975; Davison and Smith, JRSS B 52,
    1990), of which the exponential is the case of shape 0: so few peaks do not tell the shape.

    Args:
        scores: Of the COMPLETE trials; at least 6, finite.
        trials: n, COMPLETE or not.

    Returns:
        None where the best are all equal.

    Raises:
        ValueError: for fewer scores than 6 or fewer trials than scores.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))[::-1]
    if len(ordered) <= _FEWEST_IN_TAIL or trials < len(ordered):
        raise ValueError(
            f"expected at least {_FEWEST_IN_TAIL + 1} scores and no fewer trials, received "
            f"{len(ordered)} and {trials}"
        )
    count = max(_FEWEST_IN_TAIL, len(ordered) // _TAIL_SHARE)
    excess = float((ordered[:count] - ordered[count]).sum())
    return Tail(float(ordered[0]), excess, count, trials) if excess > 0 else None


def forecast(tail: Tail, incumbent: float, more: int, margin: float = MARGIN) -> dict[str, float]:
    """Forecast the best of more trials.

    How many of m trials beat the best of n like them does not depend on the scores' distribution
    (Gumbel and von Schelling, Annals of Mathematical Statistics 21, 1950): at least j do with
    probability prod (m - i) / (n + m - i), i < j. By how much each does is exponential. The
    scale's posterior under Jeffreys' prior is inverse gamma of shape k and the summed excess: the
    probability is its mean over it. The expected gain takes the scale's estimate, excess / k,
    without bias.

    Args:
        tail: Of the trials so far.
        incumbent: The score to beat, no lower than the tail's best.
        more: m >= 1.
        margin: What a gain has to be at least.

    Returns:
        probability, low, high and expected_gain, as in ``Convergence``.
    """
    from scipy.special import gammaincinv  # type: ignore[import-untyped]

    ends = (1 - _LEVEL) / 2, (1 + _LEVEL) / 2
    middles = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    scales = tail.excess / gammaincinv(tail.count, np.array([*middles, *ends]))
    beaten = _beaten(tail, scales, np.array([incumbent + margin]), more)[:, 0]
    levels = np.linspace(incumbent, max(_CEILING, incumbent), _STEPS + 1)
    curve = _beaten(tail, np.array([tail.excess / tail.count]), levels, more)[0]
    low, high = sorted(beaten[_QUANTILES:])
    return {
        "probability": float(beaten[:_QUANTILES].mean()),
        "low": float(low),
        "high": float(high),
        "expected_gain": float(np.trapezoid(curve, levels)),
    }


def _beaten(tail: Tail, scales: Floats, levels: Floats, more: int) -> Floats:
    """[scales, levels] probability that the best of ``more`` trials is above the level."""
    above = np.exp(-np.maximum(levels - tail.best, 0.0)[None] / scales[:, None])
    ahead = np.arange(more)
    at_least = np.cumprod((more - ahead) / (tail.trials + more - ahead))
    exactly = at_least - np.append(at_least[1:], 0.0)
    found = np.zeros_like(above)
    none = np.ones_like(above)  # of the trials that beat the best, none is above the level
    for share in exactly:
        none *= 1 - above
        found += share * (1 - none)
    return np.where(levels < _CEILING, found, 0.0)
