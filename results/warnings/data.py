"""Cautions of the data: leaks, files that cannot be read, classes that few groups show."""

from __future__ import annotations

from collections.abc import Mapping

from results.analysis.caution import Caution
from results.analysis.intervals import FEW_GROUPS
from results.records.evaluation import Evaluation
from results.records.study import StudyRecord
from results.style.words import listed
from results.warnings.base import CONFIRM, SCORE, Evidence

_SPLITS = {"valid": "validation", "test": "test"}
_SCORE_AGAIN = f"Delete those files and run {SCORE} again."


def leak_cautions(study: StudyRecord) -> list[Caution]:
    """Return images of one object in several splits."""
    found = leaks(study)
    if not found:
        return []
    return [
        Caution(
            "leak",
            f"The data leak: {'; '.join(found)}. Scores here are of images that were trained on.",
            "Divide the data so that no object is in two splits, and search again.",
            bad=True,
        )
    ]


def leaks(study: StudyRecord) -> list[str]:
    """Return what the audit says of images of one object in several splits."""
    found = study.data.get("findings")
    return [
        str(each.get("message", ""))
        for each in (found if isinstance(found, list) else ())
        if isinstance(each, Mapping) and each.get("severity") == "leak"
    ]


def unreadable(findings: Evidence) -> list[Caution]:
    """Return scores that cannot be read or do not belong to this study."""
    scored, confirmed = list(findings.unreadable), list(findings.unconfirmed)
    (confirmed if findings.contest.source == "confirmed" else scored).extend(
        findings.contest.problems
    )
    again = f"Run {CONFIRM} again"
    if any("confirm.json" in problem for problem in confirmed):
        again = f"Move the folder confirm/ away and run {CONFIRM} again"
    return [
        Caution(kind, f"{what} left out: {_first(problems)}", action, bad=True)
        for kind, what, problems, action in (
            ("scores left out", "Scores that were", scored, _SCORE_AGAIN),
            ("trainings left out", "Of the confirmation was", confirmed, f"{again}."),
        )
        if problems
    ]


def _first(problems: list[str], most: int = 3) -> str:
    more = f" And {len(problems) - most:,} more." if len(problems) > most else ""
    return f"{'; '.join(problems[:most])}.{more}"


def few_groups(findings: Evidence) -> list[Caution]:
    """Return classes that too few groups show, in the splits that chose and that measured."""
    shown: dict[str, dict[str, int]] = {}
    if findings.validation is not None:
        shown["valid"] = _true_groups(findings.validation)
    else:
        shown["valid"] = _images_with(findings.study)
    counted = findings.contest.evaluation
    if counted is not None and findings.contest.source == "confirmed":
        shown["test"] = _true_groups(counted)
    told = [
        caution
        for split, groups in shown.items()
        for caution in _few_of(_SPLITS[split], groups, split == "valid", findings)
    ]
    return sorted(told, key=lambda caution: not caution.bad)


def _few_of(
    split: str, groups: Mapping[str, int], choosing: bool, findings: Evidence
) -> list[Caution]:
    unit = "image" if choosing and findings.validation is None else "group"
    folded = findings.confirmation is not None and findings.confirmation.plan.folds is not None
    where = "confirming images" if not choosing and folded else f"{split} split"
    none = [name for name, groups_of in groups.items() if groups_of == 0]
    one = [name for name, groups_of in groups.items() if groups_of == 1]
    few = [f"{name} ({n})" for name, n in groups.items() if 1 < n < FEW_GROUPS]
    action = "Label more objects of such a class"
    action += ", or divide the data anew" + (
        "." if folded else f"; {CONFIRM} --folds 5 scores every object once."
    )
    texts = []
    if none:
        texts.append((f"Nothing in the {where} shows {listed(none)}: not measured there.", True))
    if one:
        whose = "its Dice is" if len(one) == 1 else "the Dice of each is"
        texts.append(
            (f"One {unit} of the {where} shows {listed(one)}: {whose} one object's.", True)
        )
    if few:
        texts.append(
            (f"Fewer than {FEW_GROUPS} {unit}s of the {where} show {listed(few)}: "
             "other objects may score quite differently.", False)
        )  # fmt: skip
    return [Caution("few groups", text, action, bad) for text, bad in texts]


def _true_groups(evaluation: Evaluation) -> dict[str, int]:
    """Group that show each foreground class in truth."""
    counts = evaluation.counts
    shows = counts[..., 0] + counts[..., 2] > 0
    return {
        name: len({evaluation.groups[row] for row in shows[:, index].nonzero()[0]})
        for index, name in enumerate(evaluation.classes)
        if index > 0
    }


def _images_with(study: StudyRecord) -> dict[str, int]:
    splits = study.data.get("splits")
    valid = splits.get("valid") if isinstance(splits, Mapping) else None
    images = valid.get("images_with") if isinstance(valid, Mapping) else None
    known = images if isinstance(images, Mapping) else {}
    return {name: known[name] for name in study.classes[1:] if isinstance(known.get(name), int)}
