"""A trial over the folds of its data: trained on one after the other, counted together.

Each fold is a training of its own, in ``fold-<k>/`` of the trial's folder, by a
:class:`search.training.trial_run.TrialRun`. The trial's own metrics.jsonl follows from theirs and
is written anew after each epoch: what a killed process has left is what the folds have left.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np

from data_pipeline.stores.store import Store
from foundation.files import put_link, read_json, write_json, write_text
from results.analysis import scores
from results.records import file_names
from results.records.epochs import METRICS, Epoch, best_of, epochs_in
from search.config.objectives import objective_value
from search.config.trial import TrialConfig
from search.storage.files import fold_folder
from search.training.trial_run import OWNER, TrialRun

# Written once all epochs of a fold are trained; its checkpoints go after it.
DONE = "done.json"


class FoldedRun:
    """The training of one config on each fold of its data; continues from where it was.

    Epochs are numbered through: those of fold f begin after f times ``train.epochs``, so that the
    pruner compares like with like, wherever early stopping has ended a fold. The counts of an epoch
    in fold f are those of its validation images and of the best epochs of the folds before, which
    are other images: Dice and objective are of all of them together. The pruner's value is the mean
    over the folds so far. What the trial is worth is told by the last fold that is finished; while
    none is, by the first one.

    Args:
        config: The constants.
        stores: The prepared data by fold, no image validating in two of them.
        folder: The trial's. best.keras there is the first fold's, whose data are the study's.
        threads: CPU threads of the input pipeline.
        owner: Who trains here; None: no claim.

    Attributes:
        epochs: Of all folds so far.
        costs: What the model costs, the same in every fold.
    """

    def __init__(
        self,
        config: TrialConfig,
        stores: Sequence[Store],
        folder: Path,
        threads: int = 1,
        owner: str | None = None,
    ) -> None:
        self.config = config
        self.folder = folder
        self._stores = stores
        self._threads = threads
        self._owner = owner
        self._run: TrialRun | None = None
        self._finished: list[list[Epoch]] = []
        self._written = False
        self.costs: dict[str, float] = {}
        self.epochs: list[Epoch] = []
        folder.mkdir(parents=True, exist_ok=True)
        if owner is not None:
            write_text(folder / OWNER, owner)
        while self._fold < len(stores) and (self._here / DONE).exists():
            self.costs = read_json(self._here / DONE)
            self._finished.append(epochs_in(self._here))
        self._settle()

    @property
    def _fold(self) -> int:
        return len(self._finished)

    @property
    def _here(self) -> Path:
        return fold_folder(self.folder, self._fold)

    @property
    def best(self) -> Epoch | None:
        """The epoch that tells what the trial is worth."""
        return best_of(self.epochs)

    @property
    def done(self) -> bool:
        """Whether all folds are trained, and what follows from them is written."""
        return self._fold == len(self._stores) and self._written

    def step(self) -> Epoch:
        """Train and evaluate one epoch and write it; or write the one that could not be.

        Raises:
            model.training.NonFiniteLoss, OSError, SupersededError: as
                :meth:`search.training.trial_run.TrialRun.step`.
        """
        if self._written and self._run is not None:
            self._run.step()
            self._written = False
        self._settle()
        return self.epochs[-1]

    def close(self) -> None:
        """Let go of the training data's streams; nothing can be trained after it."""
        if self._run is not None:
            self._run.close()

    def _open(self) -> None:
        """Begin the next fold, or go on with it; nothing where all are trained."""
        self._run = None
        if self._fold == len(self._stores):
            return
        self._run = TrialRun(
            self.config,
            self._stores[self._fold],
            self._here,
            threads=self._threads,
            owner=self._owner,
        )
        self.costs = self.costs or self._run.costs

    def _settle(self) -> None:
        """Write what follows from the folds; go on to the next one where this one is trained."""
        self._publish()
        if self._run is None:  # also where the next one could not be begun before
            self._open()
        if self._run is not None and self._run.done:
            self._close_fold(self._run.epochs)
            self._open()
        folds = [*self._finished, *([] if self._run is None else [self._run.epochs])]
        classes = self._stores[0].classes
        self.epochs = _together(folds, self._fold, self.config, classes)
        write_text(self.folder / METRICS, "".join(epoch.line() for epoch in self.epochs))
        self._written = True

    def _publish(self) -> None:
        """Let the first fold's best model be the trial's."""
        model = fold_folder(self.folder, 0) / file_names.MODEL
        if not self._fold and model.exists():
            put_link(model, self.folder / file_names.MODEL)

    def _close_fold(self, epochs: list[Epoch]) -> None:
        """End a fold: from now on its epochs are all there is of it, so they are safe first."""
        self.close()
        here = self._here
        write_text(here / METRICS, "".join(epoch.line() for epoch in epochs))
        write_json(here / DONE, self.costs)
        for name in (file_names.LAST, file_names.PREVIOUS):
            (here / name).unlink(missing_ok=True)
        self._finished.append(epochs)
        # Before the next model is built: memory is predicted for one of them.
        self._run = None
        keras.backend.clear_session(free_memory=False)
        gc.collect()


def _together(
    folds: Sequence[Sequence[Epoch]], finished: int, config: TrialConfig, classes: Sequence[str]
) -> list[Epoch]:
    """Return the epochs of all folds as those of one trial.

    Args:
        folds: The epochs of each fold that has begun.
        finished: How many of them are trained.
        config: The constants.
        classes: Class names, background first.
    """
    base = np.zeros((len(classes), 3))
    pruning: list[float] = []
    found: list[Epoch] = []
    for fold, epochs in enumerate(folds):
        for epoch in epochs:
            counts = base + _counts(epoch, classes)
            last = fold < finished and epoch is epochs[-1]
            found.append(_joined(epoch, counts, pruning, fold, last, config, classes))
        best = best_of(epochs)
        if best is not None:
            base = base + _counts(best, classes)
            pruning = [*pruning, best.pruning_value or 0.0]
    return found


def _joined(
    epoch: Epoch,
    counts: Any,
    pruning: Sequence[float],
    fold: int,
    last: bool,
    config: TrialConfig,
    classes: Sequence[str],
) -> Epoch:
    dice = scores.dice(counts)
    values: Mapping[str, Any] = {
        "epoch": fold * config.train.epochs + epoch.epoch,
        "fold": fold,
        "fold_objective": epoch.objective,
        "fold_done": last,
        "objective": _number(
            objective_value(config.objective, dice, classes, config.class_weights)
        ),
        "mean_foreground_dice": _number(scores.mean_foreground(dice)),
        "dice": dict(zip(classes, map(_number, dice), strict=True)),
        "counts": dict(zip(classes, map(tuple, counts.tolist()), strict=True)),
        "pruning_value": None
        if epoch.pruning_value is None
        else float(np.mean([*pruning, epoch.pruning_value])),
    }
    return msgspec.structs.replace(epoch, **values)


def _counts(epoch: Epoch, classes: Sequence[str]) -> Any:
    return np.array([epoch.counts[name] for name in classes], float)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
