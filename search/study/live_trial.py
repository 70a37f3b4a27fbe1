"""A trial that Ray holds, as the study's side knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from optuna.trial import Trial

from search.config.trial import TrialConfig


@dataclass
class LiveTrial:
    """A trial that Ray holds: what it has reported since it was handed over.

    Attributes:
        trial: The study's side of it.
        config: What it trains.
        waiting: Time since when its worker cannot write; None while it can.
        waits_for: Why it cannot.
        lost: Why its worker ended without the trial's end.
        reason: Why the trial failed, or was stopped for good.
        broken: How its model, as measured, breaks a limit.
    """

    trial: Trial
    config: TrialConfig
    pruned: bool = False
    reason: str | None = None
    broken: str = ""
    lost: str | None = None
    recycled: bool = False
    waiting: float | None = None
    waits_for: str | None = None
    best_value: float | None = None
    best_epoch: int | None = None
    epochs: int = 0
    reported: set[int] = field(default_factory=set)
    failures: list[dict[str, Any]] | None = None
