"""What an offline augmentation writes: operations by name, the copies of an image, their seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.augmentation.operations import IGNORE, OPERATIONS, PRESETS, SWITCHES

MaskFormat = Literal["png", "npz"]
MASK_FORMATS: tuple[MaskFormat, ...] = ("png", "npz")

# What TensorFlow-FlexUNet's [augmentor] section calls them.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "hflip": ("horizontal_flip",),
    "vflip": ("vertical_flip",),
    "shrinks": ("scale",),
    "shears": ("shear",),
    "deformation": ("elastic",),
    "brightening": ("contrast", "brightness"),
    "barrdistortion": ("barrel",),
    "pincdistortion": ("pincushion",),
}

# And what its generators call the files. Splitting knows these words, so that a copy stays with its
# original even where dataset.yaml is lost.
_WORDS: Mapping[str, str] = {
    "horizontal_flip": "hflipped",
    "vertical_flip": "vflipped",
    "rotation": "rotated",
    "scale": "shrinked",
    "shear": "sheared",
    "elastic": "deformed",
    "distortion": "distorted",
    "barrel": "barrdistorted",
    "pincushion": "pincdistorted",
    "sharpening": "sharpened",
    "brightness": "brightened",
}


@dataclass(frozen=True)
class Recipe:
    """What is written for each training image.

    Attributes:
        augment: The operations; which images are drawn (sampling) is not looked at.
        copies: Augmented copies of an image, each drawn from all operations together. None where
            each operation writes its own.
        size: Height and width that images and masks are brought to; None: each keeps its own.
        mask_format: png: RGB by the class colours. npz: array `mask`, one-hot.
        seed: Equal seeds give equal files.

    Raises:
        ValueError: listing every setting that cannot be written.
    """

    augment: AugmentConfig
    copies: int | None = 3
    size: tuple[int, int] | None = None
    mask_format: MaskFormat = "png"
    seed: int = 0

    def __post_init__(self) -> None:
        problems = list(_check(self))
        if problems:
            raise ValueError("; ".join(problems))


def _check(recipe: Recipe) -> Iterator[str]:
    if recipe.copies is not None and recipe.copies < 1:
        yield f"expected copies of at least 1, received {recipe.copies}"
    if recipe.size is not None and not all(8 <= side <= 4096 for side in recipe.size):
        yield f"expected sides of 8 to 4096 pixels, received {list(recipe.size)}"
    if recipe.mask_format not in MASK_FORMATS:
        yield f"expected a mask format of {list(MASK_FORMATS)}, received {recipe.mask_format!r}"
    if not recipe.augment.uses(*OPERATIONS):
        yield "expected an operation at least, received an augmentation that changes nothing"
    if recipe.augment.border == "constant" and recipe.augment.border_class == IGNORE:
        yield (
            "expected border 'reflect', or 'constant' with a class as border_class, received "
            f"border_class {IGNORE!r}: a mask file has no colour for pixels that do not count"
        )


def choose_operations(config: AugmentConfig, names: Sequence[str]) -> AugmentConfig:
    """Keep some operations of an augmentation.

    Args:
        config: Amounts and shares. An operation that it switches off is as the preset strong has
            it, or half as strong as can be of use.
        names: Operations, or what the reference's [augmentor] section calls them.

    Raises:
        ValueError: listing the names that are no operations.
    """
    unknown = [name for name in names if name not in ALIASES and name not in OPERATIONS]
    if unknown:
        expected = ", ".join((*OPERATIONS, *ALIASES))
        raise ValueError(f"expected operations ({expected}), received {', '.join(unknown)}")
    wanted = {name for given in names for name in ALIASES.get(given, (given,))}
    kept = {n: getattr(config, n) if config.share(n) else _usual(n) for n in wanted}
    usual = PRESETS["strong"]["probability"]
    shares = {n: config.share(n) or usual.get(n) for n in wanted if n not in SWITCHES}
    return _only(config, kept, {name: share for name, share in shares.items() if share})


def _usual(operation: str) -> object:
    if operation in SWITCHES:
        return True
    return PRESETS["strong"].get(operation, OPERATIONS[operation] / 2)


def _only(
    config: AugmentConfig, amounts: Mapping[str, object], probability: Mapping[str, float]
) -> AugmentConfig:
    """Return the config with these operations alone."""
    rest = config.model_dump(exclude={"preset", "probability", *OPERATIONS})
    return AugmentConfig(**{**rest, **amounts, "preset": "none", "probability": dict(probability)})


@dataclass(frozen=True)
class Variant:
    """One of the copies of an image: the prefix of its name, and what is drawn for it."""

    prefix: str
    augment: AugmentConfig

    def name(self, stem: str) -> str:
        """File stem of the copy of an image."""
        return f"{self.prefix}_{stem}"


def variants(recipe: Recipe) -> tuple[Variant, ...]:
    """Return the copies that a recipe makes of an image.

    Returns:
        `aug01`, `aug02`, ... of all operations together; or, with `copies` None, one an operation,
        which then surely happens, named as the reference's generators do.
    """
    config = recipe.augment
    if recipe.copies is not None:
        digits = max(2, len(str(recipe.copies)))
        numbers = range(1, recipe.copies + 1)
        return tuple(Variant(f"aug{number:0{digits}d}", config) for number in numbers)
    used = [name for name in OPERATIONS if config.share(name)]
    alone = {name: _only(config, {name: getattr(config, name)}, {name: 1.0}) for name in used}
    return tuple(Variant(_WORDS.get(name, name), augment) for name, augment in alone.items())


def draw_seed(recipe: Recipe, stem: str, prefix: str, attempt: int) -> tuple[int, int]:
    """Return the stateless seed of one copy: it does not depend on which other images there are.

    Returns:
        Two numbers below 2**62, for `build_augment`.
    """
    told = "\0".join((str(recipe.seed), stem, prefix, str(attempt)))
    digest = hashlib.sha256(told.encode()).digest()
    first, second = (int.from_bytes(digest[k : k + 8], "little") >> 2 for k in (0, 8))
    return first, second
