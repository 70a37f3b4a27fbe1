"""A warning to the reader of a result, as one sentence with what to do about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Caution:
    """One thing to mind.

    Attributes:
        kind: What it is about, in a word or two: "leak", "few groups".
        text: What was found, a sentence or two.
        action: What to do.
        bad: Whether the result is not to be trusted before that.
    """

    kind: str
    text: str
    action: str
    bad: bool = False
