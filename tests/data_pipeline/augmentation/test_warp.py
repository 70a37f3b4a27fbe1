"""Reading a small part of a large image, which is cut out first."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from data_pipeline.augmentation.warp import warp

SIDES = (60, 80)


@pytest.mark.parametrize("outside", [None, 255])
@pytest.mark.parametrize("corner", [(-6.3, -4.8), (20.5, 31.25), (49.7, 70.2)])
def test_a_part_is_read_as_from_the_whole(corner, outside):
    rng = np.random.default_rng(0)
    image = tf.constant(rng.integers(0, 256, (*SIDES, 3), np.uint8))
    mask = tf.constant(rng.integers(0, 4, SIDES, np.uint8))
    y, x = np.mgrid[:16, :16].astype(np.float32)
    y, x = corner[0] + y + 0.1 * x, corner[1] + x - 0.2 * y
    # The same positions in a field that is too large for the image to be cut.
    tiled = [tf.constant(np.tile(part, (4, 4))) for part in (y, x)]
    part = warp(image, mask, tf.constant(y), tf.constant(x), outside)
    whole = warp(image, mask, *tiled, outside)

    np.testing.assert_allclose(part[0], whole[0][:16, :16], atol=1e-2)
    np.testing.assert_array_equal(part[1], whole[1][:16, :16])
