"""What to mind before a study's result is trusted, worst first, each with what to do about it."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from results.analysis.caution import Caution
from results.warnings import data, measuring, search
from results.warnings.base import CONFIRM, SCORE, Evidence

__all__ = ["CONFIRM", "SCORE", "Caution", "Evidence", "cautions", "cautions_table"]


def cautions(findings: Evidence) -> tuple[Caution, ...]:
    """Tell what to mind, worst first."""
    told = [
        *data.leak_cautions(findings.study),
        *data.unreadable(findings),
        *data.few_groups(findings),
        *measuring.chosen_by_validation(findings),
        *search.failures(findings.study),
        *measuring.resolution(findings),
        *measuring.baseline(findings),
        *search.few_trials(findings.study),
        *search.not_converged(findings.converged),
        *search.still_rising(findings.contest),
        *search.edges(findings.edges),
        *search.running(findings.study),
    ]
    return tuple(sorted(told, key=lambda caution: not caution.bad))


def cautions_table(told: Iterable[Caution]) -> pd.DataFrame:
    """Return the cautions as rows: columns kind, bad, text, action."""
    rows = [(each.kind, each.bad, each.text, each.action) for each in told]
    return pd.DataFrame(rows, columns=["kind", "bad", "text", "action"])
