"""Which config leads where some were trained more than once: ``search.repeats_of_best``."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class TrainedConfig:
    """A config and what its trainings have reached.

    Attributes:
        number: Of the trial that tried it first.
        values: Of each training that is COMPLETE, by trial number.
        trainings: How many have ended, those that failed among them.
    """

    number: int
    values: tuple[float, ...]
    trainings: int

    @property
    def mean(self) -> float:
        """Mean of the values; -inf without one."""
        return statistics.fmean(self.values) if self.values else float("-inf")

    def words(self) -> str:
        """Say what several trainings have reached; "" of a single one."""
        if len(self.values) < 2:
            return ""
        ends = f"{min(self.values):.4f} to {max(self.values):.4f}"
        return f"mean of {len(self.values)} trainings {self.mean:.4f}, {ends}"


def trained_configs(
    trials: Iterable[tuple[int, int | None, str, float | None]],
) -> list[TrainedConfig]:
    """Gather the trainings of each config that has a value, by the number of its first trial.

    Args:
        trials: (number, number of the trial that it repeats or None, state, value) of each.
    """
    ended: dict[int, list[float | None]] = {}
    for number, original, state, value in trials:
        complete = state == "COMPLETE" and value is not None and math.isfinite(value)
        # A first training that was stopped early or failed makes no config; a repeat that was
        # counts as a training.
        if complete or (original is not None and state != "RUNNING"):
            config = number if original is None else original
            ended.setdefault(config, []).append(value if complete else None)
    found = [
        TrainedConfig(number, tuple(v for v in values if v is not None), len(values))
        for number, values in sorted(ended.items())
    ]
    return [config for config in found if config.values]


def leader(configs: Iterable[TrainedConfig], repeats: int) -> TrainedConfig | None:
    """Return the config that leads; None where none has a value.

    The highest mean leads, the earliest of equals, among the configs that had all their trainings:
    one training that went well says less than the mean of several, so a config takes the lead only
    once it has been trained as often (as in intensification: Hutter et al., Sequential model-based
    optimization for general algorithm configuration, LION 2011).

    Args:
        configs: Each once.
        repeats: Further trainings that a leading config is to have.
    """
    known = [config for config in configs if config.values]
    most = max((config.trainings for config in known), default=0)
    enough = [config for config in known if config.trainings >= min(repeats + 1, most)]
    return max(enough, key=lambda config: (config.mean, -config.number), default=None)
