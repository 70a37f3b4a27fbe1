"""Looks for what makes a data set's scores untrue, above all copies on both sides of a split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_pipeline.config import SPLITS
from data_pipeline.quality.near_duplicates import Likeness
from data_pipeline.stores.store import Split, Store
from data_pipeline.stores.survey import Survey

Severity = Literal["leak", "warning", "info"]
Pair = tuple[int, int, float | None]

_OUTLIER = np.log(3)  # a third or three times the median, in area or in aspect


@dataclass(frozen=True)
class AuditFinding:
    """Something worth knowing about a data set.

    Attributes:
        kind: What it is, a fixed word.
        severity: leak: scores on the split are untrue. warning: they say little. info: known.
        message: The finding in words.
        files: What it is about: `<split>/<stem>`, for near-duplicates `<a> = <b>`.
    """

    kind: str
    severity: Severity
    message: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audit:
    """The findings about a data set.

    Attributes:
        findings: Worst first.
        pairs: Rows of the survey that show one object in two splits, (row, row, correlation), most
            alike first; then, with None, one pair of each two splits that a group is in.
    """

    findings: tuple[AuditFinding, ...]
    pairs: tuple[Pair, ...] = ()

    @property
    def leaks(self) -> bool:
        """Whether pictures of one object are in two splits."""
        return any(finding.severity == "leak" for finding in self.findings)


def audit(survey: Survey) -> Audit:
    """Audit a data set by the facts of its survey."""
    likeness = Likeness(survey.thumbnails, survey.groups)
    copies = sorted(_copies(survey, likeness), key=lambda pair: -pair[2])
    findings = [
        *_straddling_groups(survey),
        *_near_duplicates(survey, copies, likeness.threshold),
        *_thin_classes(survey),
        *_empty_masks(survey),
        *_size_outliers(survey),
    ]
    return _worst_first(findings, (*copies, *_torn(survey)))


def audit_store(store: Store) -> Audit:
    """Audit a prepared data set: `audit`, and what was lost in resizing."""
    found = audit(store.survey)
    return _worst_first([*found.findings, *_lost_classes(store)], found.pairs)


def describe(store: Store, audit: Audit) -> dict[str, Any]:
    """Return a study's record of its data, ready for JSON.

    Returns:
        fingerprint, source, classes, colors ({class: [r, g, b]}), image_shape; splits: {name:
        {images, groups, pixels (at the store's resolution), images_with and groups_with, by
        class}}; skipped: [{path, message}]; findings: [{kind, severity, message, files}].
    """
    return {
        "fingerprint": store.fingerprint,
        "source": store.source,
        "classes": list(store.classes),
        "colors": {c: list(rgb) for c, rgb in zip(store.classes, store.colors, strict=True)},
        "image_shape": list(store.image_shape),
        "splits": {
            name: {
                "images": split.count,
                "groups": len(set(split.groups)),
                "pixels": _by_class(store, split.pixels.sum(axis=0)),
                "images_with": _by_class(store, (split.pixels > 0).sum(axis=0)),
                "groups_with": _by_class(store, _groups_with(split)),
            }
            for name, split in store.splits.items()
        },
        "skipped": [asdict(problem) for problem in store.skipped],
        "findings": [{**asdict(f), "files": list(f.files)} for f in audit.findings],
    }


def _worst_first(findings: list[AuditFinding], pairs: tuple[Pair, ...]) -> Audit:
    order: tuple[Severity, ...] = ("leak", "warning", "info")
    worst = sorted(findings, key=lambda finding: order.index(finding.severity))
    return Audit(tuple(worst), pairs)


def _by_class(store: Store, values: NDArray[np.int64]) -> dict[str, int]:
    return dict(zip(store.classes, values.tolist(), strict=True))


def _groups_with(split: Split) -> NDArray[np.int64]:
    """[C] groups that show each class."""
    _, rows = np.unique(np.array(split.groups, dtype=np.str_), return_inverse=True)
    shown = np.zeros((rows.max(initial=-1) + 1, split.pixels.shape[1]), np.bool_)
    np.logical_or.at(shown, rows, split.pixels > 0)
    counted: NDArray[np.int64] = shown.sum(axis=0)
    return counted


def _straddling_groups(survey: Survey) -> Iterator[AuditFinding]:
    where: dict[str, set[str]] = defaultdict(set)
    for group, split in zip(survey.groups, survey.splits, strict=True):
        where[group].add(split)
    torn = {group for group, splits in where.items() if len(splits) > 1}
    if torn:
        pairs = zip(survey.names, survey.groups, strict=True)
        files = tuple(name for name, group in pairs if group in torn)
        yield AuditFinding(
            "group_straddles",
            "leak",
            f"{len(torn)} of {len(where)} groups have pictures in more than one split: scores are "
            "of objects seen in training. `data resplit` splits by group",
            files,
        )


def _near_duplicates(
    survey: Survey, copies: Sequence[tuple[int, int, float]], threshold: float
) -> Iterator[AuditFinding]:
    """Yield pictures of different groups in different splits that are nearly the same."""
    names = survey.names
    files = [f"{names[a]} = {names[b]} ({value:.3f})" for a, b, value in copies]
    if files:
        yield AuditFinding(
            "near_duplicates",
            "leak",
            f"{len(files)} pairs of pictures in different splits are nearly the same (correlation "
            f"of thumbnails above {threshold:.3f}, flipped and turned too): likely "
            "copies. `data resplit` keeps them together",
            tuple(files),
        )


def _copies(survey: Survey, likeness: Likeness) -> Iterator[tuple[int, int, float]]:
    for first, second in combinations([s for s in SPLITS if s in survey.splits], 2):
        for a, b, value in likeness.pairs(survey.rows(first), survey.rows(second)):
            if survey.groups[a] != survey.groups[b]:
                yield a, b, value


def _torn(survey: Survey) -> Iterator[Pair]:
    """Yield a pair of each two splits that a group is in."""
    first: dict[tuple[str, str], int] = {}
    for row, place in enumerate(zip(survey.groups, survey.splits, strict=True)):
        first.setdefault(place, row)
    places: dict[str, list[int]] = defaultdict(list)
    for (group, _), row in first.items():
        places[group].append(row)
    for rows in places.values():
        yield from ((a, b, None) for a, b in combinations(rows, 2))


def _thin_classes(survey: Survey) -> Iterator[AuditFinding]:
    for split in (name for name in SPLITS if name in survey.splits):
        rows = survey.rows(split)
        for index, name in enumerate(survey.classes):
            shown = rows[survey.pixels[rows, index] > 0]
            groups = {survey.groups[row] for row in shown}
            if not groups:
                yield AuditFinding(
                    "class_absent", "warning", f"{split} has no pixel of class {name!r}"
                )
            elif len(groups) == 1 and index:
                yield AuditFinding(
                    "class_in_one_group",
                    "info",
                    f"class {name!r} is shown in {split} by one group alone: its scores there say "
                    "little",
                    tuple(survey.names[row] for row in shown),
                )


def _empty_masks(survey: Survey) -> Iterator[AuditFinding]:
    empty = np.flatnonzero((survey.pixels[:, 1:] == 0).all(axis=1))
    if len(empty):
        yield AuditFinding(
            "empty_mask",
            "info",
            f"{len(empty)} of {survey.count} masks hold background alone: right for pictures "
            "without a defect, wrong for those whose mask was forgotten",
            tuple(survey.names[row] for row in empty),
        )


def _size_outliers(survey: Survey) -> Iterator[AuditFinding]:
    sides = np.log(survey.sizes.astype(np.float64))
    odd = np.zeros(survey.count, np.bool_)
    for measure in (sides.sum(axis=1), sides[:, 0] - sides[:, 1]):  # area, aspect
        away = np.abs(measure - np.median(measure))
        odd |= away > max(float(_OUTLIER), 4 * 1.4826 * float(np.median(away)))
    if odd.any():
        height, width = np.median(survey.sizes, axis=0)
        yield AuditFinding(
            "size_outlier",
            "info",
            f"{int(odd.sum())} pictures are of a size or aspect far from the median "
            f"{height:.0f} x {width:.0f}",
            tuple(survey.names[row] for row in np.flatnonzero(odd)),
        )


def _lost_classes(store: Store) -> Iterator[AuditFinding]:
    """Yield classes with pixels in an image but none in its record: too small for the size
    chosen.
    """
    at = {name: row for row, name in enumerate(store.survey.names)}
    files = []
    for split in store.splits.values():
        for stem, pixels in zip(split.stems, split.pixels, strict=True):
            row = at[f"{split.name}/{stem}"]
            lost = (store.survey.pixels[row] > 0) & (pixels == 0)
            files += [f"{split.name}/{stem} ({store.classes[i]})" for i in np.flatnonzero(lost)]
    if files:
        height, width, _ = store.image_shape
        yield AuditFinding(
            "class_lost_in_resizing",
            "warning",
            f"{len(files)} times a class shown in an image vanishes at {height} x {width} pixels",
            tuple(files),
        )
