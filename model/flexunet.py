"""FlexUNet: a U-Net whose depth, width and kernels are free, after Arai's FlexUNet.

Architecture: ``docs/model.md``. Only built-in Keras layers are used, so that a saved ``.keras``
file is loaded in safe mode by any program that has Keras, without this package.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import keras
import numpy as np

from model.config import Level, ModelConfig

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
# Of the moving averages of batch normalization. With Keras' 0.99 they lag behind the weights for
# hundreds of steps: after 100 steps on small blobs, validation Dice of a class was 0.00 where 0.9
# gave 0.92 with the same weights. A search judges short trials, so it must not see that lag. With
# 0.9, in turn, validation was noisy at batches of 4: on real tiles the background's Dice went from
# 0.97 to 0.51 and back within a few epochs.
_MOMENTUM = 0.95


def build_flexunet(
    config: ModelConfig,
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    seed: int = 0,
    precision: str = "float32",
) -> keras.Model:
    """Build a FlexUNet with fresh weights.

    Args:
        config: The architecture.
        image_shape: (height, width, channels) of the images, in pixels.
        num_classes: Classes, the background included; 1 for a single sigmoid channel.
        seed: Of the initial weights and of the dropout masks. The same seed gives the same model.
        precision: Compute type of the hidden layers: float32, bfloat16 or float16. Weights and
            the head are float32 in each.

    Returns:
        A model from images [B, H, W, C], 0-255, of any real type, to float32 probabilities
        [B, H, W, num_classes]: softmax, or sigmoid where num_classes is 1.

    Raises:
        ValueError: for image sides that cannot be halved often enough, an unknown precision, or
            fewer than 1 class; all of them in one message.
    """
    _check(config, image_shape, num_classes, precision)
    return _Builder(config, seed, _POLICIES[precision]).build(image_shape, num_classes)


def _check(
    config: ModelConfig, image_shape: tuple[int, int, int], num_classes: int, precision: str
) -> None:
    height, width, channels = image_shape
    problems = []
    if min(image_shape) < 1:
        problems.append(
            f"expected image_shape (height, width, channels) >= 1, received "
            f"({height}, {width}, {channels})"
        )
    elif problem := config.image_size_problem(height, width):
        problems.append(problem)
    if num_classes < 1:
        problems.append(f"expected num_classes >= 1, received {num_classes}")
    if precision not in _POLICIES:
        problems.append(f"expected precision in {sorted(_POLICIES)}, received {precision!r}")
    if problems:
        raise ValueError("; ".join(problems))


class _Builder:
    """Holds what every layer of one model needs: its policy and the stream of seeds."""

    def __init__(self, config: ModelConfig, seed: int, policy: str) -> None:
        self.config = config
        self.seeds = _seeds(seed)
        self.policy = policy

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
        image = keras.Input(image_shape, name="image", dtype="float32")
        x = self.scale(image)
        *upper, bridge = self.config.levels()
        skips = []
        for level in upper:
            x = self.block(x, level, f"encoder_{level.index}")
            skips.append(x)
            x = keras.layers.MaxPooling2D(2, name=f"encoder_{level.index}_pool", dtype=self.policy)(
                x
            )
        x = self.block(x, bridge, f"encoder_{bridge.index}")
        for level in reversed(upper):
            x = self.up(x, skips[level.index], level)
            x = self.block(x, level, f"decoder_{level.index}")
        return keras.Model(image, self.head(x, num_classes), name="flexunet")

    def scale(self, image: keras.KerasTensor) -> keras.KerasTensor:
        if self.config.input_scaling == "rescale":
            return keras.layers.Rescaling(1 / 255, name="rescale", dtype="float32")(image)
        # Over height, width and channels at once, so that colours keep their relation. Without
        # scale and center the layer has no weights.
        return keras.layers.LayerNormalization(
            axis=[1, 2, 3], center=False, scale=False, name="standardize", dtype="float32"
        )(image)

    def block(self, x: keras.KerasTensor, level: Level, name: str) -> keras.KerasTensor:
        x = self.convolution(x, level, f"{name}_conv_a")
        x = self.normalize(x, level, f"{name}_norm_a")
        x = keras.layers.Dropout(
            level.dropout, seed=next(self.seeds), name=f"{name}_dropout", dtype=self.policy
        )(x)
        x = self.convolution(x, level, f"{name}_conv_b")
        return self.normalize(x, level, f"{name}_norm_b")

    def convolution(self, x: keras.KerasTensor, level: Level, name: str) -> keras.KerasTensor:
        seed = next(self.seeds)
        # The first convolution stays plain, as in MobileNet and Xception: on a grey image a
        # separable one could learn but a single filter.
        if self.config.separable and name != "encoder_0_conv_a":
            return self.separable(x, level, name, seed)
        return keras.layers.Conv2D(
            level.filters,
            level.kernel,
            dilation_rate=level.dilation,
            padding="same",
            activation=self.config.activation,
            kernel_initializer=keras.initializers.HeNormal(seed=seed),
            name=name,
            dtype=self.policy,
        )(x)

    def separable(
        self, x: keras.KerasTensor, level: Level, name: str, seed: int
    ) -> keras.KerasTensor:
        # Keras counts all input channels in a depthwise kernel's fan-in, though each output sees
        # one: the scale undoes that, so that the depthwise step keeps the variance.
        depthwise = keras.initializers.VarianceScaling(
            scale=float(x.shape[-1]), mode="fan_in", seed=seed
        )
        return keras.layers.SeparableConv2D(
            level.filters,
            level.kernel,
            dilation_rate=level.dilation,
            padding="same",
            activation=self.config.activation,
            depthwise_initializer=depthwise,
            pointwise_initializer=keras.initializers.HeNormal(seed=next(self.seeds)),
            name=name,
            dtype=self.policy,
        )(x)

    def normalize(self, x: keras.KerasTensor, level: Level, name: str) -> keras.KerasTensor:
        match self.config.normalization:
            case "none":
                return x
            case "batch":
                return keras.layers.BatchNormalization(
                    momentum=_MOMENTUM, name=name, dtype=self.policy
                )(x)
            case "group":
                groups = math.gcd(8, level.filters)
            case "layer":
                groups = 1
        return keras.layers.GroupNormalization(groups, name=name, dtype=self.policy)(x)

    def up(self, x: keras.KerasTensor, skip: keras.KerasTensor, level: Level) -> keras.KerasTensor:
        x = keras.layers.Conv2DTranspose(
            level.filters,
            2,
            strides=2,
            padding="same",
            kernel_initializer=keras.initializers.GlorotUniform(seed=next(self.seeds)),
            name=f"decoder_{level.index}_up",
            dtype=self.policy,
        )(x)
        return keras.layers.Concatenate(name=f"decoder_{level.index}_concat", dtype=self.policy)(
            [x, skip]
        )

    def head(self, x: keras.KerasTensor, num_classes: int) -> keras.KerasTensor:
        return keras.layers.Conv2D(
            num_classes,
            1,
            activation="softmax" if num_classes > 1 else "sigmoid",
            kernel_initializer=keras.initializers.GlorotUniform(seed=next(self.seeds)),
            name="probabilities",
            dtype="float32",
        )(x)


def _seeds(seed: int) -> Iterator[int]:
    """Yield one 31-bit seed a layer; neighbouring seeds give unrelated streams."""
    generator = np.random.default_rng(seed)
    while True:
        yield int(generator.integers(2**31 - 1))
