"""A model card's scores: measured on the best images that there are, with what limits them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from results.analysis import scores
from results.analysis.baseline_comparison import BaselineComparison, MeasuredConfig
from results.analysis.confirmation import (
    FOLDS_CAVEAT,
    PREPARED_CAVEAT,
    Confirmation,
    seeds_text,
    where,
)
from results.analysis.convergence import convergence
from results.exports.choice import Choice
from results.exports.text import among
from results.figures.drawing import objective_name
from results.records.evaluation import Evaluation
from results.records.study import StudyRecord, TrialRecord, best_of
from results.sections import verdict_text
from results.style.markdown import plain, table
from results.style.words import NONE, count, listed, number, signed
from results.tables.classes import class_scores
from results.tables.verdict import Estimate, class_table, objective_estimate
from results.warnings import Evidence, cautions

# What minds the search alone, not the model that came of it.
_OF_THE_SEARCH = {"failures", "running", "not converged"}
_FEW = "\\*"


def summary(
    found: BaselineComparison, choice: Choice, set_aside: Confirmation | None = None
) -> Iterator[str]:
    """Yield what it is and how good, in a few lines of markdown.

    Args:
        found: The config against the baselines.
        choice: What is exported.
        set_aside: A confirmation of the study that it was chosen without.
    """
    estimate = objective_estimate(found)
    name = plain(objective_name(found.study))
    yield f"**{name}: {_estimate(estimate)}**, {_how_measured(found, choice)}."
    own = _own_dice(found, choice)
    if own:
        yield (
            f"**This model alone:** mean foreground Dice {number(own['mean'])}, worst class "
            f"{number(own['worst'])}, on the same images. It is one of the trainings that the mean "
            "is over."
        )
    yield f"**Weakest:** {plain(verdict_text.fails_on(class_table(found)))}"
    yield f"**Chosen:** {_why(found, choice, set_aside)}"


def _estimate(estimate: Estimate) -> str:
    ends = verdict_text.interval(estimate.low, estimate.high)
    return number(estimate.value) + (f" (95 % interval {ends})" if ends else " (no interval)")


def _how_measured(found: BaselineComparison, choice: Choice) -> str:
    evaluation, confirmation = found.evaluation, choice.confirmation
    chose = "the epoch" if choice.asked else "it"
    if evaluation is None:
        return (
            f"at epoch {choice.trial.best_epoch or NONE} of its training in the search, on the "
            f"validation split at the size of training; optimistic, for that split chose {chose}"
        )
    images = f"{len(evaluation.images):,} images of {count(len(set(evaluation.groups)), 'group')}"
    native = evaluation.resolution == "native"
    size = "the images' own size" if native else "the size of the prepared data"
    size += evaluation.mirrored
    if confirmation is None:
        return (
            f"on the {images} of the validation split at {size}; optimistic, for that split chose "
            f"{chose}"
        )
    seeds = seeds_text(confirmation.plan.seeds)
    what = where(confirmation.plan)
    return f"the mean over {seeds} of training the config anew, on {images} ({what}) at {size}"


def _why(found: BaselineComparison, choice: Choice, set_aside: Confirmation | None) -> str:
    study, trial = found.study, choice.trial
    if choice.asked:
        stopped = ", which the search stopped early" if trial.state == "PRUNED" else ""
        return f"by hand, by the number of its trial{stopped}."
    if choice.confirmation is None or choice.run is None:
        then = "Confirm it on the untouched test split before quoting its score."
        if set_aside is not None and set_aside.incumbent is not None:
            then = "The study's confirmation is left aside, as asked: quote its scores instead."
        return (
            f"{among(study)}, by the validation split at its best epoch.{_higher(study, trial)} "
            f"{then}"
        )
    candidates = len(choice.confirmation.plan.configs)
    folds = choice.confirmation.plan.folds is not None
    caveats = [f"Mind: {FOLDS_CAVEAT}."] if folds else []
    if choice.confirmation.resolution == "prepared":
        caveats.append(f"It was {PREPARED_CAVEAT}.")
    part = ", of a part of the data" if choice.run.fold is not None else ""
    told = "its config is the one that was confirmed"
    still = f"; as the best of {candidates} it is still slightly optimistic"
    if candidates > 1:
        told = f"its config confirmed best of {candidates}"
    return " ".join(
        [
            f"{told}, on images that chose "
            f"{'no epoch' if folds else 'neither the candidates nor an epoch'}"
            f"{still if candidates > 1 else ''}.",
            plain(verdict_text.runner_up_sentence(found)),
            *caveats,
            f"The model is the training {plain(choice.run.name)}{part}, the best by its validation "
            f"score. In the search trial {trial.number} had {number(trial.value)} on the "
            f"validation split{_trainings(found.study, trial)}.",
        ]
    )


def _trainings(study: StudyRecord, trial: TrialRecord) -> str:
    """Return what further trainings of a trial's config have reached; nothing without one."""
    words = "; ".join(filter(None, [study.trainings(trial).words(), trial.fold_words()]))
    return f" ({words})" if words else ""


def _higher(study: StudyRecord, trial: TrialRecord) -> str:
    """Return the trial that the pruner stopped although it had a higher score; nothing without
    one.
    """
    folds = len(trial.curve.fold_values())
    pruned = [t for t in study.with_state("PRUNED") if len(t.curve.fold_values()) == folds]
    best = best_of(pruned)
    if best is None or best.value is None or trial.value is None or best.value <= trial.value:
        return ""
    return (
        f" Trial {best.number}, which the search stopped early, had a higher score there, "
        f"{number(best.value)}, and is no candidate."
    )


def results_section(found: BaselineComparison, choice: Choice) -> Iterator[str]:
    """Yield the section of the scores, class by class."""
    yield "## Results"
    yield (
        "Dice of a class is 2 TP / (2 TP + FP + FN), of the pixels of all images together; "
        "undefined (–) for a class in neither truth nor prediction, and then in no mean. "
        "Intervals are a bootstrap over groups"
        + (" and seeds." if choice.confirmation is not None else ".")
    )
    yield f"What was measured: {_how_measured(found, choice)}."
    rival = found.baselines[0] if found.baselines else None
    told = class_table(found, rival)
    yield _scores_table(found, choice, told, rival)
    if bool(told["few"].any()):
        yield (
            f"{_FEW} shown by fewer than five groups: other objects may score quite differently, "
            "and the interval knows nothing of them."
        )
    for each in found.baselines:
        classes = verdict_text.classes_against(found, each, class_table(found, each))
        yield plain(f"{verdict_text.gain_sentence(found, each)} {classes}".rstrip())
    yield from _pooled(found)


def _scores_table(
    found: BaselineComparison, choice: Choice, told: pd.DataFrame, rival: MeasuredConfig | None
) -> str:
    others, own = _other_scores(found), _own_dice(found, choice)
    counted = bool((told["groups"] > 0).any())
    heads = ["class", "Dice", "95 % interval", *others]
    heads += ["this model"] if own else []
    heads += ["groups"] if counted else []
    if rival is not None:
        heads += [f"baseline “{plain(rival.trial.baseline)}”", "difference", "95 % interval"]
    rows = []
    for _, row in told.iterrows():
        name = str(row["class"])
        single = row["kind"] == "class"
        cells = [
            f"{plain(name) if single else f'**{name}**'}{' ' + _FEW if row['few'] else ''}",
            number(row["dice"]),
            verdict_text.interval(row["low"], row["high"]) or NONE,
            *(number(values.get(name)) if single else "" for values in others.values()),
        ]
        cells += [number(own[name if single else row["kind"]])] if own else []
        cells += [f"{int(row['true_groups']):,}" if single else ""] if counted else []
        if rival is not None:
            ends = verdict_text.interval(row["difference_low"], row["difference_high"], sign=True)
            cells += [number(row["baseline"]), signed(row["difference"]), ends or NONE]
        rows.append(cells)
    return table(heads, rows)


def _other_scores(found: BaselineComparison) -> Mapping[str, Mapping[str, float]]:
    """IoU, precision and recall by class, the means over trainings; empty without counts."""
    parts = [
        class_scores(found.study.classes, {str(place): counts})
        for place, counts in enumerate(_counts(found))
    ]
    if not parts:
        return {}
    means = pd.concat(parts).groupby("class", sort=False)[["iou", "precision", "recall"]].mean()
    names = {"IoU": "iou", "precision": "precision", "recall": "recall"}
    return {
        head: dict(zip(map(str, means.index), means[column].tolist(), strict=True))
        for head, column in names.items()
    }


def _counts(found: BaselineComparison) -> list[scores.Scores]:
    if found.best is None:
        return []
    if found.best.evaluations:
        return [each.counts.sum(axis=0) for each in found.best.evaluations]
    trial = found.best.trial
    if trial.best_row is None:
        return []
    counts = trial.curve.counts[trial.best_row]
    return [counts] if not pd.isna(counts).any() else []


def _own_dice(found: BaselineComparison, choice: Choice) -> dict[str, float]:
    """Dice of the exported model alone, where the scores are means over several trainings."""
    confirmation, run = choice.confirmation, choice.run
    if confirmation is None or run is None or run.fold is not None or confirmation.plan.seeds < 2:
        return {}
    dice = scores.dice(confirmation.evaluations[run].counts.sum(axis=0))
    own = dict(zip(found.study.classes, dice.tolist(), strict=True))
    return own | {"mean": scores.mean_foreground(dice), "worst": scores.worst_class(dice)}


def _pooled(found: BaselineComparison) -> Iterator[str]:
    values = [each.pooled_dice for each in (found.best.evaluations if found.best else ())]
    if not values and found.best is not None and found.best.trial.best_row is not None:
        values = [float(found.best.trial.curve.pooled_dice[found.best.trial.best_row])]
    pooled = sum(values) / len(values) if values else math.nan
    if math.isnan(pooled):
        return
    background = _background(found)
    alone = (
        f" A model that marks nothing at all scores {number(background)} by it on these images."
        if background is not None
        else ""
    )
    yield (
        f"**Misleading:** the metric that pools all pixels of all classes, the background too, is "
        f"{number(pooled)}.{alone} It stands here for comparison with published numbers alone."
    )


def _background(found: BaselineComparison) -> float | None:
    """Return what predicting background everywhere scores by the pooled metric."""
    counts = _counts(found)
    if not counts:
        return None
    pixels = counts[0][:, 0] + counts[0][:, 2]
    return scores.background_only(pixels).pooled_dice if pixels.sum() > 0 else None


def limits(
    found: BaselineComparison,
    choice: Choice,
    scored: tuple[Sequence[Evaluation], Sequence[str]],
    set_aside: Confirmation | None = None,
) -> list[str]:
    """Return what to mind before the model is trusted, a line each, worst first.

    Args:
        found: The config against the baselines.
        choice: What is exported.
        scored: The counts of ``evaluation/``, and what of it cannot be read.
        set_aside: A confirmation of the study that it was chosen without.
    """
    aside = set_aside is not None and set_aside.incumbent is not None
    findings = Evidence(
        contest=found,
        converged=convergence(found.study),
        confirmation=choice.confirmation if aside else choice.confirmation or set_aside,
        validation=next(
            (
                each
                for each in scored[0]
                if each.split == "valid" and each.classes == found.study.classes
            ),
            None,
        ),
        unreadable=scored[1],
    )
    skipped = _OF_THE_SEARCH | ({"not confirmed"} if choice.asked or aside else set())
    told = [each for each in cautions(findings) if each.kind not in skipped]
    lines = [
        f"{f'**{plain(each.text)}**' if each.bad else plain(each.text)} {plain(each.action)}"
        for each in told
    ]
    if choice.asked or aside:
        by_hand = "Chosen by hand: another trial may be better. " if choice.asked else ""
        lines.insert(
            0,
            f"{by_hand}This training was measured on the images that chose its epoch: fresh ones "
            "will show less.",
        )
    return [*lines, *_undefined(found), *_few_in_mean(found), *_tied(choice), _always(found)]


def _undefined(found: BaselineComparison) -> Iterator[str]:
    rows = class_table(found)
    rows = rows[(rows["kind"] == "class") & rows["dice"].isna()]
    if len(rows):
        names = listed([plain(name) for name in rows["class"]])
        yield f"Dice is undefined for {names}: in neither truth nor prediction, and in no mean."


def _few_in_mean(found: BaselineComparison) -> Iterator[str]:
    rows = class_table(found)
    mean = rows[rows["kind"] == "mean"].iloc[0]
    if bool(mean["few"]):
        yield (
            f"The mean foreground Dice is over {count(int(mean['true_groups']), 'group')}, and "
            "some of its classes are shown by fewer than five."
        )


def _tied(choice: Choice) -> Iterator[str]:
    row = choice.row
    if choice.confirmation is not None and row is not None:
        tied = choice.confirmation.ranking
        numbers = [str(int(number)) for number in tied.loc[tied["tied"], "trial"]]
        if numbers:
            yield (
                f"Not distinguishable from trial{'s' if numbers[1:] else ''} {listed(numbers)} on "
                "these images and seeds: another choice would have been as good."
            )


def _always(found: BaselineComparison) -> str:
    evaluation = found.evaluation
    groups = "" if evaluation is None else f" {count(len(set(evaluation.groups)), 'group')} of"
    return (
        f"The scores are of{groups} one data set. Their intervals tell how far they would move "
        "with other objects of the same kind; of other kinds, cameras or labellers they know "
        "nothing."
    )
