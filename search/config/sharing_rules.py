"""Which studies can share a pipeline between their trials, checked when a config is loaded."""

from __future__ import annotations

import math
from collections.abc import Iterator

from search.config.schema import StudyConfig
from search.config.space import points

MOST_POLICIES = 8


def sharing_problems(config: StudyConfig) -> Iterator[str]:
    """Yield why the study's trials cannot share a pipeline; nothing where they can.

    Trials of different augmentation read different streams. A few of them are a job each; of
    amounts that are drawn for each trial no two trials have the same.
    """
    if config.search.folds:
        yield "each fold of search.folds is trained on images of its own"
    if max(config.values("augment.patch_stages")) > 1:
        yield "windows that grow over a trial's epochs (augment.patch_stages) are its own"
    searched = {n: d for n, d in config.space.items() if n.startswith("augment.")}
    counts = {name: points(distribution.to_optuna()) for name, distribution in searched.items()}
    policies = math.prod(counts.values())
    if policies > MOST_POLICIES:
        names = ", ".join(
            f"{name} ({'any value' if math.isinf(count) else f'{count:.0f} values'})"
            for name, count in counts.items()
        )
        yield (
            f"trials share a pipeline only where they augment alike, in at most {MOST_POLICIES} "
            f"ways; searched are {names}"
        )
