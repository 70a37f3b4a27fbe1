"""What memory trials will need, by the formula of ``model.cost`` and by what trials held before.

The formula's constants were measured on one machine, and memory depends on more than the config:
whose kernels TensorFlow uses, the C library, versions. So every epoch tells how much its process
held, and where that is more than predicted, later predictions for the same kind of processor are
raised: by as many times where a large model was trained, by as many bytes where a small one was,
since what every process needs shows most in small ones. They are never lowered: what is reserved
too much costs a place, what is reserved too little a node.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast, get_args

from model.cost import PROCESS_OWN, MemoryEstimate
from model.processor import Kernels
from results.records.epochs import Epoch
from search.config.limits import memory_of
from search.config.trial import TrialConfig

# From so many bytes on a prediction tells of the model rather than of the process.
_LARGE = 500_000_000
# What a single trial can change: one odd measurement must not keep all others from being placed.
_MOST_FACTOR = 2.0
_MOST_BASE = 500_000_000


@dataclass(frozen=True)
class MemoryUse:
    """What a process held as it trained a trial on CPUs, in bytes of its own.

    Attributes:
        kernels: Whose convolutions TensorFlow used there.
        before: Held before the trial's model was built.
        peak: Most since.
    """

    kernels: Kernels
    before: int
    peak: int

    @classmethod
    def of(cls, epoch: Epoch) -> MemoryUse | None:
        """Return it from an epoch; None where that does not tell.

        Epochs of earlier versions do not, nor do those of systems other than Linux.
        """
        memory, worker = epoch.memory, epoch.worker
        if worker is None or memory is None or memory.before is None or memory.peak is None:
            return None
        if worker.kernels not in get_args(Kernels):
            return None
        return cls(cast(Kernels, worker.kernels), memory.before, memory.peak)


@dataclass
class _Correction:
    """What trials on one kind of processor have shown: shares and bytes to add."""

    factor: float = 1.0
    base: int = 0


class MemoryForecast:
    """Predicts the memory of trials, and learns from those that were trained.

    Args:
        image_shape: (height, width, channels), in pixels.
        num_classes: Classes of the data, the background included.
    """

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int) -> None:
        self._shape = image_shape
        self._classes = num_classes
        self._corrections: dict[Kernels, _Correction] = {}

    def __call__(self, config: TrialConfig, kernels: Kernels) -> MemoryEstimate:
        """Return what a trial will need where TensorFlow uses these kernels."""
        estimate = self._formula(config, kernels)
        known = self._corrections.get(kernels, _Correction())
        parts = estimate.state + estimate.activations + estimate.workspace
        return replace(
            estimate,
            workspace=estimate.workspace + round((known.factor - 1) * parts),
            base=estimate.base + known.base,
        )

    def learn(self, config: TrialConfig, use: MemoryUse) -> None:
        """Take what a process held as it trained a trial."""
        predicted = self._formula(config, use.kernels).device
        known = self._corrections.setdefault(use.kernels, _Correction())
        held = use.peak - use.before
        # A process that has trained before begins with more than a fresh one.
        base = max(0, use.before - PROCESS_OWN)
        if predicted >= _LARGE:
            known.factor = min(_MOST_FACTOR, max(known.factor, held / predicted))
        else:
            base += max(0, held - predicted)
        known.base = min(_MOST_BASE, max(known.base, base))

    def _formula(self, config: TrialConfig, kernels: Kernels) -> MemoryEstimate:
        return memory_of(config, self._shape, self._classes, kernels)
