"""The settings of one FlexUNet and of its training: frozen, constants only.

Which of them are searched is no business of this package: see ``search/config/schema.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Normalization = Literal["none", "batch", "group", "layer"]
Activation = Literal["relu", "mish", "gelu", "silu", "elu", "leaky_relu"]
Loss = Literal[
    "cross_entropy", "dice", "cross_entropy_dice", "focal", "focal_dice", "tversky", "focal_tversky"
]


@dataclass(frozen=True)
class Level:
    """One level of a FlexUNet, the same in encoder and decoder.

    Attributes:
        index: i, 0 at full resolution.
        filters: f_i = base_filters * 2**i.
        kernel: k_i = max(3, base_kernel - 2*i), the side in pixels.
        dilation: d_i = max(1, dilation - i).
        dropout: dropout_rate * i.
    """

    index: int
    filters: int
    kernel: int
    dilation: int
    dropout: float


class ModelConfig(BaseModel):
    """Architecture of a FlexUNet, in the terms of ``docs/model.md``.

    Raises:
        pydantic.ValidationError: for a value out of range, an even kernel, or
            ``dropout_rate * (num_layers - 1) >= 1``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    num_layers: int = Field(
        5,
        ge=1,
        le=12,
        description="Encoder levels L, the bridge included. Each level but the last halves the "
        "image, so both sides must be divisible by 2**(L-1).",
    )
    base_filters: int = Field(
        16, ge=1, le=512, description="Filters of the first level; level i has base_filters * 2**i."
    )
    base_kernel: int = Field(
        3,
        ge=1,
        le=31,
        description="Side of the first level's square kernel in pixels, odd; level i has "
        "max(3, base_kernel - 2*i).",
    )
    dilation: int = Field(
        1, ge=1, le=16, description="Dilation of the first level; level i has max(1, dilation - i)."
    )
    dropout_rate: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="Dropout between the two convolutions of a block: dropout_rate * i at level i, "
        "so dropout_rate * (num_layers - 1) must stay below 1.",
    )
    normalization: Normalization = Field(
        "batch",
        description="After each activation, as in the reference. Without it FlexUNet tends to "
        "collapse to background on strongly imbalanced data.",
    )
    activation: Activation = Field("relu", description="After each convolution of a block.")
    input_scaling: Literal["rescale", "standardize"] = Field(
        "rescale",
        description="rescale: divide by 255, as the reference. standardize: each image to zero "
        "mean and unit variance, for data whose exposure varies from image to image.",
    )
    separable: bool = Field(
        False,
        description="Depthwise-separable convolutions in the blocks: far fewer weights for large "
        "kernels.",
    )

    @field_validator("base_kernel")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError(f"expected an odd kernel side, received {value}")
        return value

    @model_validator(mode="after")
    def _dropout_stays_below_one(self) -> ModelConfig:
        deepest = self.dropout_rate * (self.num_layers - 1)
        if deepest >= 1:
            raise ValueError(
                "expected dropout_rate * (num_layers - 1) < 1, received "
                f"{self.dropout_rate} * ({self.num_layers} - 1) = {deepest:g}"
            )
        return self

    def levels(self) -> tuple[Level, ...]:
        """List the levels from full resolution down to the bridge."""
        return tuple(
            Level(
                index=i,
                filters=self.base_filters * 2**i,
                kernel=max(3, self.base_kernel - 2 * i),
                dilation=max(1, self.dilation - i),
                dropout=self.dropout_rate * i,
            )
            for i in range(self.num_layers)
        )

    def image_size_problem(self, height: int, width: int) -> str | None:
        """Say why images of this size, in pixels, cannot pass the model; None if they can."""
        factor = 2 ** (self.num_layers - 1)
        if height % factor == 0 and width % factor == 0:
            return None
        deepest = 1 + int(math.log2(math.gcd(height, width) & -math.gcd(height, width)))
        return (
            f"expected image sides divisible by 2**(num_layers - 1) = {factor} for num_layers "
            f"{self.num_layers}, received {height}x{width} (which allows num_layers <= {deepest})"
        )


class TrainConfig(BaseModel):
    """How a FlexUNet is trained.

    Raises:
        pydantic.ValidationError: for a value out of range, or ``class_weighting: given`` without
            ``class_weights`` (and the reverse).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(
        40, ge=1, description="Most epochs of a trial; the pruner's resource is counted in them."
    )
    steps_per_epoch: int | None = Field(
        None,
        ge=1,
        description="Batches of one epoch. None: as many as it takes to see each training image "
        "once on average, or with augment.patch_size as many pixels as they have.",
    )
    batch_size: int = Field(
        4, ge=1, description="Images a step, shared out where several devices train together."
    )
    loss: Loss = Field(
        "cross_entropy_dice",
        description="Formulas in model/losses.py; cross_entropy_dice and focal_dice are the sums.",
    )
    class_weighting: Literal["none", "inverse_sqrt_frequency", "given"] = Field(
        "inverse_sqrt_frequency",
        description="Weight of each class in the loss: inverse_sqrt_frequency takes "
        "1/sqrt(share of the training pixels), scaled to a mean of 1; given takes class_weights.",
    )
    class_weights: tuple[float, ...] | None = Field(
        None, description="One weight a class, background first; only with class_weighting: given."
    )
    focal_gamma: float = Field(
        2.0,
        ge=0,
        le=10,
        description="Focusing exponent of focal and focal_dice; focal_tversky has its paper's.",
    )
    tversky_alpha: float = Field(
        0.3, ge=0, le=1, description="Weight of false positives in the Tversky index."
    )
    tversky_beta: float = Field(
        0.7, ge=0, le=1, description="Weight of false negatives in the Tversky index."
    )
    optimizer: Literal["adam", "adamw"] = Field(
        "adamw", description="Adam or AdamW, with Keras' betas and epsilon."
    )
    learning_rate: float = Field(1e-3, gt=0, le=1, description="Initial learning rate.")
    weight_decay: float = Field(1e-4, ge=0, le=1, description="Decoupled weight decay; adamw only.")
    clip_value: float | None = Field(
        None, gt=0, description="Clip every gradient element to [-clip_value, clip_value]."
    )
    clip_norm: float | None = Field(
        1.0, gt=0, description="Scale gradients so that their global norm is at most this."
    )
    schedule: Literal["constant", "cosine", "reduce_on_plateau"] = Field(
        "cosine",
        description="cosine: to zero over epochs * steps_per_epoch. reduce_on_plateau: times "
        "plateau_factor after plateau_patience epochs without a lower validation loss.",
    )
    warmup_steps: int = Field(
        0,
        ge=0,
        description="Updates of linear warm-up from zero to learning_rate, in any schedule.",
    )
    plateau_factor: float = Field(0.4, gt=0, lt=1, description="Factor of reduce_on_plateau.")
    plateau_patience: int = Field(4, ge=1, description="Patience of reduce_on_plateau in epochs.")
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32",
        description="Compute type of the convolutions; weights, loss and softmax stay float32. "
        "float16 scales the loss.",
    )
    early_stopping_patience: int | None = Field(
        None,
        ge=1,
        description="Stop after this many epochs without a better early_stopping_metric. None: "
        "never.",
    )
    early_stopping_metric: Literal["objective", "validation_loss"] = Field(
        "objective",
        description="What has to get better: the study's objective, or the validation loss, as the "
        "reference does. The model that is kept is the best by the objective in either case.",
    )
    accumulation_steps: int = Field(
        1,
        ge=1,
        description="Batches whose gradients are averaged for one update, where memory is too "
        "short for the batch wanted. Losses that divide by sums over the batch, as Dice does, are "
        "then means over the parts. An epoch's last update may have fewer. Schedules count "
        "updates.",
    )
    weight_averaging: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Decay, an update, of a moving average of the weights, which is validated, "
        "kept and exported in their place; about 1 / (1 - decay) updates count. 0: none.",
    )

    @model_validator(mode="after")
    def _weights_go_with_given(self) -> TrainConfig:
        if self.class_weighting == "given" and self.class_weights is None:
            raise ValueError("expected class_weights with class_weighting 'given', received none")
        if self.class_weighting != "given" and self.class_weights is not None:
            raise ValueError(
                "expected class_weighting 'given' with class_weights, "
                f"received {self.class_weighting!r}"
            )
        if self.class_weights is not None and min(self.class_weights, default=0) < 0:
            raise ValueError(f"expected class_weights >= 0, received {list(self.class_weights)}")
        return self

    @model_validator(mode="after")
    def _one_way_of_clipping(self) -> TrainConfig:
        if self.clip_value is not None and self.clip_norm is not None:
            raise ValueError(
                "expected at most one of clip_value and clip_norm, received "
                f"{self.clip_value} and {self.clip_norm}; set the other to null"
            )
        return self
