"""One point of a study's space: all that a trial or a production training needs."""

from __future__ import annotations

from pydantic import Field

from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.config import DataConfig
from model.config import ModelConfig, TrainConfig
from search.config.settings import ConfigSection


class TrialConfig(ConfigSection):
    """Constants only: no field is searched."""

    data: DataConfig
    augment: AugmentConfig
    model: ModelConfig
    train: TrainConfig
    objective: str
    pruning_metric: str
    seed: int
    class_weights: dict[str, float] = Field(default_factory=dict)
    measure_latency: bool = False
