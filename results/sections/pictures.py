"""Pictures: what the best model and the baseline see, and what each takes for what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from results.evaluation import Evaluation
from results.figures.pictures import confusion_figure
from results.pictures import Picture, PictureError, load_pictures
from results.sections.material import Material
from results.sections.picture_strips import LEGEND, Strips
from results.tables import pictures as picture_tables

COMMAND = "flexunet-search score STUDY_DIR"

_TITLES = {"best": "Best", "baseline": "Baseline"}


def build(material: Material) -> dict[str, Any]:
    """What the section's template prints."""
    models = material.evaluations
    listing, problem = _listed(material)
    strips = Strips(material, listing)
    return {
        "lead": "What the models see, image by image: where a score comes from.",
        "reason": _reason(material) if not models else "",
        "command": COMMAND,
        "problem": problem if models else "",
        "legend": LEGEND,
        "models": [
            {
                "key": key,
                "title": f"{_TITLES[key]} (trial {evaluation.trial})",
                "strips": strips.view(key),
                "confusion": confusion_figure(evaluation, _TITLES[key].lower()),
            }
            for key, evaluation in models.items()
        ],
        "swatches": material.swatches,
    }


def frames(material: Material) -> Mapping[str, pd.DataFrame]:
    """The section's tables, for files."""
    models = material.evaluations
    made = {"images": _image_rows, "confusion": picture_tables.confusion_table}
    return {
        name: pd.concat(
            [table(evaluation).assign(model=key) for key, evaluation in models.items()],
            ignore_index=True,
        )
        for name, table in made.items()
        if models
    }


def _image_rows(evaluation: Evaluation) -> pd.DataFrame:
    """Every image with its scores, the classes by name behind the fixed columns."""
    table = picture_tables.image_scores(evaluation)
    named = {place: f"dice {name}" for place, name in enumerate(evaluation.classes)}
    errors = picture_tables.error_pixels(evaluation)
    return pd.concat([table.rename(columns=named), errors], axis=1).reset_index()


def _listed(material: Material) -> tuple[dict[str, Picture], str]:
    try:
        listing = load_pictures(material.study.path)
    except PictureError as error:
        return {}, f"The pictures cannot be shown: {error}"
    if not listing:
        return {}, f"No pictures were drawn; {COMMAND} draws them."
    return listing, ""


def _reason(material: Material) -> str:
    if material.best is None and material.baseline is None:
        return "No trial is COMPLETE yet: there is no model to look at."
    return "No model was scored image by image yet. This scores the best and the baselines:"
