"""All geometry of a sample as one sampling field: where in the input each output pixel reads.

Flips, turns, rotation, scale, shear, shift, crop and perspective are one 3 x 3 matrix; barrel,
pincushion, elastic deformation and distortion bend the field. Positions are in pixels, pixel
centres at whole numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.augmentation.operations import CELLS, IGNORE
from data_pipeline.datasets.labels import IGNORE as IGNORED_LABEL

Tensor = Any
"""A tensor of TensorFlow, which ships no types."""

Draws = Mapping[str, Tensor]
Pair = tuple[Tensor, Tensor]

NEAREST = 0.1  # of the centre's distance

# Rows of (cos, sin), exact: a turn by 90 degrees must not blur the image.
_QUARTERS = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))


def symmetric(draw: Tensor) -> Tensor:
    """From [0, 1) to [-1, 1)."""
    return 2.0 * draw - 1.0


def happens(config: AugmentConfig, operation: str, draws: Draws) -> Tensor:
    """Return whether a sample is changed by an operation: bool scalar."""
    return draws[f"{operation}?"] < config.share(operation)


def amount(config: AugmentConfig, operation: str, drawn: Tensor, draws: Draws) -> Tensor:
    """Return the drawn part of an operation's largest amount; 0 where it does not happen.

    Args:
        config: The amounts and probabilities.
        operation: Its name.
        drawn: float32 scalar in [-1, 1].
        draws: The sample's.
    """
    full = drawn * getattr(config, operation)
    return (
        full
        if config.share(operation) == 1
        else tf.where(happens(config, operation, draws), full, 0.0)
    )


def sampling_matrix(
    config: AugmentConfig,
    shape: tuple[int, int, int],
    draws: Draws,
    focus: tuple[Tensor, Tensor] | None = None,
    window: Tensor | float = 1.0,
) -> Tensor:
    """Compose everything that keeps straight lines straight into one matrix.

    With c the output's centre, t the shift, f the focus and w the window, an output pixel p with
    q = p - c - t reads the input at w A q / (1 + v . q) + f, where
    A = flips * rotation * quarter turn * shear / scale. A positive rotation turns the picture
    anticlockwise as it is seen (y points down).

    Args:
        config: The amounts; an amount of zero leaves its part out exactly.
        shape: (H, W, C) of the output.
        draws: Uniform numbers in [0, 1), float32 scalars by name.
        focus: Where in the input the output's centre reads, (y, x). None: at its own place.
        window: The share of each side that is seen.

    Returns:
        float32 [9], the rows (a0 a1 a2), (b0 b1 b2), (c0 c1 c2) of the output-to-input transform
        x' = (a0 x + a1 y + a2) / (c0 x + c1 y + c2), y' = (b0 x + b1 y + b2) / (...).
    """
    height, width, _ = shape
    center_y, center_x = (height - 1) / 2.0, (width - 1) / 2.0
    focus_y, focus_x = focus if focus is not None else (center_y, center_x)
    (a0, a1), (b0, b1) = _linear(config, draws, window)
    v_x = v_y = 0.0
    if config.perspective:
        half = 0.5 * _signed(config, "perspective", "perspective_x", draws)
        v_x = half / (width / 2.0)
        v_y = 0.5 * _signed(config, "perspective", "perspective_y", draws) / (height / 2.0)
    from_x = center_x + _signed(config, "shift", "shift_x", draws) * width
    from_y = center_y + _signed(config, "shift", "shift_y", draws) * height
    # The matrix of (A + f v) q + f over 1 + v q, moved to p.
    rows = [
        (a0 + focus_x * v_x, a1 + focus_x * v_y, focus_x),
        (b0 + focus_y * v_x, b1 + focus_y * v_y, focus_y),
        (v_x, v_y, 1.0),
    ]
    moved = [(x, y, one - x * from_x - y * from_y) for x, y, one in rows]
    return tf.stack([tf.convert_to_tensor(part, tf.float32) for row in moved for part in row])


def _linear(config: AugmentConfig, draws: Draws, window: Tensor | float) -> tuple[Pair, Pair]:
    angle = _signed(config, "rotation", "rotation", draws) * (math.pi / 180.0)
    cos, sin = tf.cos(angle), tf.sin(angle)
    if config.quarter_turns:
        quarter = tf.cast(draws["quarter_turns"] * 4.0, tf.int32)
        turn = tf.gather(_QUARTERS, tf.where(happens(config, "quarter_turns", draws), quarter, 0))
        cos, sin = cos * turn[0] - sin * turn[1], sin * turn[0] + cos * turn[1]
    zoom = (1.0 + _signed(config, "scale", "scale", draws)) / window
    flip_x, flip_y = (_flip(config, name, draws) for name in ("horizontal_flip", "vertical_flip"))
    a0, a1 = flip_x * cos / zoom, -flip_x * sin / zoom
    b0, b1 = flip_y * sin / zoom, flip_y * cos / zoom
    if not config.shear:
        return (a0, a1), (b0, b1)
    right, down = (
        tf.tan(_signed(config, "shear", name, draws) * (math.pi / 180.0))
        for name in ("shear_x", "shear_y")
    )
    # One after the other, so that areas stay as they are: both at once would flatten the picture.
    both = 1.0 + right * down
    return (a0 * both + a1 * down, a0 * right + a1), (b0 * both + b1 * down, b0 * right + b1)


def _signed(config: AugmentConfig, operation: str, draw: str, draws: Draws) -> Tensor:
    if not getattr(config, operation):
        return tf.zeros([])
    return amount(config, operation, symmetric(draws[draw]), draws)


def _flip(config: AugmentConfig, name: str, draws: Draws) -> Tensor | float:
    if not getattr(config, name):
        return 1.0
    return tf.where(happens(config, name, draws), -1.0, 1.0)


def sampling_field(
    config: AugmentConfig,
    shape: tuple[int, int, int],
    matrix: Tensor,
    draws: Draws,
    seed: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return where each output pixel reads, bent by the lens and by elastic deformation.

    The bending is done to the output's positions, the matrix follows: how strong it is does not
    depend on how the picture is turned or zoomed.

    Args:
        config: The amounts.
        shape: (H, W, C) of the output.
        matrix: From :func:`sampling_matrix`.
        draws: The sample's.
        seed: Of the elastic grids, int64 [2].

    Returns:
        y and x in the input, float32 [H, W] each (or broadcast to it).
    """
    height, width, _ = shape
    y = tf.range(height, dtype=tf.float32)[:, tf.newaxis]
    x = tf.range(width, dtype=tf.float32)[tf.newaxis, :]
    if config.uses("barrel", "pincushion"):
        y, x = _through_lens(config, y, x, draws)
    for number, name in enumerate(("elastic", "distortion")):
        if config.uses(name):
            bend_y, bend_x = _bend(config, name, (height, width), draws, seed, number)
            y, x = y + bend_y, x + bend_x
    return apply_matrix(matrix, y, x, projective=config.uses("perspective"))


def apply_matrix(matrix: Tensor, y: Tensor, x: Tensor, projective: bool) -> tuple[Tensor, Tensor]:
    """Return where the matrix of :func:`sampling_matrix` sends positions."""
    to_x = matrix[0] * x + (matrix[1] * y + matrix[2])
    to_y = matrix[3] * x + (matrix[4] * y + matrix[5])
    if not projective:
        return to_y, to_x
    # With a lens or a shift, a strong perspective's horizon may lie in the picture: what is beyond
    # it would be seen upside down.
    depth = tf.maximum(matrix[6] * x + (matrix[7] * y + matrix[8]), NEAREST)
    return to_y / depth, to_x / depth


def _through_lens(
    config: AugmentConfig, y: Tensor, x: Tensor, draws: Draws
) -> tuple[Tensor, Tensor]:
    """Radial distortion of the first order: r' = r (1 + k r^2), r being 1 in the corners.

    Brown, Decentering distortion of lenses, Photogrammetric Engineering 32 (1966). Positive k is
    a barrel; down to -1/3 it is monotonic, so that by itself it folds nothing.
    """
    height, width = y.shape[0], x.shape[1]
    k = tf.zeros([])
    for name, sign in (("barrel", 1.0), ("pincushion", -1.0)):
        if config.uses(name):
            k += sign * amount(config, name, draws[name], draws)
    off_y, off_x = y - (height - 1) / 2.0, x - (width - 1) / 2.0
    square = (off_y**2 + off_x**2) * (4.0 / (height**2 + width**2))
    stretch = k * square
    return y + off_y * stretch, x + off_x * stretch


def _bend(
    config: AugmentConfig,
    name: str,
    sides: tuple[int, int],
    draws: Draws,
    seed: Tensor,
    number: int,
) -> tuple[Tensor, Tensor]:
    """Free-form deformation: random control points, cubic B-splines between them.

    Rueckert et al., Nonrigid registration using free-form deformations, IEEE TMI 18 (1999).
    """
    rows, columns = (_splines(side, CELLS[name]) for side in sides)
    points = rows.shape[1]

    def drawn() -> Tensor:
        own = seed + tf.constant([2 + number, 0], tf.int64)
        grid = tf.random.stateless_uniform([2, points, points], own, -1.0, 1.0)
        return grid * draws[name]

    grid = tf.cond(happens(config, name, draws), drawn, lambda: tf.zeros([2, points, points]))
    largest = getattr(config, name)
    bend = [
        tf.matmul(tf.matmul(rows * (largest * sides[axis]), grid[axis]), columns, transpose_b=True)
        for axis in (0, 1)
    ]
    return bend[0], bend[1]


def _splines(side: int, cells: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the weight of each control point at each pixel centre, float32 [side, cells + 3]."""
    position = (np.arange(side) + 0.5) / side * cells
    cell = np.minimum(position.astype(int), cells - 1)
    t = position - cell
    weights = np.zeros((side, cells + 3), np.float32)
    basis = (
        (1 - t) ** 3,
        3 * t**3 - 6 * t**2 + 4,
        -3 * t**3 + 3 * t**2 + 3 * t + 1,
        t**3,
    )
    for offset, value in enumerate(basis):
        weights[np.arange(side), cell + offset] = value / 6
    return weights


def border_label(config: AugmentConfig, classes: tuple[str, ...]) -> int:
    """Return the mask's value outside the image, with border: constant."""
    if config.border_class == IGNORE:
        return IGNORED_LABEL
    return classes.index(config.border_class)
