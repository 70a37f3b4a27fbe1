"""What a caution is, and the evidence for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.analysis.baseline_comparison import BaselineComparison
from results.analysis.convergence import Convergence
from results.records.evaluation import Evaluation
from results.records.study import StudyRecord

if TYPE_CHECKING:
    from results.analysis.confirmation import Confirmation

SCORE = "flexunet-search score STUDY_DIR"
CONFIRM = "flexunet-search confirm STUDY_DIR"


@dataclass(frozen=True, eq=False)
class Evidence:
    """The evidence for cautions.

    Attributes:
        contest: The best config against the baselines.
        converged: What more trials may bring.
        confirmation: None where there is none.
        validation: Counts of any model on the validation split, where one was scored.
        unreadable: What of the evaluations cannot be read, a sentence each.
        unconfirmed: What of the confirmation cannot be read or compared, a sentence each, where
            the contest does not tell it.
        edges: Searched fields whose best trials crowd an end of their range, each with what to
            search next: "model.num_layers: 3 to 9".
    """

    contest: BaselineComparison
    converged: Convergence
    confirmation: Confirmation | None = None
    validation: Evaluation | None = None
    unreadable: Sequence[str] = ()
    unconfirmed: Sequence[str] = ()
    edges: Sequence[str] = ()

    @property
    def study(self) -> StudyRecord:
        return self.contest.study
