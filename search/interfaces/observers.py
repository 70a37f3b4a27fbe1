"""What the study's side and Ray's side of a running trial tell each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from data_pipeline.augmentation.config import AugmentConfig
from model.cost import MemoryEstimate
from model.processor import Processor
from results.records.epochs import Epoch
from search.cluster.placement import Bundle, Node
from search.config.trial import TrialConfig
from search.interfaces.messages import SharedInput

if TYPE_CHECKING:  # a worker does not load Optuna
    from optuna.trial import FrozenTrial


class Observer(Protocol):
    """Receives the events of a run: the live table, or plain lines."""

    def study_opened(self, trials: Sequence[FrozenTrial]) -> None:
        """The study is open, with the trials of earlier runs."""

    def trial_started(self, number: int, params: Mapping[str, Any], baseline: str | None) -> None:
        """A trial has been handed to Ray (for the first time or again)."""

    def epoch_ended(self, number: int, epoch: Epoch) -> None:
        """A trial has reported an epoch."""

    def trial_ended(self, trial: FrozenTrial) -> None:
        """A trial's end has been recorded in the study."""

    def note(self, message: str) -> None:
        """Something that takes a while and is no trial, such as scoring the models at the end."""

    def warn(self, message: str) -> None:
        """Something that the user must know, such as a leak between splits."""


class Placer(Protocol):
    """Who decides what a trial reserves, and counts what runs."""

    def place(self, name: str, config: TrialConfig, factor: float = 1.0) -> Bundle:
        """Return a trial's bundle in Ray's terms and count it as running."""

    def free(self, name: str) -> None:
        """Count it no more."""

    def can_grow(self, config: TrialConfig) -> bool:
        """Return whether a larger factor would give a trial more memory."""

    def problem(self, config: TrialConfig) -> str | None:
        """Say why a trial fits on no node; None where it does."""

    def estimate(self, config: TrialConfig) -> MemoryEstimate:
        """Predict the memory that a trial needs on whichever node it comes to."""

    def learn(self, config: TrialConfig, epoch: Epoch) -> None:
        """Let an epoch correct the later predictions."""

    def processors(self) -> set[Processor]:
        """Return the kinds of processors whose speed trials depend on, as far as known."""


class Pipeline(Protocol):
    """Where trials get their training images from."""

    def of_trial(self, augment: AugmentConfig, trainer: str) -> SharedInput | None:
        """Return what a worker needs to read a shared stream; None: it has one of its own."""

    def held(self, nodes: Sequence[Node]) -> list[float]:
        """Return how many CPUs of each node it takes from trials."""

    def epoch_ended(self, epoch: Epoch) -> None:
        """Hear of an epoch that a trial has read."""

    def poll(self) -> None:
        """Look after the stream's processes; called often."""


class OwnPipelines:
    """A pipeline for each trial."""

    def of_trial(self, augment: AugmentConfig, trainer: str) -> SharedInput | None:
        """Return None."""

    def held(self, nodes: Sequence[Node]) -> list[float]:
        return [0.0] * len(nodes)

    def epoch_ended(self, epoch: Epoch) -> None:
        """Do nothing."""

    def poll(self) -> None:
        """Do nothing."""
