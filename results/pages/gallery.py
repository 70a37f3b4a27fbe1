"""An evaluation as one self-contained page: scores by class, and the images behind them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from foundation.files import write_text
from results.analysis.caution import Caution
from results.analysis.model_scores import (
    ReferenceScores,
    interval_cell,
    mean_row,
    pooled_says,
    text_rows,
)
from results.analysis.scores import BACKGROUND
from results.figures.class_scores import class_scores_figure
from results.pages.page import render, render_part
from results.records.evaluation import Evaluation
from results.records.pictures import Picture
from results.sections.material import class_swatches
from results.sections.pictures import pictures_of
from results.style.words import count, number, time_text

KEY = "model"
MOST_CLASSES = 24

_HEADS = ("Class", "Dice", "95 % interval", "IoU", "Precision", "Recall", "Images", "Groups")


@dataclass(frozen=True, eq=False)
class Gallery:
    """What the page shows.

    Attributes:
        evaluation: Counts of the model.
        table: ``results.analysis.model_scores.scores_table`` of them.
        reference: The reference's two numbers.
        cautions: What to mind.
        colors: Class name to its RGB colour in the masks.
        pictures: Small pictures of the chosen images, by name.
        facts: What evaluation.json says.
    """

    evaluation: Evaluation
    table: pd.DataFrame
    reference: ReferenceScores
    cautions: Sequence[Caution]
    colors: Mapping[str, tuple[int, int, int]]
    pictures: Mapping[str, Picture]
    facts: Mapping[str, Any]


def write_gallery(gallery: Gallery, path: Path) -> Path:
    """Write the page, in one step.

    Raises:
        OSError: where it cannot be written.
    """
    write_text(path, render_gallery(gallery), durable=False)
    return path


def render_gallery(gallery: Gallery) -> str:
    """Render the page's HTML."""
    evaluation, facts = gallery.evaluation, gallery.facts
    swatches = class_swatches(evaluation.classes, gallery.colors)
    replicates = facts["interval"]["replicates"]
    view = pictures_of(
        {KEY: evaluation},
        evaluation.classes,
        gallery.pictures,
        {KEY: evaluation.name},
        swatches,
        MOST_CLASSES,
    )
    lead = "What the model sees, image by image: where its score comes from."
    pictures = {"reason": "", "command": "", "problem": "", **view, "lead": lead}
    mean = mean_row(gallery.table)
    return render(
        "gallery.html.j2",
        {
            "name": evaluation.name,
            "meta": _meta(gallery),
            "score": number(mean["dice"]),
            "interval": interval_cell(mean),
            "statement": _statement(gallery),
            "pooled": pooled_says(evaluation, gallery.reference),
            "cautions": sorted(gallery.cautions, key=lambda caution: not caution.bad),
            "dice": class_scores_figure(gallery.table, len(evaluation.images), replicates),
            "heads": _HEADS,
            "rows": _rows(gallery, swatches),
            "pictures": render_part("sections/pictures.html.j2", {"s": pictures}),
            "provenance": _provenance(facts),
        },
    )


def _meta(gallery: Gallery) -> list[tuple[str, str]]:
    evaluation, data = gallery.evaluation, gallery.facts["data"]
    return [
        ("Data", Path(str(data["path"])).name),
        ("Split", evaluation.split),
        ("Images", f"{len(evaluation.images):,}"),
        ("Groups", f"{len(set(evaluation.groups)):,}"),
        ("Evaluated", f"{time_text(evaluation.created)} UTC"),
    ]


def _statement(gallery: Gallery) -> str:
    evaluation = gallery.evaluation
    where = "all images" if evaluation.split == "all" else f"the {evaluation.split} split"
    groups = count(len(set(evaluation.groups)), "group")
    return (
        f"Mean over the foreground classes of {where}, counted over all pixels of "
        f"{count(len(evaluation.images), 'image')} in {groups} at their own size"
        f"{evaluation.mirrored}."
    )


def _rows(
    gallery: Gallery, swatches: Mapping[str, Mapping[str, str | None]]
) -> list[dict[str, Any]]:
    """Return the rows of ``text_rows``: the foreground classes, then the background, then the
    mean.
    """
    rows = text_rows(gallery.table)
    background = gallery.evaluation.classes[BACKGROUND]
    made = []
    for place, (name, *cells) in enumerate(rows):
        last = place == len(rows) - 1
        made.append(
            {
                "name": name.capitalize() if last else name,
                "swatch": None if last else swatches[name],
                "faded": not last and name == background,
                "cells": cells,
            }
        )
    return made


def _provenance(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    model, data = facts["model"], facts["data"]
    height, width, channels = model["image_shape"]
    rows = [
        ("Model", str(model["path"])),
        ("sha256", str(model["sha256"])),
        ("Takes", f"images of {height} x {width} x {channels}, {model['resize']}"),
        ("Described by", str(model["record"] or "nothing: classes as the data name them")),
        ("Data", f"{data['path']} ({data['source']})"),
        ("Data fingerprint", str(data["fingerprint"])),
        ("Command", str(facts["command"])),
        ("Versions", ", ".join(f"{name} {v}" for name, v in facts["versions"].items())),
        ("Code", str(facts["git_revision"] or "")),
    ]
    return [row for row in rows if row[1]]


def command_text(arguments: Sequence[str]) -> str:
    """Return a command as one types it."""
    return shlex.join(["flexunet-search", *arguments])
