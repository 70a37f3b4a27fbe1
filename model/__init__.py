"""FlexUNet in Keras: architecture, losses, metrics, cost and the training steps.

>>> import model
>>> unet = model.build({"num_layers": 4, "base_filters": 16}, (128, 128, 1), 6)
>>> unet.output_shape
(None, 128, 128, 6)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from foundation.lazy import lazy_names

if TYPE_CHECKING:
    import keras

    from model.config import ModelConfig as ModelConfig
    from model.inference import ModelError as ModelError


def build(
    config: ModelConfig | Mapping[str, Any],
    image_shape: tuple[int, int, int],
    classes: int,
    *,
    seed: int = 0,
    precision: str = "float32",
) -> keras.Model:
    """Build a FlexUNet with fresh weights; see :func:`model.flexunet.build_flexunet`.

    Args:
        config: The architecture, or its fields: such as the section ``model`` of a best config.
        image_shape: (height, width, channels) of the images, in pixels.
        classes: Classes, the background included; 1 for a single sigmoid channel.
        seed: Of the initial weights and of the dropout masks.
        precision: Compute type of the hidden layers: float32, bfloat16 or float16.

    Returns:
        A model from images [B, H, W, C], 0-255, to float32 probabilities [B, H, W, classes].

    Raises:
        ValueError: listing what is wrong with the fields, the shape or the precision.
    """
    from model.config import ModelConfig
    from model.flexunet import build_flexunet

    fields = config if isinstance(config, ModelConfig) else ModelConfig(**config)
    return build_flexunet(fields, image_shape, classes, seed=seed, precision=precision)


__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {"ModelConfig": "model.config", "ModelError": "model.inference"},
    ("build",),
)
