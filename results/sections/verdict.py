"""The verdict: the best config, class by class, against the baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from results import scores, tables
from results.figures.drawing import objective_name
from results.records import StudyRecord, TrialRecord
from results.sections.material import Material
from results.tables import StudyTables
from results.words import NONE, duration, magnitude, number, value_text

_MOST_BASELINES = 4


def build(material: Material) -> dict[str, Any]:
    """What the section's template prints."""
    study = material.study
    return {
        "headline": headline(study),
        "classes": class_rows(study),
        "facts": facts(material.tables),
        "parameters": parameter_rows(study),
    }


def frames(material: Material) -> Mapping[str, pd.DataFrame]:
    """The section's tables, for files."""
    return {
        "best_against_baseline": tables.comparison_table(material.study),
        "best_parameters": tables.parameters_table(material.study),
    }


def headline(study: StudyRecord) -> dict[str, Any]:
    """The study's result in a number and a sentence."""
    best, baseline = study.incumbent, tables.best_baseline(study)
    against = [
        f"{number(tables.shown_value(trial))} baseline “{trial.baseline}”, trial {trial.number}"
        + ("" if trial.state == "COMPLETE" else f" ({trial.state})")
        for trial in tables.baselines_by_rank(study)[:_MOST_BASELINES]
        if trial is not best
    ]
    return {
        "label": f"Best {objective_name(study)[:1].lower()}{objective_name(study)[1:]}, validation",
        "score": number(best.value) if best else NONE,
        "trial": best.number if best else None,
        "baselines": against,
        "baseline_name": f"baseline “{baseline.baseline}”" if baseline else "",
        "statement": _statement(study, best, baseline),
        "caution": _caution(study) if best else "",
    }


def _statement(study: StudyRecord, best: TrialRecord | None, baseline: TrialRecord | None) -> str:
    if best is None:
        return _no_result(study)
    if best.baseline is not None:
        return (
            f"No searched trial beats the baseline “{best.baseline}” (trial {best.number}) so far."
        )
    sentence = f"Trial {best.number}, at its epoch {best.best_epoch or NONE} of {best.epochs}"
    classes = tables.comparison_table(study).iloc[1:]
    defined = classes["incumbent"].dropna()
    if defined.empty:
        return sentence + "."
    weakest = str(defined.idxmin())
    sentence += f". Its weakest class is {weakest} with {number(float(defined.min()))}."
    if baseline is not None:
        compared = classes["gain"].dropna()
        better = int((compared > 0).sum())
        sentence += f" It beats the baseline in {better} of {len(compared)} foreground classes."
    return sentence


def _no_result(study: StudyRecord) -> str:
    total = len(study.trials)
    if not total:
        return "No trial has begun."
    if len(study.with_state("FAIL")) == total:
        return f"All {total} trials failed; the reasons are listed below."
    if study.with_state("RUNNING"):
        return "No trial is complete yet; the study is still running."
    return "No trial is complete with a value."


def _caution(study: StudyRecord) -> str:
    scored = sum(trial.value is not None for trial in study.trials)
    if scored < 2:
        return (
            "It was measured on the validation split at the trial's best epoch, which that split "
            "chose. Score the model on the untouched test split before quoting it."
        )
    return (
        f"This is the best of {scored:,} validation scores, each at its best epoch: chosen and "
        "measured on the same images, it is higher than fresh images will show. Retrain over "
        "several seeds and score on the untouched test split before quoting it."
    )


def class_rows(study: StudyRecord) -> list[dict[str, Any]]:
    """Dice of each class of the best trial and the baseline; foreground first."""
    table = tables.comparison_table(study)
    rows = [
        {
            "name": str(name),
            "background": str(name) == study.classes[0],
            "best": number(row["incumbent"]),
            "baseline": number(row["baseline"]),
            "gain": NONE if math.isnan(row["gain"]) else f"{row['gain']:+.3f}".replace("-", "−"),
            "best_width": _percent(row["incumbent"]),
            "baseline_width": _percent(row["baseline"]),
        }
        for name, row in table.iterrows()
    ]
    return rows[1:] + rows[:1]


def _percent(score: float) -> str | None:
    return None if math.isnan(score) else f"{100 * min(max(score, 0.0), 1.0):.1f}"


def facts(data: StudyTables) -> list[tuple[str, str, str]]:
    """The study in a few figures: name, value, unit."""
    states = tables.states_table(data.trials)
    rows = [
        ("Trials", f"{int(states['trials'].sum()):,}", "begun"),
        ("Epochs trained", f"{int(states['epochs'].sum()):,}", "in all trials"),
        ("Worker time", duration(float(states["seconds"].sum())), "in epochs"),
    ]
    best = data.study.incumbent
    if best is not None and best.cost is not None:
        flops = f"parameters, {magnitude(best.cost.flops)}FLOP an image"
        rows.append(("Best model", magnitude(best.cost.parameters), flops))
    if best is not None and best.best_row is not None:
        dice = best.curve.dice[best.best_row]
        pooled = float(best.curve.pooled_dice[best.best_row])
        rows.append(("Worst class", number(_worst(dice)), "Dice"))
        if not math.isnan(pooled):
            rows.append(("Pooled metric", number(pooled), "background counted in"))
    return rows


def _worst(dice: Any) -> float:
    return scores.worst_class(dice)


def parameter_rows(study: StudyRecord) -> list[dict[str, str]]:
    """The searched fields of the best trial and the baseline."""
    table = tables.parameters_table(study)
    return [
        {
            "name": str(name),
            "best": value_text(row["incumbent"]),
            "baseline": value_text(row["baseline"]),
            "searched": row["searched"],
        }
        for name, row in table.iterrows()
    ]
