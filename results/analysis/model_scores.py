"""The scores of one model on a split: a row a class with intervals, and what to mind of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from results.analysis import scores
from results.analysis.caution import Caution
from results.analysis.intervals import (
    FEW_GROUPS,
    REPLICATES,
    SCORES,
    bootstrap,
    intervals_table,
)
from results.analysis.objects import ALL_SIZES, objects_table
from results.records.evaluation import Evaluation
from results.style.words import count, listed, number

COUNTS = ("true_positives", "false_positives", "false_negatives")
OBJECTS = ("objects", "found", "in_part", "missed", "predicted", "invented")


@dataclass(frozen=True)
class ReferenceScores:
    """What the reference's ``evaluate`` writes; for comparison alone.

    Both are means over images at the size that the model takes. The second pools all classes of an
    image, the background too, so that predicting background alone scores high.

    Attributes:
        cross_entropy: Categorical cross-entropy, in nats.
        pooled_dice: Its "dice_coef_multiclass", 0..1.
    """

    cross_entropy: float
    pooled_dice: float

    @property
    def csv(self) -> str:
        """The two lines of its evaluation.csv, rounded to four decimals as Python prints them."""
        return (
            f"categorical_crossentropy,{round(self.cross_entropy, 4)}\n"
            f"dice_coef_multiclass,{round(self.pooled_dice, 4)}\n"
        )


def scores_table(
    evaluation: Evaluation, replicates: int = REPLICATES, seed: int = 0
) -> pd.DataFrame:
    """Return every score of every class with its 95 % interval over groups.

    Args:
        evaluation: The counts, of at least one image.
        replicates: Of the bootstrap.
        seed: Of its draws.

    Returns:
        One row a class, then "mean foreground" and "worst class" (kind "class", "mean", "worst": a
        class may have any name). Columns class, kind; dice, dice_low, dice_high and the same of
        iou, precision and recall (0..1; NaN where undefined, the ends where fewer than two groups
        show the class in truth); images and groups (that show it in truth; of the means: any
        foreground class), few (below five such groups; of the means: in any class);
        true_positives, false_positives, false_negatives in pixels; objects, found, in_part,
        missed, predicted, invented (see ``objects_table``; NaN of the background and the means).

    Raises:
        ValueError: for an evaluation without an image.
    """
    tables = {
        score: intervals_table(bootstrap(evaluation, score, replicates, seed)) for score in SCORES
    }
    first = tables["dice"]
    table = first[["class", "kind"]].copy()
    for score, found in tables.items():
        table[score] = found[score]
        table[f"{score}_low"], table[f"{score}_high"] = found["low"], found["high"]
    counts = evaluation.counts
    shown = counts[..., 0] + counts[..., 2] > 0
    any_shown = shown[:, scores.BACKGROUND + 1 :].any(axis=1).sum()
    table["images"] = [*shown.sum(axis=0).tolist(), int(any_shown), int(any_shown)]
    table["groups"], table["few"] = first["true_groups"], first["few"]
    missing = [math.nan, math.nan]
    for place, name in enumerate(COUNTS):
        table[name] = [*counts[..., place].sum(axis=0).tolist(), *missing]
    objects = objects_table(evaluation)
    whole = objects[objects["size"] == ALL_SIZES]
    for name in OBJECTS:
        table[name] = [math.nan, *whole[name].tolist(), *missing]
    return table


def class_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the classes alone, their counts as whole numbers: what ``classes.csv``
    holds.
    """
    rows = table[table["kind"] == "class"].drop(columns="kind").reset_index(drop=True)
    return rows.astype(dict.fromkeys((*COUNTS, *OBJECTS), "Int64"))


def mean_row(table: pd.DataFrame) -> pd.Series:
    """Return the row of the mean over the foreground classes."""
    return table[table["kind"] == "mean"].iloc[0]


def summary(table: pd.DataFrame, evaluation: Evaluation) -> dict[str, Any]:
    """Return the scores as plain values, for JSON: null where undefined.

    Args:
        table: Of ``scores_table``.
        evaluation: Its counts.
    """
    alone = scores.background_only(_true_pixels(evaluation))
    return {
        "mean_foreground": _row(table[table["kind"] == "mean"].iloc[0]),
        "worst_class": _row(table[table["kind"] == "worst"].iloc[0]),
        "classes": {
            str(row["class"]): _row(row) | {name: _whole(row[name]) for name in (*COUNTS, *OBJECTS)}
            for _, row in table[table["kind"] == "class"].iterrows()
        },
        "confusion_pixels": evaluation.confusion.tolist(),
        "pooled_dice": _plain(evaluation.pooled_dice),
        "pooled_dice_of_background_alone": _plain(alone.pooled_dice),
    }


def _row(row: pd.Series) -> dict[str, Any]:
    made: dict[str, Any] = {
        score: {
            "value": _plain(row[score]),
            "low": _plain(row[f"{score}_low"]),
            "high": _plain(row[f"{score}_high"]),
        }
        for score in SCORES
    }
    return made | {
        "images": int(row["images"]),
        "groups": int(row["groups"]),
        "few_groups": bool(row["few"]),
    }


def _plain(value: float) -> float | None:
    """Return a number that JSON can hold: undefined becomes null."""
    return None if math.isnan(value) else float(value)


def _whole(value: float) -> int | None:
    return None if math.isnan(value) else int(value)


def _true_pixels(evaluation: Evaluation) -> list[int]:
    counts = evaluation.counts.sum(axis=0)
    return [int(pixels) for pixels in counts[:, 0] + counts[:, 2]]


def pooled_says(evaluation: Evaluation, reference: ReferenceScores) -> str:
    """Return what the pooled metric hides, in a sentence."""
    alone = scores.background_only(_true_pixels(evaluation)).pooled_dice
    return (
        f"The reference's pooled metric is {number(reference.pooled_dice, 4)}: it counts the "
        f"background with the classes, and predicting nothing but background scores "
        f"{number(alone, 4)} by it."
    )


def table_cautions(table: pd.DataFrame) -> tuple[Caution, ...]:
    """Return what to mind of a ``scores_table``: classes that few groups show, or none."""
    classes = table[table["kind"] == "class"].iloc[scores.BACKGROUND + 1 :]
    found = []
    absent = classes[classes["groups"] == 0]
    undefined = listed(absent.loc[absent["dice"].isna(), "class"].tolist())
    invented = listed(absent.loc[absent["dice"].notna(), "class"].tolist())
    if undefined:
        text = f"In neither truth nor prediction, so undefined and in no mean: {undefined}."
        found.append(Caution("undefined", text, "Evaluate on images that show it."))
    if invented:
        text = f"Predicted, but on no image in truth, so that Dice is 0: {invented}."
        found.append(Caution("not shown", text, "Evaluate on images that show it."))
    few = classes[(classes["groups"] > 0) & classes["few"]]
    if len(few):
        names = [
            f"{name} ({count(int(groups), 'group')})"
            for name, groups in zip(few["class"], few["groups"], strict=True)
        ]
        text = (
            f"Shown by fewer than {FEW_GROUPS} groups (objects photographed): {listed(names)}. "
            "Their intervals are too narrow, or there is none, and so is the mean's."
        )
        found.append(Caution("few groups", text, "Their scores say little: add images."))
    return tuple(found)


def dice_says(table: pd.DataFrame) -> str:
    """Return the mean and the classes at its ends, in a sentence."""
    mean = mean_row(table)
    classes = table[table["kind"] == "class"].iloc[scores.BACKGROUND + 1 :].dropna(subset="dice")
    if classes.empty:
        return "No foreground class is defined: in neither truth nor prediction."
    low = classes.iloc[int(np.argmin(classes["dice"]))]
    high = classes.iloc[int(np.argmax(classes["dice"]))]
    says = f"Mean foreground Dice {number(mean['dice'])}{_between(mean)}"
    if len(classes) == 1:
        return f"{says}, of {low['class']} alone."
    return (
        f"{says}; the lowest is {low['class']} with {number(low['dice'])}, the highest "
        f"{high['class']} with {number(high['dice'])}."
    )


def _between(row: pd.Series) -> str:
    if math.isnan(row["dice_low"]):
        return ""
    return f" (95 %: {number(row['dice_low'])} to {number(row['dice_high'])})"


def interval_cell(row: pd.Series | Mapping[str, Any], score: str = "dice") -> str:
    """Return an interval for a table: "0.42 to 0.61"; empty where there is none."""
    low, high = float(row[f"{score}_low"]), float(row[f"{score}_high"])
    return "" if math.isnan(low) else f"{number(low)} to {number(high)}"


def text_rows(table: pd.DataFrame) -> list[Sequence[str]]:
    """Return cells for people: class, Dice, its interval, IoU, precision, recall, images, groups.

    The foreground classes, the background, then the mean.
    """
    classes = table[table["kind"] == "class"]
    ordered = [*range(scores.BACKGROUND + 1, len(classes)), scores.BACKGROUND]
    chosen = pd.concat([classes.iloc[ordered], table[table["kind"] == "mean"]])
    return [
        (
            str(row["class"]),
            number(row["dice"]),
            interval_cell(row),
            *(number(row[score]) for score in ("iou", "precision", "recall")),
            f"{int(row['images']):,}",
            f"{int(row['groups']):,}",
        )
        for _, row in chosen.iterrows()
    ]
