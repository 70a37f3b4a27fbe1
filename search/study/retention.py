"""What a trial that has ended leaves on the disk: its records, and its model where it is wanted.

Checkpoints are some 85 % of a trial's bytes (benchmarks/README.md), and serve only to go on
training it.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from optuna.trial import FrozenTrial

from results.records import file_names
from results.records.evaluation import FOLDER as EVALUATION
from results.records.study import TrialRecord
from search.config.locations import joined
from search.config.schema import StudyConfig
from search.storage.files import fold_folder, trial_folder
from search.storage.object_store import RemoteFolder, RemoteTroubleError
from search.study import attributes

_log = logging.getLogger(__name__)

KeepModels = int | Literal["all"]
CHECKPOINTS = (file_names.LAST, file_names.PREVIOUS)


def checkpoints_of(folds: int | None) -> tuple[str, ...]:
    """Return the names, within its folder, of a trial's checkpoints, those of its folds too."""
    inner = [
        f"{fold_folder(Path(), fold)}/{name}" for fold in range(folds or 0) for name in CHECKPOINTS
    ]
    return (*CHECKPOINTS, *inner)


def models_of(folds: int | None) -> tuple[str, ...]:
    """Return the names, within its folder, of a trial's models, those of its folds too."""
    inner = [fold_folder(Path(), fold) / file_names.MODEL for fold in range(folds or 0)]
    return (file_names.MODEL, *map(str, inner))


@dataclass(frozen=True)
class EndedTrial:
    """What decides over the files of a trial that has ended.

    Attributes:
        number: In the study.
        complete: Whether it is COMPLETE, not PRUNED or FAIL.
        value: The objective at its best epoch; None without one, and of a FAIL trial.
        baseline: Whether it is a baseline.
    """

    number: int
    complete: bool
    value: float | None
    baseline: bool

    @classmethod
    def of(cls, trial: FrozenTrial) -> EndedTrial:
        """Take a finished trial of the study."""
        known = trial.user_attrs
        return cls._of(
            trial.number,
            trial.state.name,
            known.get(attributes.BEST_VALUE),
            attributes.BASELINE in known,
        )

    @classmethod
    def recorded(cls, trial: TrialRecord) -> EndedTrial:
        """Take a finished trial of a study directory."""
        return cls._of(trial.number, trial.state, trial.value, trial.baseline is not None)

    @classmethod
    def _of(cls, number: int, state: str, value: float | None, baseline: bool) -> EndedTrial:
        return cls(number, state == "COMPLETE", None if state == "FAIL" else value, baseline)


class ModelRanking:
    """Whose models stay: COMPLETE trials', baselines', and those of the best.

    Args:
        keep: How many of the best of all trials keep their model though they were stopped early;
            "all": every trial does.
    """

    def __init__(self, keep: KeepModels) -> None:
        self._keep = keep
        self._seen: set[int] = set()
        # The best so far, the worst of them first; of equals the later one is the worse.
        self._best: list[tuple[float, int, EndedTrial]] = []

    def add(self, trial: EndedTrial) -> Iterator[EndedTrial]:
        """Add a trial that has ended; yield those whose models have no use any more.

        A trial that was added before is not added again: its end may be told twice.
        """
        if self._keep == "all" or trial.number in self._seen:
            return
        self._seen.add(trial.number)
        out: EndedTrial | None = trial
        if trial.value is not None:
            heapq.heappush(self._best, (trial.value, -trial.number, trial))
            out = heapq.heappop(self._best)[2] if len(self._best) > self._keep else None
        if out is not None and not (out.complete or out.baseline):
            yield out


def unneeded(
    trials: Iterable[EndedTrial], keep: KeepModels, folds: int | None = None
) -> Iterator[tuple[int, str]]:
    """Yield trial and name of every file that ended trials can do without, there or not."""
    ranking = ModelRanking(keep)
    for trial in trials:
        yield from ((trial.number, name) for name in checkpoints_of(folds))
        for out in ranking.add(trial):
            yield from ((out.number, name) for name in models_of(folds))


class Retention:
    """Removes files of trials that have ended, once their end is safe on the disk.

    What cannot be removed stays for the next run or ``flexunet-search clean``: no run fails for it.

    Args:
        config: The study.
        ended: Its trials that have ended before; what they have left is removed, too.
    """

    def __init__(self, config: StudyConfig, ended: Sequence[FrozenTrial]) -> None:
        self._config = config
        self._ranking = ModelRanking(config.search.keep_models)
        self._checkpoints = checkpoints_of(config.search.folds)
        self._models = models_of(config.search.folds)
        self._pending: list[tuple[int, str]] = []
        self._before = [*map(EndedTrial.of, ended)]

    def ended(self, trial: FrozenTrial) -> None:
        """Take a trial whose end the study has been told."""
        self._add(EndedTrial.of(trial))

    def remove(self) -> None:
        """Remove what has been found unneeded; call it when all ends are safe on the disk."""
        for trial in self._before:
            self._add(trial)
        known = self._known() if self._before else None
        self._before = []
        pending, self._pending = self._pending, []
        for number, name in pending:
            folder = trial_folder(self._config.directory, number)
            if known is None or f"{folder.name}/{name}" in known:
                self._remove(number, folder, name)

    def _add(self, trial: EndedTrial) -> None:
        self._pending += [(trial.number, name) for name in self._checkpoints]
        for out in self._ranking.add(trial):
            self._pending += [(out.number, name) for name in self._models]

    def _known(self) -> set[str] | None:
        """List a store's files once, where many trials are looked at; None: not needed.

        Nothing where the store does not answer: the next run looks again.
        """
        if self._config.origin is None:
            return None
        try:
            found = RemoteFolder(joined(self._config.origin, "trials")).list()
        except RemoteTroubleError as error:
            _log.warning("what ended trials have left is not removed: %s", error)
            return set()
        return {entry.name for entry in found}

    def _remove(self, number: int, folder: Path, name: str) -> None:
        if Path(name).name == file_names.MODEL and is_scored(self._config.directory, number):
            return
        try:
            (folder / name).unlink(missing_ok=True)
            if self._config.origin is not None:
                RemoteFolder(joined(self._config.origin, "trials", folder.name)).remove(name)
        except OSError as error:
            _log.warning("%s is not removed: %s", folder / name, error)


def is_scored(directory: Path, number: int) -> bool:
    """Tell whether a trial's model was scored image by image: the report's pictures need it."""
    return any((directory / EVALUATION).glob(f"*-trial-{number:05d}.npz"))
