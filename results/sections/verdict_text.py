"""The verdict in sentences, computed: how sure a gain is, what to trust, what to do next."""

from __future__ import annotations

import math

import pandas as pd

from results.analysis.baseline_comparison import BaselineComparison, MeasuredConfig
from results.analysis.convergence import Convergence
from results.figures.drawing import objective_name
from results.sections.outlook import percent
from results.style.words import count, listed, number, signed
from results.tables.verdict import Estimate, objective_difference, objective_estimate
from results.warnings import CONFIRM, SCORE, Caution
from results.warnings.search import LIKELY_GAIN, ended_rising

# Outcome, whether fewer than five groups show the class, and what is said.
_OUTCOMES = (
    ("gains", False, "gains in"),
    ("loses", False, "loses in"),
    ("gains", True, "seems to gain, on few groups, in"),
    ("loses", True, "seems to lose, on few groups, in"),
    ("open", None, "cannot be told apart in"),
)


def interval(low: float, high: float, sign: bool = False) -> str:
    """Return an interval's ends: "0.652 to 0.771"; empty where there is none."""
    if math.isnan(low) or math.isnan(high):
        return ""
    text = signed if sign else number
    return f"{text(low)} to {text(high)}"


def objective_words(contest: BaselineComparison) -> str:
    """Return the objective within a sentence: "mean foreground Dice"."""
    name = objective_name(contest.study)
    return name[:1].lower() + name[1:]


def baseline_name(baseline: MeasuredConfig) -> str:
    """ "baseline “reference”"."""
    return f"baseline “{baseline.trial.baseline}”"


def gain_sentence(contest: BaselineComparison, baseline: MeasuredConfig) -> str:
    """Return what the best config gains over a baseline, and what the interval leaves out.

    Real is a gain of configs that were confirmed over several seeds, on enough groups; of one
    training each it can only be above chance on these groups.
    """
    gain, name = objective_difference(contest, baseline), baseline_name(baseline)
    if math.isnan(gain.value):
        return f"It cannot be compared with the {name}: one of them has no value."
    far = f"{signed(gain.value)} {objective_words(contest)}"
    if shortfall := contest.shortfall(baseline):
        ends = interval(gain.low, gain.high, sign=True)
        far += f" (95 % interval {ends})" if ends else ""
        return (
            f"Against the {name}, which had {shortfall[0]} of its {count(shortfall[1], 'epoch')}, "
            f"it has {far}: no gain can be told from unequal training."
        )
    if contest.source == "search":
        return (
            f"Against the {name} it has {far} in the search; whether that is above chance is told "
            f"once both are scored ({SCORE})."
        )
    if not gain.has_interval:
        return f"Against the {name} it has {far}; one group alone shows the classes: no interval."
    return _told(contest, gain, name, far) + _reserve(contest, gain)


def _told(contest: BaselineComparison, gain: Estimate, name: str, far: str) -> str:
    ends = f"95 % interval {interval(gain.low, gain.high, sign=True)}"
    if gain.outcome == "gains":
        return f"The gain over the {name} is {_how_sure(contest, gain)}: {far} ({ends})."
    if gain.outcome == "loses":
        return f"It is worse than the {name} on {_where(contest)}: {far} ({ends})."
    return (
        f"It is not distinguishable from the {name} on {_where(contest)}: {far}, and the "
        f"{ends} includes 0."
    )


def _how_sure(contest: BaselineComparison, gain: Estimate) -> str:
    if _seeds(contest) == 1:
        return f"above chance for these two trained models on {_where(contest)}"
    return f"{'above chance' if gain.few else 'real'} on {_where(contest)}"


def _seeds(contest: BaselineComparison) -> int:
    """Return trainings of the best config that differ in their seed alone."""
    found = contest.best.found if contest.best else None
    return found.seeds if found is not None and contest.source == "confirmed" else 1


def _where(contest: BaselineComparison) -> str:
    evaluation = contest.evaluation
    groups, seeds = len(set(evaluation.groups)) if evaluation else 0, _seeds(contest)
    words = "this one group" if groups == 1 else f"these {groups:,} groups"
    return f"{words} and {seeds} seeds" if seeds > 1 else words


def _reserve(contest: BaselineComparison, gain: Estimate) -> str:
    """Return what the interval does not know."""
    parts = []
    if contest.source == "scored":
        parts.append("the best was chosen on the same images, which flatters it")
    if _seeds(contest) == 1:
        what = "training" if contest.source == "scored" else "seed"  # a seed has several folds
        parts.append(f"one {what} each: another seed may differ")
    if gain.few:
        parts.append("some classes have fewer than five groups, so the interval is unreliable")
    return f" Mind: {'; '.join(parts)}." if parts else ""


def classes_against(
    contest: BaselineComparison, baseline: MeasuredConfig, table: pd.DataFrame
) -> str:
    """Return :func:`classes_sentence` of a baseline; empty where it was not trained in full."""
    return "" if contest.shortfall(baseline) else classes_sentence(table)


def classes_sentence(table: pd.DataFrame) -> str:
    """In which foreground classes it gains, loses, or may do either; of a ``class_table``."""
    rows = table[table["kind"] == "class"].iloc[1:]
    if (rows["outcome"] == "unknown").all():
        return _without_intervals(rows)
    parts = [
        f"{words} {listed(names)}"
        for outcome, few, words in _OUTCOMES
        if (names := _classes_of(rows, outcome, few))
    ]
    unknown = rows.loc[rows["outcome"] == "unknown", "class"].tolist()
    tail = f"; without an interval: {listed(unknown)}" if unknown else ""
    return f"It {listed(parts)}{tail}."


def _classes_of(rows: pd.DataFrame, outcome: str, few: bool | None) -> list[str]:
    chosen = rows["outcome"] == outcome
    if few is not None:
        chosen &= rows["few"].astype(bool) == few
    return rows.loc[chosen, "class"].tolist()


def _without_intervals(rows: pd.DataFrame) -> str:
    compared = rows["difference"].dropna()
    if compared.empty:
        return ""
    better = int((compared > 0).sum())
    return f"It beats the baseline in {better} of {len(compared)} foreground classes."


def runner_up_sentence(contest: BaselineComparison) -> str:
    """Return which other confirmed configs are as good, as far as the test shows."""
    if contest.source != "confirmed" or contest.ranking is None or contest.best is None:
        return ""
    complete = contest.ranking[contest.ranking["complete"]]
    others = complete[complete["trial"] != contest.best.trial.number]
    if others.empty:
        return "No other config was confirmed to compare it with."
    tied = [str(int(trial)) for trial in others.loc[others["tied"].astype(bool), "trial"]]
    if not tied:
        return f"It is better than each of the {len(others)} others that were confirmed."
    return f"It is not distinguishable from trial{'s' if tied[1:] else ''} {listed(tied)}."


def weakest(table: pd.DataFrame, most: int = 3) -> pd.DataFrame:
    """Return the foreground classes of the lowest Dice, the lowest first; of a ``class_table``.

    A class that the images do not show is left out: its Dice would show false alarms alone.
    """
    rows = table[table["kind"] == "class"].iloc[1:].dropna(subset="dice")
    rows = rows[~rows["class"].isin(not_shown(table))]
    return rows.sort_values("dice", kind="stable").head(most)


def not_shown(table: pd.DataFrame) -> list[str]:
    """Return the foreground classes that no image shows, where the images were counted."""
    rows = table[table["kind"] == "class"].iloc[1:]
    counted = bool((table["groups"] > 0).any())
    return rows.loc[rows["true_groups"] == 0, "class"].tolist() if counted else []


def short_path(
    contest: BaselineComparison,
    table: pd.DataFrame | None,
    told: tuple[Caution, ...],
    converged: Convergence,
) -> list[dict[str, str]]:
    """Return the five-minute path: question, answer, and the section that shows it."""
    if contest.best is None or table is None:
        return []
    return [
        {"question": "Trust", "answer": trust(contest, told), **_link("verdict-cautions")},
        {"question": "Because", "answer": because(contest), **_link("verdict-classes")},
        {"question": "Still fails on", "answer": fails_on(table), **_link("pictures")},
        {"question": "Next", **_next(contest, table, told, converged)},
    ]


_LINKS = {
    "verdict-cautions": "Cautions",
    "verdict-classes": "Class by class",
    "pictures": "Pictures",
    "search": "Search",
    "parameters": "Hyperparameters",
    "classes": "Dice per class",
}


def _link(section: str) -> dict[str, str]:
    return {"href": f"#{section}", "link": _LINKS[section]}


def trust(contest: BaselineComparison, told: tuple[Caution, ...]) -> str:
    """Return which config to trust, and how far."""
    if contest.best is None:
        return "No config yet."
    trial = contest.best.trial
    if any(caution.kind == "leak" for caution in told):
        return (
            f"No config yet: with the data leak, the scores by which trial {trial.number} leads "
            "mean little."
        )
    name = f"Trial {trial.number}"
    if trial.baseline is not None:
        better = "no searched config beat it"
        if contest.source == "confirmed":  # of the searched ones only the best were confirmed
            better = "no config that was confirmed did better"
        name = f"The baseline “{trial.baseline}”, trial {trial.number}: {better}"
    if contest.source == "confirmed":
        return f"{name}. Confirmed on {_where(contest)}. {runner_up_sentence(contest)}"
    return f"{name}, for now: it is not confirmed ({CONFIRM})."


def because(contest: BaselineComparison) -> str:
    """Return why that config."""
    value = objective_estimate(contest)
    ends = interval(value.low, value.high)
    words = f"{number(value.value)} {objective_words(contest)}{f' ({ends})' if ends else ''}."
    if not contest.baselines and contest.missing:
        command = CONFIRM if contest.source == "confirmed" else SCORE
        name = contest.missing[0].baseline
        return f"{words} The baseline “{name}” was not measured alike ({command})."
    if not contest.baselines:
        itself = contest.best is not None and contest.best.trial.baseline is not None
        other = "other " if itself else ""
        return f"{words} There is no {other}baseline to compare it with."
    return f"{words} {gain_sentence(contest, contest.baselines[0])}"


def fails_on(table: pd.DataFrame) -> str:
    """On which classes it is still weak."""
    rows = weakest(table)
    if rows.empty:
        return "No foreground class is defined in these images."
    absent = not_shown(table)
    tail = f" Not in these images: {listed(absent)}." if absent else ""
    first, rest = rows.iloc[0], rows.iloc[1:]
    ends = interval(first["low"], first["high"])
    words = f"{first['class']}, with Dice {number(first['dice'])}{f' ({ends})' if ends else ''}"
    if rest.empty:
        return f"{words}, the only class.{tail}"
    then = [f"{row['class']} {number(row['dice'])}" for _, row in rest.iterrows()]
    return f"{words}; then {listed(then)}.{tail}"


def _next(
    contest: BaselineComparison,
    table: pd.DataFrame,
    told: tuple[Caution, ...],
    converged: Convergence,
) -> dict[str, str]:
    kinds = {caution.kind: caution for caution in told}
    if "edge of the range" in kinds:
        return {"answer": kinds["edge of the range"].action, **_link("parameters")}
    if contest.best is not None and ended_rising(contest.best.trial):
        return {"answer": kinds["still rising"].action, **_link("search")}
    if converged.table.empty:
        more = kinds.get("few trials")
        answer = more.action if more else "Run more trials; what they bring cannot be told yet."
        return {"answer": answer, **_link("search")}
    row, lowest = converged.table.iloc[0], weakest(table, 1)
    chance = (
        f"{int(row['more'])} more trials gain {converged.margin:g} or more with a probability of "
        f"{percent(row['probability'])}"
    )
    if row["probability"] >= LIKELY_GAIN or lowest.empty:
        return {"answer": f"{chance}: go on searching.", **_link("search")}
    name = lowest.iloc[0]["class"]
    answer = f"{chance}: rather look at the images of {name} and label more of them."
    return {"answer": answer, **_link("search")}
