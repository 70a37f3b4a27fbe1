"""One point of a study's space: all that a trial or a production training needs."""

from __future__ import annotations

import math

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

    def augment_at(self, epoch: int) -> AugmentConfig:
        """Return the augmentation of an epoch, counted from 0: windows may grow."""
        multiple: int = 2 ** (self.model.num_layers - 1)
        return self.augment.at_epoch(epoch, self.train.epochs, multiple)

    def steps(self, images: int, image_shape: tuple[int, int, int]) -> int:
        """Return the batches of an epoch: by default as many pixels as the training images have.

        Args:
            images: Training images.
            image_shape: (height, width, channels) of each, in pixels.
        """
        height, width, _ = self.augment.window_shape(image_shape)
        windows = images * image_shape[0] * image_shape[1] / (height * width)
        return self.train.steps_per_epoch or math.ceil(windows / self.train.batch_size)

    def validation_batch(self, image_shape: tuple[int, int, int]) -> int:
        """Return the whole images of a validation step: twice a training step's pixels.

        Without gradients they need less memory than that.
        """
        height, width, _ = self.augment.window_shape(image_shape)
        pixels = 2 * self.train.batch_size * height * width
        return max(1, pixels // (image_shape[0] * image_shape[1]))
