"""What tells studies apart: their incumbents, their data, their configs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from results.analysis.baseline_comparison import own_counts
from results.analysis.intervals import MEAN, class_intervals, paired_difference
from results.analysis.scores import mean_foreground
from results.records.evaluation import Evaluation
from results.records.study import StudyRecord
from results.tables import search

_NOT_CONFIG = {"provenance"}
_SPLITS = ("train", "valid", "test")


def labels(studies: Sequence[StudyRecord]) -> list[str]:
    """Return a name for each study: its own, with its folder's where two are called alike."""
    names = [study.name for study in studies]
    told = [
        name if names.count(name) == 1 else f"{name} ({study.path.resolve().parent.name})"
        for name, study in zip(names, studies, strict=True)
    ]
    return [
        label if told.count(label) == 1 else f"{label} #{place + 1}"
        for place, label in enumerate(told)
    ]


def incumbents_table(
    studies: Mapping[str, StudyRecord], scored: Mapping[str, Sequence[Evaluation]]
) -> pd.DataFrame:
    """Dice of each study's incumbent on its validation split, by class and for their mean.

    Args:
        studies: By label.
        scored: Of each label the models that were scored.

    Returns:
        Columns study, class, kind ("class" or "mean"), dice, low, high (95 % over groups), groups,
        few, resolution ("native", "prepared", or "epoch": as counted while it trained, without an
        interval). A study without an incumbent has no row.
    """
    parts = [
        _incumbent_rows(study, scored[label]).assign(study=label)
        for label, study in studies.items()
        if study.incumbent is not None
    ]
    columns = ["study", "class", "kind", "dice", "low", "high", "groups", "few", "resolution"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _incumbent_rows(study: StudyRecord, scored: Sequence[Evaluation]) -> pd.DataFrame:
    trial = study.incumbent
    found = None if trial is None else own_counts(study, scored, trial)[0]
    if found is not None:
        table = class_intervals(found)
        return table[table["kind"] != "worst"].assign(resolution=found.resolution)
    row = None if trial is None else trial.best_row
    dice = [math.nan] * len(study.classes)
    if trial is not None and row is not None:
        dice = trial.curve.dice[row].tolist()
    return pd.DataFrame(
        {
            "class": [*study.classes, MEAN],
            "kind": ["class"] * len(study.classes) + ["mean"],
            "dice": [*dice, mean_foreground(dice)],
            "low": math.nan,
            "high": math.nan,
            "groups": 0,
            "few": True,
            "resolution": "epoch",
        }
    )


def differences_table(
    studies: Mapping[str, StudyRecord], scored: Mapping[str, Sequence[Evaluation]]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return how much better each study's incumbent is than the first one's, on the same images.

    Returns:
        Columns study, class, kind, difference, low, high, above, groups, few; and of each study
        that cannot be compared so the reason.
    """
    (first, *others) = studies
    base = _scored_incumbent(studies[first], scored[first])
    parts, reasons = [], {}
    for label in others:
        other = _scored_incumbent(studies[label], scored[label])
        if base is None or other is None:
            unscored = " and ".join(n for n, e in ((first, base), (label, other)) if e is None)
            reasons[label] = f"{unscored}: no incumbent that was scored (flexunet-search score)"
            continue
        try:
            table = paired_difference(other, base)
        except ValueError as error:
            reasons[label] = str(error)
        else:
            parts.append(table[table["kind"] != "worst"].assign(study=label))
    columns = ["study", "class", "kind", "difference", "low", "high", "above", "groups", "few"]
    frame = pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)
    return frame, reasons


def _scored_incumbent(study: StudyRecord, scored: Sequence[Evaluation]) -> Evaluation | None:
    return None if study.incumbent is None else own_counts(study, scored, study.incumbent)[0]


def config_differences(studies: Mapping[str, StudyRecord]) -> pd.DataFrame:
    """Return fields of the configs in which the studies differ, distributions as the config writes
    them.

    Returns:
        Index field (dotted), a column a study: the value as text, "–" where it has none.
    """
    flat = {label: _flat(study.config) for label, study in studies.items()}
    fields = list(dict.fromkeys(name for values in flat.values() for name in values))
    rows = {
        name: [values.get(name, "–") for values in flat.values()]
        for name in fields
        if len({values.get(name, "–") for values in flat.values()}) > 1
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(studies), dtype=object)
    return table.rename_axis("field")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if name in _NOT_CONFIG:
            continue
        # A section of the config, not a field that is a mapping.
        if not prefix and isinstance(value, Mapping):
            found |= _flat(value, f"{name}.")
        else:
            found[name] = str(value)
    return found


def data_differences(studies: Mapping[str, StudyRecord]) -> pd.DataFrame:
    """Return what the studies were made on, fact by fact.

    Returns:
        Index fact, a column a study (text), and differs (bool): fingerprint, source, classes, image
        shape, then images and groups of each split.
    """
    facts = {label: _data_facts(study) for label, study in studies.items()}
    names = list(dict.fromkeys(name for values in facts.values() for name in values))
    columns = {label: [values.get(name, "–") for name in names] for label, values in facts.items()}
    table = pd.DataFrame(columns, index=pd.Index(names, name="fact"), dtype=object)
    return table.assign(differs=(table.nunique(axis=1) > 1).astype(bool))


def _data_facts(study: StudyRecord) -> dict[str, str]:
    data = study.data
    splits = data.get("splits")
    facts = {
        "Fingerprint": (study.data_fingerprint or "–")[:16],
        "Source": str(data.get("source", "–")),
        "Classes": ", ".join(study.classes),
        "Image shape": " x ".join(map(str, data.get("image_shape") or ("–",))),
    }
    for name in _SPLITS:
        found = splits.get(name) if isinstance(splits, Mapping) else None
        if isinstance(found, Mapping):
            facts[f"Split {name}"] = (
                f"{found.get('images', 0):,} images of {found.get('groups', 0):,} objects"
            )
    return facts


def split_warnings(
    studies: Mapping[str, StudyRecord], scored: Mapping[str, Sequence[Evaluation]]
) -> list[str]:
    """Return what makes the studies' scores no measure of each other, a sentence each; empty:
    nothing.

    Two studies of other fingerprints may still be scored on the same images (other sizes of the
    same data); where both are scored, the images themselves decide.
    """
    (first, *others) = studies
    warnings = []
    for label in others:
        a, b = studies[first], studies[label]
        if a.classes != b.classes:
            warnings.append(f"{label} has other classes than {first}.")
        elif a.data_fingerprint != b.data_fingerprint:
            warnings.append(_other_data(first, label, _validated(scored[first], scored[label])))
        if a.objective != b.objective:
            warnings.append(f"{label} was searched by {b.objective}, {first} by {a.objective}.")
    return warnings


def _validated(a: Sequence[Evaluation], b: Sequence[Evaluation]) -> tuple[set[str], set[str]]:
    return _images(a), _images(b)


def _images(scored: Sequence[Evaluation]) -> set[str]:
    return {name for each in scored if each.split == "valid" for name in each.images}


def _other_data(first: str, label: str, images: tuple[set[str], set[str]]) -> str:
    one, other = images
    if not one or not other:
        return (
            f"{label} was made on other data, or another split, than {first} (the fingerprints "
            "differ): their scores are of different images."
        )
    if one == other:
        return (
            f"{label} was made on other data than {first} (the fingerprints differ), but "
            f"validated on images of the same {len(one):,} names."
        )
    shared = len(one & other)
    return (
        f"{label} was validated on a different split than {first}: {shared:,} of its "
        f"{len(other):,} validation images are the same. Their scores are of different images."
    )


def progress_table(study: StudyRecord, trials: pd.DataFrame) -> pd.DataFrame:
    """Return the best value so far, after each trial that has ended, in the order of their ends.

    Args:
        study: Its records.
        trials: Its ``trials_table``.

    Returns:
        Columns number (trials ended so far), epochs (trained so far, of all of these), hours (since
        the first trial began; NaN where a record has no times), best (of the COMPLETE ones; NaN
        before the first).
    """
    table = search.progress_table(study, trials)
    table = table[table["state"] != "RUNNING"].reset_index(drop=True)
    return pd.DataFrame(
        {
            "number": range(1, len(table) + 1),
            "epochs": table["epochs"].cumsum(),
            "hours": table["hours"],
            "best": table["best"],
        }
    )
