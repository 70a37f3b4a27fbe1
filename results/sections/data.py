"""The data: classes, splits, what the audit found, how the images were augmented and fed."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from foundation.files import read_json
from results import tables
from results.figures.data import share_figure
from results.records import file_names
from results.records.evaluation import FOLDER
from results.records.study import StudyRecord
from results.sections.material import Material
from results.style.words import NONE, count, duration, magnitude
from results.tables.data import InputAccount, class_table, input_account, input_table

AUGMENTATION_NAME = "augmentation.jpg"

_MOST_FILES = 200
_MOST_PICTURE_BYTES = 1_000_000
_LONG_WAIT = 0.05


def build(material: Material) -> dict[str, Any]:
    """Return what the section's template prints."""
    study = material.study
    table = class_table(study)
    return {
        "lead": data_lead(study, table),
        "findings": finding_rows(study),
        "untold": None if study.data else "The audit's findings are not recorded.",
        "classes": class_rows(table, material.swatches),
        "splits": list(dict.fromkeys(table["split"])),
        "shares": share_figure(table),
        "augmentation": augmentation(study.path),
        "feeding": feeding(study),
    }


def frames(material: Material) -> Mapping[str, pd.DataFrame]:
    """Return the section's tables, for files."""
    account = input_account(material.study)
    found = {
        "splits": class_table(material.study),
        "findings": tables.findings_table(material.study),
    }
    return found | ({"input": input_table(account)} if account else {})


def data_lead(study: StudyRecord, table: pd.DataFrame) -> str:
    """Return what each split holds, at which size, and what was left out."""
    if table.empty:
        return "The study directory holds no description of its data."
    sizes = table.drop_duplicates("split")
    parts = [
        f"{row['split']}: {count(int(row['images']), 'image')} of "
        f"{count(int(row['groups']), 'object')}"
        for row in sizes.to_dict("records")
    ]
    text = "; ".join(parts) + "."
    shape = study.data.get("image_shape")
    if isinstance(shape, list) and len(shape) == 3:
        text += f" Models see them at {shape[0]} x {shape[1]} pixels"
        text += f", {'grey' if shape[2] == 1 else 'in colour'}."
    skipped = study.data.get("skipped")
    if isinstance(skipped, list):
        files = count(len(skipped), "bad file")
        text += f" {files} left out; the findings name them." if skipped else " No file left out."
    return text


def class_rows(table: pd.DataFrame, swatches: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of each class its swatch and, by split, images, groups and share of the pixels."""
    rows = []
    for name, part in table.groupby("class", sort=False):
        cells = [
            {
                "images": f"{row['images_with']:,}",
                "groups": NONE if math.isnan(row["groups_with"]) else f"{row['groups_with']:,.0f}",
                "share": NONE if math.isnan(row["share"]) else _percent(row["share"]),
                "none": row["images_with"] == 0,
            }
            for row in part.to_dict("records")
        ]
        rows.append({"swatch": swatches[str(name)], "cells": cells})
    return rows


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %" if share == 0 or share >= 1e-4 else f"{100 * share:.1g} %"


def finding_rows(study: StudyRecord) -> list[dict[str, Any]]:
    """Return findings of the audit, leaks first."""
    rows = []
    for finding in tables.findings_table(study).to_dict("records"):
        files = finding["files"]
        listed = files[:_MOST_FILES]
        more = [f"... and {len(files) - len(listed):,} more"] if len(files) > len(listed) else []
        rows.append(
            {
                "leak": bool(finding["leak"]),
                "severity": finding["severity"] or "note",
                "message": finding["message"],
                "files": "\n".join([*listed, *more]),
                "files_text": count(len(files), "file"),
            }
        )
    return rows


def augmentation(study_dir: Path) -> dict[str, Any]:
    """Return the picture of augmented training images, or why there is none.

    Returns:
        uri (data URI; None without a picture), text, alt.
    """
    file = study_dir / FOLDER / AUGMENTATION_NAME
    try:
        picture = file.read_bytes()
    except OSError:
        picture = b""
    told = read_json(file.with_suffix(".json"))
    alt = "Training images, and what the best configuration's augmentation makes of them"
    if picture[:3] != b"\xff\xd8\xff":
        missing = "No picture of the augmentation yet: it is drawn when the study's models are "
        missing += "scored, at the end of a run or by"
        return {"uri": None, "text": missing, "alt": alt}
    if len(picture) > _MOST_PICTURE_BYTES:
        size = f"{len(picture) / 1e6:.1f} MB"
        return {"uri": None, "text": f"The picture is too large for a page: {size}.", "alt": alt}
    uri = "data:image/jpeg;base64," + base64.b64encode(picture).decode()
    return {"uri": uri, "text": _augmentation_note(told), "alt": alt}


def _augmentation_note(told: Mapping[str, Any]) -> str:
    rows, samples = told.get("rows"), told.get("samples")
    text = "Left, training images as they are; beside each, what the models were shown instead."
    if isinstance(rows, int) and isinstance(samples, int):
        text = f"Left, {count(rows, 'training image')} as they are; beside each, {samples} of the "
        text += "endless versions that models were shown instead."
    caption = told.get("caption")
    return f"{text} The best trial's augmentation: {caption}." if caption else text


def feeding(study: StudyRecord) -> dict[str, Any]:
    """Return how images came to the trials: a sentence, facts [(name, value, unit)], how to read
    them.
    """
    account = input_account(study)
    if account is None:
        said = "Not recorded: "
        said += "no epoch has ended yet." if not _has_epochs(study) else "an older version ran it."
        return {"says": said, "facts": [], "note": ""}
    return {"says": feeding_sentence(account), "facts": _facts(account), "note": _note(account)}


def _has_epochs(study: StudyRecord) -> bool:
    return any(len(trial.curve) for trial in study.trials)


def feeding_sentence(account: InputAccount) -> str:
    """Return whether trials waited for images, and what sharing saved."""
    said = f"Trials waited for images during {_short(account.waiting)} of their training time: "
    if account.waiting > _LONG_WAIT:
        said += "feeding them faster would make the search faster."
    else:
        said += "the input kept up with them."
    if account.hit_rate is not None:
        said += f" {_short(account.hit_rate)} of the images they read came from the shared cache, "
        said += "augmented once for several trials."
    elif account.sharing == "local":
        said += " Each trial augmented its own images; none were shared."
    return said


def _short(share: float) -> str:
    return "less than 1 %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def _facts(account: InputAccount) -> list[tuple[str, str, str]]:
    rate = account.images_per_second
    facts = [
        ("Waiting for images", _short(account.waiting), "of the training time, all trials"),
        (
            "Waited",
            duration(account.input_seconds),
            f"of {duration(account.train_seconds)} trained",
        ),
        ("Images read", magnitude(account.images), "augmented, of the training split"),
        (
            "Images a second",
            NONE if math.isnan(rate) else f"{rate:,.0f}",
            "a trial, while it trains",
        ),
    ]
    if account.hit_rate is not None:
        made = f"{magnitude(account.made)} made for all of them"
        facts.insert(0, ("From the shared cache", _short(account.hit_rate), made))
    return facts


def _note(account: InputAccount) -> str:
    if account.source != file_names.PIPELINE:
        return "Summed over the epochs' own records; the study has no account of a shared pipeline."
    kept = {
        "service": "One pipeline fed several trials",
        "local": "Each trial had a pipeline of its own",
    }
    text = kept.get(account.sharing, "How images were shared is not recorded")
    text += f": {account.why}." if account.why else "."
    return f"{text} Sums over all runs of the study, worker by worker."
