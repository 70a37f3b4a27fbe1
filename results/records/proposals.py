"""Proposals that were not trained, as the study directory tells them: refused, or duplicates."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.records import file_names

REFUSED_NAME = file_names.REFUSED
DUPLICATES_NAME = file_names.DUPLICATES


@dataclass(frozen=True)
class Untrained:
    """Proposals without a trial of their own.

    Attributes:
        refused: Number of those refused.
        by_limit: Limit to how many of them broke it; one may break several.
        duplicates: Number of those that took an earlier trial's result.
    """

    refused: int
    by_limit: dict[str, int]
    duplicates: int

    def sentences(self) -> list[str]:
        """Return what there is to say of them."""
        said = []
        if self.refused:
            counts = ", ".join(f"{count} by {name}" for name, count in self.by_limit.items())
            said.append(f"{_count(self.refused, 'proposal')} refused: {counts}")
        if self.duplicates:
            said.append(f"{_count(self.duplicates, 'duplicate proposal')} took an earlier result")
        return said


def load_untrained(study_dir: Path | str) -> Untrained:
    """Read what a study directory says of refused proposals and duplicates.

    An unfinished last line, and one that is no JSON object, is left out: the study's next run
    writes the files again.
    """
    folder = Path(study_dir)
    refused = _lines(folder / REFUSED_NAME)
    limits = Counter(
        str(name)
        for line in refused
        for name in (line["limits"] if isinstance(line.get("limits"), list) else ())
    )
    duplicates = _lines(folder / DUPLICATES_NAME)
    return Untrained(len(refused), dict(limits.most_common()), len(duplicates))


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    found = []
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
