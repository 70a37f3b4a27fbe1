"""What becomes of a training that lost its worker or ran out of memory: again, or given up."""

from __future__ import annotations

from dataclasses import dataclass

from search.process.memory import OUT_OF_MEMORY

# So many trainings that fail without one epoch, and none that has any: the cause is not theirs.
MOST_FAILURES_WITHOUT_EPOCH = 3
LARGER_SHARE = 2.0


@dataclass(frozen=True)
class RetryPolicy:
    """Decides whether a training is tried again.

    Attributes:
        max_failures: Workers that it may lose in a row without finishing an epoch in between.
    """

    max_failures: int

    def after_loss(self, reason: str, epoch: int, in_a_row: int) -> tuple[bool, str]:
        """Return whether a training that lost its worker goes on, and what to say of it.

        Args:
            reason: Why the worker was lost.
            epoch: The last one that ended.
            in_a_row: Workers lost since then, this one included.
        """
        if in_a_row > self.max_failures:
            return False, f"{reason}; failure {in_a_row} in a row after epoch {epoch}"
        return True, (
            f"{reason}; it goes on after epoch {epoch} (failure {in_a_row}, {self.max_failures} "
            "are allowed in a row)"
        )

    @staticmethod
    def may_grow(reason: str | None, grown: bool) -> bool:
        """Return whether a failed training is worth a try with :data:`LARGER_SHARE`.

        Args:
            reason: Why it failed.
            grown: Whether it had the larger share already.
        """
        return (reason or "").startswith(OUT_OF_MEMORY) and not grown
