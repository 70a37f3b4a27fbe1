"""Words and cells of the section on classes: winners, other scores, the pooled metric."""

from __future__ import annotations

from typing import Any

import pandas as pd

from results.analysis import scores
from results.figures.drawing import objective_name
from results.records.study import StudyRecord, TrialRecord
from results.sections.material import Material
from results.style.words import NONE, listed, number, signed
from results.tables import classes as class_tables

# Precision and recall further apart than this are told as missing or inventing.
APART = 0.1

MISSES, INVENTS, EVEN, NOTHING = "misses", "invents", "even", "finds nothing"

_NAMES = {"best": "Best trial", "baseline": "Baseline", "background alone": "Background alone"}


def front_trials(material: Material) -> dict[str, TrialRecord]:
    """Return the "best" trial and the "baseline", where there are such and they differ."""
    best, baseline = material.best, material.baseline
    found = {} if best is None else {"best": best}
    return found if baseline is None or baseline is best else found | {"baseline": baseline}


def winners(table: pd.DataFrame, study: StudyRecord) -> dict[str, Any]:
    """Return the best trial of each class beside the best by the objective."""
    incumbent = study.incumbent
    if table.empty or incumbent is None:
        return {"reason": "No trial is COMPLETE with a defined foreground class yet.", "rows": []}
    rows = [
        [
            {"text": row["class"]},
            {"text": str(row["trial"]), "num": True},
            {"text": number(row["dice"]), "num": True, "strong": True},
            {"text": number(row["chosen"]), "num": True},
            {"text": number(row["cost"]), "num": True},
            {"text": signed(-row["given_up"]), "num": True},
        ]
        for row in table.to_dict("records")
    ]
    titles = ("Class", "Its best trial", "Dice there", f"In trial {incumbent.number}", "Cost")
    heads = [{"text": text, "num": place > 0} for place, text in enumerate(titles)]
    heads.append({"text": f"{objective_name(study)} of that trial", "num": True})
    return {
        "reason": "",
        "says": winners_says(table, incumbent.number),
        "heads": heads,
        "rows": rows,
        "note": f"COMPLETE trials, validation split. Cost: what choosing trial {incumbent.number}, "
        "the best by the objective, gives up in the class. The last column is that trial's "
        "difference to it. The highest of many scores is partly luck.",
    }


def winners_says(table: pd.DataFrame, incumbent: int) -> str:
    """Return what choosing the best by the objective costs."""
    known = table.dropna(subset=["cost"])
    elsewhere = known[known["cost"] > 0]
    if known.empty:
        return ""
    if elsewhere.empty:
        return f"Trial {incumbent}, the best by the objective, is also the best of every class."
    most = elsewhere.loc[elsewhere["cost"] == elsewhere["cost"].max()].to_dict("records")[0]
    says = (
        f"{len(elsewhere)} of {len(known)} {'class' if len(known) == 1 else 'classes'} "
        f"{'has its' if len(elsewhere) == 1 else 'have their'} best in another trial than "
        f"{incumbent}, the best by the objective. Choosing it costs {most['class']} most: "
        f"{number(most['chosen'])} instead of {number(most['dice'])} in trial {most['trial']}"
    )
    if most["given_up"] > 0:
        says += f", which is {number(most['given_up'])} lower by it"
    return says + "."


def reading(row: dict[Any, Any]) -> str:
    """Return what precision and recall of a class say together: one of this module's four words."""
    precision, recall = row["precision"], row["recall"]
    if recall == 0 or (pd.isna(precision) and row["true_pixels"] > 0):
        return NOTHING
    if pd.isna(precision) or pd.isna(recall):
        return NONE if pd.isna(precision) else INVENTS
    if abs(precision - recall) <= APART:
        return EVEN
    return MISSES if recall < precision else INVENTS


def scores_view(material: Material) -> dict[str, Any]:
    """Dice, IoU, precision and recall of the best trial and the baseline."""
    trials = front_trials(material)
    counts, source = class_tables.model_counts(trials, material.evaluations)
    if not counts:
        return {"reason": "No trial is COMPLETE with counts of pixels yet.", "rows": []}
    table = class_tables.class_scores(material.study.classes, counts)
    order = [*material.study.classes[1:], material.study.classes[0]]
    rows = []
    for name in order:
        of_class = table[table["class"] == name].to_dict("records")
        cells = [
            {
                "model": row["model"],
                "values": [number(row[key]) for key in ("dice", "iou", "precision", "recall")],
                "reads": reading(row),
            }
            for row in of_class
        ]
        rows.append({"name": name, "background": name == order[-1], "models": cells})
    note = "Pixels counted over the whole validation split, "
    note += (
        "at the images' own size"
        if source == "scored"
        else "at each trial's best epoch and the size of training"
    )
    note += (
        f". Precision: predicted pixels that are right; recall: true pixels that are found. Where "
        f"they differ by more than {APART}, the model misses (recall is lower) or invents."
    )
    models = [{"name": _NAMES[key], "trial": trials[key].number} for key in counts]
    says = [scores_says(table, model, name) for model, name in _NAMES.items() if model in counts]
    return {"reason": "", "says": " ".join(says), "models": models, "rows": rows, "note": note}


def scores_says(table: pd.DataFrame, model: str, called: str) -> str:
    """Return which classes a model misses, invents or does not find at all."""
    rows = table[table["model"] == model].to_dict("records")[scores.BACKGROUND + 1 :]
    read = {row["class"]: reading(row) for row in rows}
    parts = []
    for word, text in (
        (NOTHING, "finds nothing of"),
        (MISSES, "misses more than it invents of"),
        (INVENTS, "invents more than it misses of"),
    ):
        names = [name for name, found in read.items() if found == word]
        if names:
            parts.append(f"{text} {listed(names)}")
    if not parts:
        return f"{called}: misses and invents are even in every class."
    return f"{called}: {'; '.join(parts)}."


def pooled_view(material: Material) -> dict[str, Any]:
    """Return the reference's pooled metric beside the mean over foreground classes."""
    trials = front_trials(material)
    table = class_tables.pooled_scores(material.study, trials, material.evaluations)
    if table.empty:
        return {"reason": "No trial is COMPLETE, and the data are not described.", "rows": []}
    rows = [
        [
            {
                "text": _NAMES[row["model"]]
                + (f" ({trials[row['model']].number})" if row["model"] in trials else "")
            },
            {"text": number(row["pooled_dice"]), "num": True},
            {"text": number(row["mean_foreground_dice"]), "num": True, "strong": True},
        ]
        for row in table.to_dict("records")
    ]
    return {
        "reason": "",
        "says": pooled_says(table),
        "heads": [
            {"text": "Model"},
            {"text": "Pooled metric", "num": True},
            {"text": "Mean foreground Dice", "num": True},
        ],
        "rows": rows,
        "note": "The pooled metric is the reference trainer's: the mean probability of the true "
        "class over all pixels, background counted in; for comparison alone. Background alone: "
        "a model certain of background everywhere, on the validation split's pixels.",
    }


def pooled_says(table: pd.DataFrame) -> str:
    """Return what the pooled metric hides."""
    rows = {row["model"]: row for row in table.to_dict("records")}
    alone, best = rows.get("background alone"), rows.get("best")
    if alone is None:
        return ""
    says = (
        "A model that sees no defect at all would score "
        f"{number(alone['pooled_dice'])} by the pooled metric"
    )
    if best is None or pd.isna(best["pooled_dice"]):
        return says + "."
    gain = best["pooled_dice"] - alone["pooled_dice"]
    mean = number(best["mean_foreground_dice"])
    if gain <= 0:
        return says + (
            f", no less than the best trial ({number(best['pooled_dice'])}), whose mean foreground "
            f"Dice is {mean}."
        )
    little = "only " if gain <= 0.05 else ""
    return says + (
        f"; the best trial scores {number(best['pooled_dice'])}, {little}{number(gain)} more, "
        f"where its mean foreground Dice is {mean} against {number(alone['mean_foreground_dice'])}."
    )
