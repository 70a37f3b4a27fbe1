"""Words and cells of the report: tables turned into the plain values its template prints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from results import palette, pareto, scores, tables
from results.figures import objective_name
from results.records import StudyRecord, TrialRecord
from results.searched import searched_fields, short_names
from results.tables import StudyTables

MOST_ROWS = 200
_MOST_FILES = 200
_MOST_NUMBERS = 12
_MOST_BASELINES = 4
NONE = "–"


def number(value: float | None, digits: int = 3) -> str:
    """A score for people; a dash where there is none."""
    return NONE if value is None or math.isnan(value) else f"{value:.{digits}f}"


def value_text(value: object) -> str:
    """A parameter's value for people: 0.001238, 1.2e-05, mish; a dash for none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NONE
    if isinstance(value, float) and not isinstance(value, bool):
        return f"{value:.4g}"
    return str(value)


def duration(seconds: float) -> str:
    """Seconds for people: "42 s", "12 min", "3.4 h", "2.1 days"."""
    for size, unit in ((86400.0 * 2, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            amount = seconds / (86400.0 if unit == "days" else size)
            return f"{amount:.1f} {unit}" if unit != "min" else f"{amount:.0f} {unit}"
    return f"{seconds:.0f} s"


def magnitude(value: float) -> str:
    """A large number for people: "1.9 M", "12.4 G"; a dash for NaN."""
    if math.isnan(value):
        return NONE
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def time_text(iso: str | None) -> str:
    """An ISO time cut to minutes."""
    return iso[:16].replace("T", " ") if iso else NONE


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


def state_rows(data: StudyTables) -> list[dict[str, Any]]:
    """Trials by state."""
    table = tables.states_table(data.trials)
    return [
        {
            "name": str(state),
            "trials": int(row["trials"]),
            "trials_text": f"{int(row['trials']):,}",
            "detail": f"{_count(int(row['epochs']), 'epoch')}, {duration(float(row['seconds']))}"
            if row["trials"]
            else "",
            "color": palette.STATE_COLORS[str(state)],
        }
        for state, row in table.iterrows()
    ]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def search_lead(study: StudyRecord) -> str:
    """What the search maximised and by what it pruned."""
    text = f"Objective: {objective_name(study).lower().replace('dice', 'Dice')} on the validation "
    text += "split, at each trial's best epoch."
    if study.pruning_metric and study.pruning_metric != study.objective:
        metric = study.pruning_metric.replace("_", " ").replace("dice", "Dice")
        text += f" The pruner was shown the {metric} instead, which moves earlier."
    if study.with_state("RUNNING"):
        text += " The study was still running, or was interrupted, when this report was made."
    return text


def pareto_rows(study: StudyRecord) -> dict[str, Any]:
    """The Pareto front as a table: its heads and its rows, the best value first."""
    table, names = pareto.pareto_table(study), pareto.minimized(study)
    front = table[table["front"]].head(MOST_ROWS)
    return {
        "heads": [objective_name(study), *(pareto.MEASURES[name][0] for name in names)],
        "rows": [
            {
                "trial": row["number"],
                "baseline": row["baseline"] if isinstance(row["baseline"], str) else "",
                "cells": [number(row["value"]), *(f"{row[name]:,.4g}" for name in names)],
            }
            for row in front.to_dict("records")
        ],
    }


def failure_rows(study: StudyRecord) -> list[dict[str, Any]]:
    """Reasons of failures with the trials they befell."""
    rows = []
    for _, row in tables.failures_table(study).head(20).iterrows():
        numbers = row["numbers"]
        text = ", ".join(str(n) for n in numbers[:_MOST_NUMBERS])
        more = len(numbers) - _MOST_NUMBERS
        rows.append(
            {
                "trials": row["trials"],
                "reason": row["reason"][:300],
                "numbers": text + (f" and {more:,} more" if more > 0 else ""),
            }
        )
    return rows


def matrix(data: StudyTables) -> dict[str, Any]:
    """The trials x classes table, best trials first."""
    study, trials = data.study, data.trials
    keep = {t.number for t in study.baselines}
    ranked = tables.ranked(trials)
    shown = ranked[ranked["number"].isin({*ranked["number"].head(MOST_ROWS), *keep})]
    dice = data.dice.reindex(columns=_foreground_first(study.classes))
    names = list(searched_fields(study.config))
    records = shown.to_dict("records")
    note = "Shown are scores on the validation split at each trial's best epoch. "
    note += "Select a column's head to sort by it; scroll sideways for the searched fields. "
    note += "Striped cells are undefined."
    if len(shown) < len(trials):
        note += (
            f" The best {len(shown):,} of {len(trials):,} trials (baselines included); the others "
            "are in the study directory."
        )
    incumbent = study.incumbent
    rows = [
        _matrix_row(record, dice.loc[record["number"]], names)
        | {"incumbent": incumbent is not None and record["number"] == incumbent.number}
        for record in records
    ]
    return {
        "lead": "Dice of each class in each trial: which classes a configuration wins, "
        "and which it gives up.",
        "columns": _matrix_columns(study, names),
        "rows": rows,
        "note": note,
    }


def _foreground_first(classes: tuple[str, ...]) -> list[str]:
    return [*classes[1:], classes[0]]


def _matrix_columns(study: StudyRecord, names: list[str]) -> list[dict[str, Any]]:
    short = short_names(names)
    columns = [("Trial", "Trial number", False), ("State", "State of the trial", False)]
    columns.append(("Value", objective_name(study), True))
    columns += [(name, f"Dice of {name}", True) for name in _foreground_first(study.classes)]
    columns.append(("Best epoch", "Epoch of the highest value", True))
    columns.append(("Epochs", "Epochs trained", True))
    columns += [(short[name], name, True) for name in names]
    return [
        {
            "name": name,
            "title": title,
            "numeric": numeric,
            "sorted": place == 2,
            "field": place >= len(columns) - len(names),
        }
        for place, (name, title, numeric) in enumerate(columns)
    ]


def _matrix_row(record: Mapping[Any, Any], dice: pd.Series, names: list[str]) -> dict[str, Any]:
    scored = [_score_cell(float(value)) for value in (record["value"], *dice.to_list())]
    # Background is near 1 in every trial: its colour would outshine the classes that matter.
    scored[-1] |= {"plain": scored[-1]["fill"] is not None}
    others = [_plain_cell(record[name]) for name in ("best_epoch", "epochs", *names)]
    baseline = record["baseline"]
    return {
        "number": record["number"],
        "state": record["state"],
        "color": palette.STATE_COLORS[record["state"]],
        "baseline": baseline if isinstance(baseline, str) else None,
        "scores": scored,
        "others": others,
    }


def _score_cell(score: float) -> dict[str, Any]:
    colors = palette.cell_colors(score)
    if colors is None:
        return {"plain": False, "fill": None}
    cell = {"plain": False, "fill": colors[0], "ink": colors[1]}
    return cell | {"text": number(score), "sort": f"{score:.6g}"}


def _plain_cell(value: Any) -> dict[str, Any]:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    numeric = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    text = value_text(value)
    return {"text": text, "numeric": numeric, "sort": "" if text == NONE else str(value)}


def data_view(study: StudyRecord) -> dict[str, Any]:
    """Splits and findings of the data."""
    table = tables.splits_table(study)
    splits = list(dict.fromkeys(table["split"]))
    sizes = table.drop_duplicates("split").set_index("split")
    lead = "; ".join(
        f"{split}: {sizes.loc[split, 'images']:,} images of {sizes.loc[split, 'groups']:,} objects"
        for split in splits
    )
    rows = []
    for name in study.classes:
        part = table[table["class"] == name].set_index("split")
        cells = [
            {
                "images": f"{part.loc[split, 'images_with']:,}",
                "share": NONE
                if math.isnan(part.loc[split, "share"])
                else f"{100 * part.loc[split, 'share']:.2f} %",
            }
            for split in splits
        ]
        rows.append({"name": name, "cells": cells})
    return {
        "lead": f"{lead}." if lead else "The study directory holds no description of its data.",
        "splits": splits,
        "rows": rows if splits else [],
        "findings": finding_rows(study),
    }


def finding_rows(study: StudyRecord) -> list[dict[str, Any]]:
    """Findings of the audit, leaks first."""
    rows = []
    for _, finding in tables.findings_table(study).iterrows():
        files = finding["files"]
        listed = files[:_MOST_FILES]
        more = [f"... and {len(files) - len(listed):,} more"] if len(files) > len(listed) else []
        rows.append(
            {
                "leak": bool(finding["leak"]),
                "severity": finding["severity"] or "note",
                "message": finding["message"],
                "files": "\n".join([*listed, *more]),
                "files_text": _count(len(files), "file"),
            }
        )
    return rows


def provenance(study: StudyRecord, generated: str) -> list[tuple[str, str]]:
    """What made the study, for making it again."""
    versions = ", ".join(f"{name} {version}" for name, version in study.versions.items())
    seed = study.config.get("study", {}).get("seed") if study.config.get("study") else None
    rows = [
        ("Study", study.name),
        ("Begun", time_text(study.created)),
        ("Report made", time_text(generated)),
        ("Data fingerprint", study.data_fingerprint or NONE),
        ("Seed", value_text(seed)),
        ("Git revision", study.git_revision or NONE),
        ("Versions", versions or NONE),
    ]
    return rows
