"""What the driver tells a trial's worker, and what the worker reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data_pipeline.streams.shared_stream import SharedStream
from results.records.epochs import Epoch
from search.cluster.placement import Bundle
from search.config.trial import TrialConfig
from search.process.resources import WorkerResources
from search.storage.mirror import RemoteTrial


@dataclass(frozen=True)
class SharedInput:
    """The pipeline that a trial reads together with others.

    Attributes:
        stream: Where to read.
        trainer: Who reads; of one name, no sample is given twice.
        most_requests: Chunks on their way at once.
        patience: Seconds without a batch after which the trial goes on with one of its own.
    """

    stream: SharedStream
    trainer: str
    most_requests: int
    patience: float


@dataclass(frozen=True)
class TrialJob:
    """All that a worker needs to train a trial.

    Attributes:
        number: The trial's.
        folder: The trial's, where the worker writes.
        store: The prepared data, where the driver sees them.
        owner: Who trains: whoever claimed the folder before can write no more.
        config: What is trained.
        resources: What the worker may take.
        bundle: What Ray reserves for it.
        pipeline: The shared pipeline that it reads; None: it has one of its own.
        remote: Where it lies in an object store; None: the folder is all there is.
        folds: The prepared data of each fold, where it is trained on several.
    """

    number: int
    folder: Path
    store: Path
    owner: str
    config: TrialConfig
    resources: WorkerResources
    bundle: Bundle
    pipeline: SharedInput | None = None
    remote: RemoteTrial | None = None
    folds: tuple[Path, ...] = ()


@dataclass(frozen=True)
class TrialReport:
    """What a worker reports after a step.

    Attributes:
        done: Whether the trial is trained, or has failed.
        epochs: The epochs that were not reported yet. A worker that goes on with a trial first
            reports those of the workers before it, which their driver may not have received.
        best: The best epoch so far; None where none has a defined objective.
        costs: What the model costs, by the names of :class:`results.records.schemas.Cost`.
        failed: Why the trial failed.
        waiting: Why nothing can be written; the next step tries again.
    """

    done: bool = False
    epochs: tuple[Epoch, ...] = ()
    best: Epoch | None = None
    costs: Mapping[str, float] | None = None
    failed: str | None = None
    waiting: str | None = None
