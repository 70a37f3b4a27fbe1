"""The sampling field: nothing folds, and amounts are what they are said to be."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from data_pipeline.augmentation.augment import DRAWS
from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.augmentation.geometry import apply_matrix, sampling_field, sampling_matrix
from tests.data_pipeline.augmentation.test_operations import only

SHAPE = (64, 96, 1)


def draws(**values: float) -> dict[str, tf.Tensor]:
    return {name: tf.constant(values.get(name, 0.5), tf.float32) for name in DRAWS}


def field(config: AugmentConfig, number: int = 0, **values: float):
    drawn = draws(**{"elastic": 0.999, "distortion": 0.999, **values})
    matrix = sampling_matrix(config, SHAPE, drawn)
    y, x = sampling_field(config, SHAPE, matrix, drawn, tf.constant([3, number], tf.int64))
    return (np.broadcast_to(part, SHAPE[:2]) for part in (y, x))


@pytest.mark.parametrize("operation", ["elastic", "distortion", "barrel", "pincushion"])
def test_nothing_folds_at_the_largest_amount(operation: str) -> None:
    for number in range(20):
        y, x = field(only(operation), number, **{operation: 0.999})
        area = np.gradient(y, axis=0) * np.gradient(x, axis=1)
        area -= np.gradient(y, axis=1) * np.gradient(x, axis=0)
        assert area.min() > 0


@pytest.mark.parametrize("operation", ["elastic", "distortion"])
def test_bending_is_smooth_and_at_most_as_far_as_asked(operation: str) -> None:
    config = only(operation)
    farthest = getattr(config, operation) * np.array(SHAPE[:2])
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for number in range(10):
        y, x = field(config, number)
        assert np.abs(y - rows).max() <= farthest[0]
        assert np.abs(x - columns).max() <= farthest[1]
        assert np.abs(y - rows).max() > 0.1 * farthest[0]


@pytest.mark.parametrize(("operation", "sign"), [("barrel", 1), ("pincushion", -1)])
def test_a_lens_moves_the_corners_by_the_amount_and_not_the_centre(
    operation: str, sign: int
) -> None:
    config = AugmentConfig(preset="none", **{operation: 0.2})
    y, x = field(config, **{operation: 1.0})
    radius = np.hypot(y[0, 0] - 31.5, x[0, 0] - 47.5)
    assert radius / np.hypot(31.5, 47.5) == pytest.approx(1 + sign * 0.2, rel=0.02)
    assert abs(y[31, 47] - 31) < 0.02


def test_perspective_is_relative_at_the_corners() -> None:
    config = AugmentConfig(preset="none", perspective=0.4)
    drawn = draws(perspective_y=1.0, perspective_x=1.0)
    matrix = sampling_matrix(config, SHAPE, drawn)

    def at(y: float, x: float):
        return apply_matrix(matrix, tf.constant(float(y)), tf.constant(float(x)), projective=True)

    center = np.array(at(31.5, 47.5))
    np.testing.assert_allclose(center, (31.5, 47.5), atol=1e-4)
    far, near = (np.linalg.norm(np.array(at(*corner)) - center) for corner in ((64, 96), (-1, -1)))
    assert far == pytest.approx(np.hypot(32.5, 48.5) / 1.4, rel=0.02)
    assert near == pytest.approx(np.hypot(32.5, 48.5) / 0.6, rel=0.05)


def test_shear_leans_by_its_angle() -> None:
    config = AugmentConfig(preset="none", shear=30)
    y, x = field(config, shear_x=1.0)
    lean = np.degrees(np.arctan((x[-1, 0] - x[0, 0]) / (y[-1, 0] - y[0, 0])))
    assert lean == pytest.approx(30, abs=0.1)
    assert np.ptp(y[0]) == pytest.approx(0, abs=1e-4)


def test_two_shears_at_their_limit_keep_areas() -> None:
    config = AugmentConfig(preset="none", shear=45)
    y, x = field(config, shear_x=1.0, shear_y=1.0)
    area = np.gradient(y, axis=0) * np.gradient(x, axis=1)
    area -= np.gradient(y, axis=1) * np.gradient(x, axis=0)
    np.testing.assert_allclose(area, 1.0, rtol=1e-3)


def test_nothing_is_seen_from_beyond_the_horizon() -> None:
    config = AugmentConfig(preset="none", perspective=0.95, barrel=1.0, shift=0.5)
    drawn = {"barrel": 1.0, "shift_y": 1.0, "shift_x": 1.0}
    y, x = field(config, perspective_y=1.0, perspective_x=1.0, **drawn)
    # Away from the centre in the output is away from it in the input.
    assert (np.diff(y[:, 0]) > 0).all()
    assert (np.diff(x[0]) > 0).all()


def test_no_operation_reads_every_pixel_at_its_place() -> None:
    y, x = field(AugmentConfig(preset="none"))
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    np.testing.assert_array_equal(y, rows)
    np.testing.assert_array_equal(x, columns)
