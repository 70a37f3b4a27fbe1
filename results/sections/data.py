"""The data: classes, splits, what the audit found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from results import tables
from results.records import StudyRecord
from results.sections.material import Material
from results.words import NONE, count

_MOST_FILES = 200


def build(material: Material) -> dict[str, Any]:
    """What the section's template prints."""
    return data_view(material.study)


def frames(material: Material) -> Mapping[str, pd.DataFrame]:
    """The section's tables, for files."""
    return {
        "splits": tables.splits_table(material.study),
        "findings": tables.findings_table(material.study),
    }


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
                "files_text": count(len(files), "file"),
            }
        )
    return rows
