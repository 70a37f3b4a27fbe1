"""How it was made: what it takes to make these numbers again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import yaml

from results.records import StudyRecord
from results.sections.material import Material
from results.words import NONE, time_text, value_text


def build(material: Material) -> dict[str, Any]:
    """What the section's template prints."""
    study = material.study
    return {
        "rows": provenance(study, material.generated),
        "config": yaml.safe_dump(dict(study.config), sort_keys=False, allow_unicode=True),
    }


def frames(material: Material) -> Mapping[str, pd.DataFrame]:
    """None: study.yaml has it all."""
    return {}


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
