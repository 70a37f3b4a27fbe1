"""Cautions of how the best config was measured."""

from __future__ import annotations

from results.analysis.caution import Caution
from results.style.words import count, listed
from results.warnings.base import CONFIRM, SCORE, Evidence


def chosen_by_validation(findings: Evidence) -> list[Caution]:
    """Return a score that was measured where it was chosen."""
    confirmation, contest = findings.confirmation, findings.contest
    if contest.best is None or contest.source == "confirmed":
        return []
    if confirmation is None:
        scored = sum(trial.value is not None for trial in findings.study.trials)
        return [
            Caution(
                "not confirmed",
                f"Not confirmed: chosen among {count(scored, 'validation score')} and "
                "measured on the same images, so fresh images will show less.",
                f"{CONFIRM} retrains the best configs over several seeds and scores them on the "
                "untouched test split.",
            )
        ]
    total, missing = len(confirmation.plan.runs), len(confirmation.missing)
    if missing:
        text = f"The confirmation is not finished: {total - missing} of {total} trainings ended."
        return [Caution("not confirmed", text, f"Run {CONFIRM} again: it goes on where it was.")]
    failed = count(len(confirmation.failed), "training")
    text = f"The confirmation came to no result: {failed} failed, no config has all its seeds."
    return [Caution("not confirmed", text, f"Mend what failed and run {CONFIRM} again.")]


def resolution(findings: Evidence) -> list[Caution]:
    """Return a model that was not scored, or not at the size of the images."""
    contest = findings.contest
    if contest.best is None or contest.source == "confirmed":
        return []
    if contest.source == "search":
        return [
            Caution(
                "not scored",
                "Not scored image by image: no intervals, no pictures, and Dice at the size of "
                "training instead of the images' own.",
                f"Run {SCORE}.",
            )
        ]
    if contest.evaluation is not None and contest.evaluation.resolution == "prepared":
        return [
            Caution(
                "resolution",
                "Scored at the size of the prepared data: the images themselves were out of reach.",
                f"Run {SCORE} where the data's source can be read.",
            )
        ]
    return []


def baseline(findings: Evidence) -> list[Caution]:
    """Return baselines that are not there, were not measured, or not trained in full."""
    contest = findings.contest
    if contest.best is None:
        return []
    found = []
    if contest.missing:
        names = listed([f"“{trial.baseline}”" for trial in contest.missing])
        command = CONFIRM if contest.source == "confirmed" else SCORE
        found.append(
            Caution(
                "baseline",
                f"Not compared with the baseline {names}, which was not measured alike.",
                f"{command} measures the best baseline with the best config.",
            )
        )
    if short := [each.trial for each in contest.baselines if contest.shortfall(each)]:
        names = listed([f"“{trial.baseline}”" for trial in short])
        found.append(
            Caution(
                "short baseline",
                f"Not trained in full: baseline {names}. What was gained over it is not known.",
                _in_full({trial.state for trial in short}),
            )
        )
    if found or contest.baselines or contest.best.trial.baseline is not None:
        return found
    return [
        Caution(
            "no baseline",
            "No baseline has finished an epoch: how much the search gained is not known.",
            "Name the config that you use today under search.baselines and run again.",
        )
    ]


def _in_full(states: set[str]) -> str:
    """Return what to do for baselines that were stopped early, failed or run."""
    if "PRUNED" in states:
        return (
            f"{CONFIRM} trains both anew; later searches train baselines in full with "
            "search.prune_baselines: false."
        )
    if "RUNNING" in states:
        return "Run the search again: it goes on with them."
    return "See error.txt in their folders."
