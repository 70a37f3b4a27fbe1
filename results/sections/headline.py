"""The study's result in a number and a sentence, and what it was measured on."""

from __future__ import annotations

from typing import Any

import pandas as pd

from results.analysis.baseline_comparison import BaselineComparison, MeasuredConfig
from results.analysis.baselines import shown_value
from results.analysis.confirmation import FOLDS_CAVEAT, Confirmation, where
from results.records.searched import searched_fields, short_names
from results.records.study import StudyRecord
from results.sections import verdict_text
from results.style.words import NONE, count, number, value_text
from results.tables.verdict import objective_estimate

_MOST_FIELDS = 8


def headline(
    found: BaselineComparison, table: pd.DataFrame | None, confirmation: Confirmation | None
) -> dict[str, Any]:
    """Return the study's result in a number and a sentence."""
    value = objective_estimate(found)
    return {
        "label": _label(found, confirmation),
        "score": number(value.value),
        "interval": verdict_text.interval(value.low, value.high),
        "trial": found.best.trial.number if found.best else None,
        "baselines": [_against_line(found, each) for each in found.baselines],
        "statement": _statement(found, table, confirmation),
        "config": config_words(found),
        "also": _also(found),
        "caution": _caution(found),
    }


def _label(found: BaselineComparison, confirmation: Confirmation | None) -> str:
    words = verdict_text.objective_words(found)
    if found.source == "confirmed" and confirmation is not None:
        plan = confirmation.plan
        return f"Confirmed {words}, {where(plan)}, mean of {count(plan.seeds, 'seed')}"
    native = found.evaluation is not None and found.evaluation.resolution == "native"
    return f"Best {words}, validation{' split at the images’ own size' if native else ''}"


def _against_line(found: BaselineComparison, baseline: MeasuredConfig) -> str:
    trial = baseline.trial
    value = shown_value(trial)
    if found.ranking is not None:
        row = found.ranking[found.ranking["trial"] == trial.number]
        value = float(row["mean"].iloc[0])
    state = f" ({trial.state})" if trial.state != "COMPLETE" else ""
    return f"{number(value)} {verdict_text.baseline_name(baseline)}, trial {trial.number}{state}"


def _statement(
    found: BaselineComparison, table: pd.DataFrame | None, confirmation: Confirmation | None
) -> str:
    if found.best is None or table is None:
        return _no_result(found.study)
    trial = found.best.trial
    if trial.baseline is not None:
        name = f"baseline “{trial.baseline}” (trial {trial.number})"
        if found.source == "confirmed":  # of the searched ones only the best were confirmed
            measured = _measured(found, confirmation)
            return f"No config that was confirmed did better than the {name}, {measured}."
        return f"No searched trial beats the {name} so far."
    parts = [f"Trial {trial.number}, {_measured(found, confirmation)}."]
    if found.baselines and found.source == "search":
        parts.append(verdict_text.classes_against(found, found.baselines[0], table))
    return " ".join(part for part in parts if part)


def _measured(found: BaselineComparison, confirmation: Confirmation | None) -> str:
    trial = found.best.trial if found.best else None
    evaluation = found.evaluation
    if evaluation is None or trial is None:
        epoch = NONE if trial is None else trial.best_epoch or NONE
        return f"at its epoch {epoch} of {trial.epochs if trial else NONE}"
    images = f"{len(evaluation.images):,} images of {len(set(evaluation.groups)):,} groups"
    if found.source == "scored" or confirmation is None:
        epoch = f"at its epoch {trial.best_epoch or NONE} of {trial.epochs}"
        return f"{epoch}, on {images}{evaluation.mirrored}"
    folds = confirmation.plan.folds is not None
    caveat = f"; {FOLDS_CAVEAT}" if folds else " that chose neither the candidates nor an epoch"
    return f"its config trained anew, on {images}{caveat}{evaluation.mirrored}"


def config_words(found: BaselineComparison) -> str:
    """Return the best config's searched fields in a line: "num_layers 5, base_filters 16"."""
    fields = list(searched_fields(found.study.config))
    params = found.best.trial.params if found.best else {}
    short = short_names(fields)
    words = [f"{short[name]} {value_text(params[name])}" for name in fields if name in params]
    shown = words[:_MOST_FIELDS]
    return ", ".join(shown) + (
        f" and {len(words) - len(shown)} more" if words[_MOST_FIELDS:] else ""
    )


def _no_result(study: StudyRecord) -> str:
    total = len(study.trials)
    if not total:
        return "No trial has begun."
    if len(study.with_state("FAIL")) == total:
        return f"All {total} trials failed; the reasons are listed below."
    if study.with_state("RUNNING"):
        return "No trial is complete yet; the study is still running."
    return "No trial is complete with a value."


def _also(found: BaselineComparison) -> str:
    """Return what the search itself said, where the number is of something better."""
    own = found.study.incumbent
    if found.best is None or own is None:
        return ""
    trainings = "; ".join(filter(None, [found.study.trainings(own).words(), own.fold_words()]))
    if found.source == "search":
        return f"Its config was trained several times: {trainings}." if trainings else ""
    told = f"{number(own.value)} on the validation split, at the size of training"
    told += f" ({trainings})" if trainings else ""
    if found.best.trial is own:
        return f"In the search it had {told}."
    sentence = f"The search’s own best was trial {own.number}: {told}"
    row = found.ranking[found.ranking["trial"] == own.number] if found.ranking is not None else ()
    if len(row) and isinstance(row, pd.DataFrame):
        sentence += f"; trained anew {number(float(row['mean'].iloc[0]))}"
    return sentence + "."


def _caution(found: BaselineComparison) -> str:
    if found.best is None or found.source == "confirmed":
        return ""
    scored = sum(trial.value is not None for trial in found.study.trials)
    if scored < 2:
        return (
            "It was measured on the validation split at the trial's best epoch, which that split "
            "chose. Confirm it on the untouched test split before quoting it."
        )
    return (
        f"Chosen among {scored:,} validation scores, each at its best epoch, and measured on "
        "the same images: fresh ones will show less. Confirm it on the untouched test split "
        "before quoting it."
    )
