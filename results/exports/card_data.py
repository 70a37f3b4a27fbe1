"""A model card's section of the data: source, splits, pixels a class, audit, terms of use."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from results.records.study import StudyRecord
from results.style.markdown import bullets, code, plain, table
from results.style.words import NONE
from results.tables.core import findings_table
from results.tables.data import class_table
from results.warnings.data import leaks

_UNKNOWN = (
    "not recorded (`license` in dataset.yaml states it); ask the data's owner before using the "
    "model"
)


def leaks_of(study: StudyRecord) -> list[str]:
    """Return what the audit says of images of one object in several splits."""
    return leaks(study)


def data_section(study: StudyRecord, terms: Mapping[str, str]) -> Iterator[str]:
    """Yield the section.

    Args:
        study: The study's records.
        terms: License and citation, by field, where they are stated.
    """
    yield "## Data"
    source = study.data.get("source")
    yield bullets(
        [
            f"**Source:** {plain(source) if source else 'not recorded'}",
            f"**Fingerprint:** {code(study.data_fingerprint or 'not recorded')}, of the files, "
            "their masks, classes and preparation",
            f"**Licence:** {plain(terms['license']) if terms.get('license') else _UNKNOWN}",
            f"**Cite:** {plain(terms.get('citation') or 'not recorded')}",
        ]
    )
    yield from _splits(study)
    yield from _classes(study)
    yield "The audit found:"
    yield bullets(_findings(study))


def _splits(study: StudyRecord) -> Iterator[str]:
    splits = study.data.get("splits")
    if not isinstance(splits, Mapping) or not splits:
        return
    yield (
        "A group is what shows one object, such as several photographs of one part; a group is "
        "never divided between splits."
        if not leaks(study)
        else "A group is what shows one object."
    )
    uses = {"train": "to train", "valid": "to choose epochs and configs", "test": "to confirm"}
    rows = [
        [
            plain(name),
            uses.get(name, ""),
            f"{told.get('images', 0):,}",
            f"{told.get('groups', 0):,}",
        ]
        for name, told in splits.items()
    ]
    yield table(["split", "used", "images", "groups"], rows, names=2)


def _classes(study: StudyRecord) -> Iterator[str]:
    found = class_table(study)
    if found.empty:
        return
    splits = list(dict.fromkeys(found["split"]))
    rows = []
    for name in study.classes:
        of = found[found["class"] == name].set_index("split").loc[splits]
        cells = [
            [_share(float(share)) for share in of["share"]],
            [f"{int(images):,}" for images in of["images_with"]],
            [_whole(float(groups)) for groups in of["groups_with"]],
        ]
        rows.append([plain(name), *(" / ".join(each) for each in cells)])
    yield f"What shows each class, in {' / '.join(map(plain, splits))}:"
    yield table(["class", "pixels, %", "images", "groups"], rows)


def _share(share: float) -> str:
    return NONE if math.isnan(share) else f"{100 * share:.3g}"


def _whole(value: float) -> str:
    return NONE if math.isnan(value) else f"{int(value):,}"


def _findings(study: StudyRecord) -> list[str]:
    if "findings" not in study.data:
        return ["not recorded"]
    table_of = findings_table(study)
    lines = []
    for _, row in table_of.iterrows():
        loud = row["severity"] == "leak"
        text = f"{plain(row['severity'])}: {plain(row['message'])}"
        lines.append(f"**{text}**" if loud else text)
    return lines or ["nothing: no object in two splits, every class in every split"]
