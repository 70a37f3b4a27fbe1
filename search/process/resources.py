"""What a process that trains may take of its machine."""

from __future__ import annotations

from dataclasses import dataclass

from search.config.settings import ResourceSettings


@dataclass(frozen=True)
class WorkerResources:
    """What a process that trains may take, and how patient it is.

    Attributes:
        cpus: CPU cores, or a share of one.
        gpus: Whole GPUs, or a share of one.
        memory_limit_gb: Resident memory in 10^9 bytes beyond which it takes no further trial; None:
            no limit.
        storage_patience_minutes: How long it waits for storage that is full or out of reach.
    """

    cpus: float
    gpus: float = 0.0
    memory_limit_gb: float | None = None
    storage_patience_minutes: float = 0.0

    @classmethod
    def of(cls, settings: ResourceSettings, gpus: float) -> WorkerResources:
        """Return those of a trial's worker.

        Args:
            settings: The study's.
            gpus: What Ray reserves for this trial, which may be decided trial by trial.
        """
        return cls(
            settings.cpus_per_trial,
            gpus,
            settings.worker_memory_limit_gb,
            settings.storage_patience_minutes,
        )

    @property
    def threads(self) -> int:
        """How many threads its CPUs allow, at least one."""
        return max(1, int(self.cpus))
