"""Pictures: what the best model and the baseline see, and what each takes for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from results.analysis.objects import ALL_SIZES, image_confusion, images_table, objects_table
from results.figures.objects import objects_figure
from results.figures.pictures import confusion_figure, image_confusion_figure
from results.records.evaluation import Evaluation
from results.records.pictures import Picture, PictureError, load_pictures
from results.sections.material import Material
from results.sections.picture_strips import LEGEND, MOST_CLASSES, Strips
from results.tables import pictures as picture_tables

COMMAND = "flexunet-search score STUDY_DIR"

_TITLES = {"best": "Best", "baseline": "Baseline"}


def build(material: Material) -> dict[str, Any]:
    """Return what the section's template prints."""
    models = material.evaluations
    listing, problem = _listed(material)
    titles = {key: f"{_TITLES[key]} (trial {each.trial})" for key, each in models.items()}
    return {
        "reason": _reason(material) if not models else "",
        "command": COMMAND,
        "problem": problem if models else "",
        **pictures_of(models, material.study.classes, listing, titles, material.swatches),
    }


def pictures_of(
    models: Mapping[str, Evaluation],
    classes: Sequence[str],
    listing: Mapping[str, Picture],
    titles: Mapping[str, str],
    swatches: Mapping[str, Mapping[str, str | None]],
    most: int = MOST_CLASSES,
) -> dict[str, Any]:
    """Return what the section's template prints of scored models, whichever they are.

    Args:
        models: Their counts by key: "best", "baseline" or any other.
        classes: Names, background first.
        listing: Pictures by the image's name.
        titles: What the page calls each model.
        swatches: As of ``class_swatches``.
        most: Classes whose images are shown.
    """
    strips = Strips(models, classes, listing, most)
    return {
        "lead": "What the models see, image by image: where a score comes from.",
        "legend": LEGEND,
        "models": [
            {
                "key": key,
                "title": titles[key],
                "strips": strips.view(key),
                "confusion": confusion_figure(evaluation, called),
                "images": image_confusion_figure(evaluation, called),
                "objects": objects_figure(evaluation, called),
            }
            for key, evaluation in models.items()
            for called in [_TITLES.get(key, key).lower()]
        ],
        "objects": _objects(models),
        "swatches": swatches,
    }


def frames(material: Material) -> Mapping[str, pd.DataFrame]:
    """Return the section's tables, for files."""
    models = material.evaluations
    made = {
        "images": _image_rows,
        "images_by_class": images_table,
        "confusion": picture_tables.confusion_table,
        "image_confusion": image_confusion,
        "objects": objects_table,
    }
    return {
        name: pd.concat(
            [table(evaluation).assign(model=key) for key, evaluation in models.items()],
            ignore_index=True,
        )
        for name, table in made.items()
        if models
    }


def _image_rows(evaluation: Evaluation) -> pd.DataFrame:
    """Return every image with its scores, the classes by name behind the fixed columns."""
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


def _objects(models: Mapping[str, Evaluation]) -> dict[str, Any]:
    """Return objects by class and size of both models, and images by class, side by side."""
    parts = {key: objects_table(evaluation) for key, evaluation in models.items()}
    images = {key: images_table(evaluation) for key, evaluation in models.items()}
    by_size = _beside(parts, ["class", "size"], _OBJECT_COLUMNS)
    return {
        "by_size": by_size | {"rows": _without_repeats(by_size["rows"])},
        "by_image": _beside(images, ["class"], _IMAGE_COLUMNS),
    }


def _without_repeats(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out the sum over sizes where a class has objects of one size alone."""
    shown = Counter(row["names"][0] for row in rows)
    return [row for row in rows if row["names"][1] != ALL_SIZES or shown[row["names"][0]] != 2]


_OBJECT_COLUMNS = {
    "found": "found",
    "in_part": "in part",
    "missed": "missed",
    "invented": "invented",
}
_IMAGE_COLUMNS = {"found": "found", "missed": "missed", "invented": "invented"}
_TOTALS = {"objects": "Objects", "shown": "Images that show it"}


def _beside(
    tables: Mapping[str, pd.DataFrame], keys: list[str], columns: Mapping[str, str]
) -> dict[str, Any]:
    """Return cells of the models' tables beside each other, rows without a count left out."""
    if not tables:
        return {"rows": []}
    first = next(iter(tables.values()))
    total = next(name for name in _TOTALS if name in first)
    rows = []
    for place in range(len(first)):
        of_models = [table.iloc[place] for table in tables.values()]
        numbers = [[int(row[name]) for name in columns] for row in of_models]
        count = int(first.iloc[place][total])
        if count or any(map(any, numbers)):
            names = [str(first.iloc[place][key]) for key in keys]
            cells = [[f"{value:,}" for value in of_model] for of_model in numbers]
            rows.append({"names": names, "total": f"{count:,}", "models": cells})
    return {
        "keys": [key.capitalize() for key in keys],
        "total": _TOTALS[total],
        "models": [_TITLES.get(model, model.capitalize()) for model in tables],
        "columns": list(columns.values()),
        "rows": rows,
    }
