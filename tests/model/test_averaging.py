from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from model.averaging import WeightAverage
from tests.model.blobs import blobs
from tests.model.test_training import SIDE, batches, make_trainer


def test_the_average_follows_its_formula() -> None:
    weight = keras.Variable(np.array([2.0, -1.0], np.float32))
    seeds = keras.Variable(np.array([1, 2], np.uint32), dtype="uint32", trainable=False)
    average = WeightAverage(0.25, [weight, seeds])
    expected = np.array([2.0, -1.0])
    # 2 / 11 and 3 / 12 warm up to 0.25; there it stays.
    for done, decay in ((1, 2 / 11), (2, 0.25), (3, 0.25)):
        weight.assign(weight.value + done)
        average.update(tf.constant(done, tf.int64))
        expected = decay * expected + (1 - decay) * weight.numpy()

    (held,) = average.variables
    np.testing.assert_allclose(held.numpy(), expected, rtol=1e-6)


def test_the_model_has_the_averages_for_a_while_and_its_weights_back_to_the_bit() -> None:
    trainer = make_trainer({"weight_averaging": 0.9}, normalization="batch")
    trainer.train_epoch(batches())
    floats = [v for v in trainer.model.variables if v.value.dtype.is_floating]
    before = [v.numpy() for v in floats]
    assert trainer._average is not None
    averages = [v.numpy() for v in trainer._average.variables]

    with trainer.averaged():
        meanwhile = [v.numpy() for v in floats]

    assert "moving_variance" in {v.name for v in floats}
    for at_rest, then, average, after in zip(before, meanwhile, averages, floats, strict=True):
        np.testing.assert_array_equal(then, average)
        np.testing.assert_array_equal(after.numpy(), at_rest)
    assert any(not np.array_equal(x, y) for x, y in zip(before, averages, strict=True))


def test_what_is_evaluated_is_the_average_and_training_goes_on_from_the_weights() -> None:
    plain, averaged = (make_trainer({"weight_averaging": decay}) for decay in (0.0, 0.9))
    losses = [trainer.train_epoch(batches()).loss for trainer in (plain, averaged)]
    validation = [blobs(3, SIDE, seed=5)]
    found = averaged.evaluate(validation)

    assert losses[0] == losses[1]
    assert found.loss != plain.evaluate(validation).loss
    with averaged.averaged():
        weights = averaged.model.get_weights()
    plain.model.set_weights(weights)
    assert found.loss == plain.evaluate(validation).loss
    assert averaged.train_epoch(batches()).loss < losses[0]
