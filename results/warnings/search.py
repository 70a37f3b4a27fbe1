"""Cautions of the search: whether more of it would end elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from results.analysis.baseline_comparison import BaselineComparison
from results.analysis.caution import Caution
from results.analysis.convergence import Convergence
from results.records.searched import searched_fields
from results.records.study import StudyRecord, TrialRecord
from results.style.words import count, listed

FEW_TRIALS = 20
TRIALS_A_FIELD = 3
MOST_FAILURES = 0.1
LIKELY_GAIN = 0.2


def failures(study: StudyRecord) -> list[Caution]:
    """More than a tenth of the trials failed."""
    ended = [trial for trial in study.trials if trial.state != "RUNNING"]
    failed = len(study.with_state("FAIL"))
    if not failed or failed <= MOST_FAILURES * len(ended):
        return []
    share = f"{100 * failed / len(ended):.0f} %"
    return [
        Caution(
            "failures",
            f"{failed:,} of {count(len(ended), 'ended trial')} failed ({share}): where they did, "
            "the space was not searched.",
            "See the reasons under Search; limit the model's size or lower the batch size where "
            "memory ran out.",
        )
    ]


def few_trials(study: StudyRecord) -> list[Caution]:
    """Fewer trials than 20 or 3 a searched field."""
    scored = sum(
        trial.baseline is None and trial.value is not None and trial.state in ("COMPLETE", "PRUNED")
        for trial in study.trials
    )
    fields = len(searched_fields(study.config))
    wanted = max(FEW_TRIALS, TRIALS_A_FIELD * fields)
    if not study.trials or scored >= wanted:
        return []
    return [
        Caution(
            "few trials",
            f"Few trials: {count(scored, 'scored trial')} for {count(fields, 'searched field')}; "
            "another search could end elsewhere.",
            f"Raise search.num_trials to {wanted} or more and run again: it goes on.",
        )
    ]


def not_converged(converged: Convergence) -> list[Caution]:
    """More trials that would likely gain."""
    if converged.table.empty:
        return []
    row = converged.table.iloc[0]
    if row["probability"] < LIKELY_GAIN:
        return []
    return [
        Caution(
            "not converged",
            f"Not converged: {int(row['more'])} more trials would gain {converged.margin:g} or "
            f"more with a probability of about {100 * row['probability']:.0f} % "
            f"({100 * row['low']:.0f} to {100 * row['high']:.0f} %).",
            "Raise search.num_trials and run again: it goes on.",
        )
    ]


def still_rising(contest: BaselineComparison) -> list[Caution]:
    """Return a best trial that was best at its last epoch."""
    best = contest.best.trial if contest.best else None
    if best is None or not ended_rising(best):
        return []
    place = best.best_of_last
    last = best.best_epoch if place is None else place[0]
    return [
        Caution(
            "still rising",
            f"Trial {best.number} was best at its last epoch, {last}: it had not finished "
            "learning.",
            f"Search or train with more than {last} epochs (train.epochs).",
        )
    ]


def ended_rising(trial: TrialRecord) -> bool:
    """Return whether a trial's best epoch is its last one."""
    if trial.curve.fold.any() and trial.best_of_last is not None:
        best, end = trial.best_of_last
        return best >= end
    last = max(trial.epochs, len(trial.curve))
    return trial.best_epoch is not None and last > 0 and trial.best_epoch >= last


def edges(edges: Sequence[str]) -> list[Caution]:
    """Return ranges whose ends the best trials crowd."""
    if not edges:
        return []
    return [
        Caution(
            "edge of the range",
            f"The best trials crowd an end of the range of {count(len(edges), 'searched field')}.",
            f"Search wider next: {listed(edges)}.",
        )
    ]


def running(study: StudyRecord) -> list[Caution]:
    """Return trials that have not ended."""
    running = len(study.with_state("RUNNING"))
    if not running:
        return []
    return [
        Caution(
            "running",
            f"{count(running, 'trial')} still {'runs' if running == 1 else 'run'}, or "
            f"{'was' if running == 1 else 'were'} cut off: the result may change.",
            "Report again when the study has ended; run goes on with one that was cut off.",
        )
    ]
