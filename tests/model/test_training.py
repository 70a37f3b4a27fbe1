from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.config import ModelConfig, TrainConfig
from model.flexunet import build_flexunet
from model.losses import LOSSES, class_weights_from, make_loss
from model.metrics import Statistics, batch_statistics
from model.training import CheckpointError, NonFiniteLoss, Trainer, learning_rate_at
from tests.model.blobs import CLASSES, blobs, class_pixels, dice, stream
from tests.model.precision import PRECISIONS

pytestmark = pytest.mark.processor

SIDE = 16
BATCH = 2
STEPS = 3


def make_trainer(
    train: dict[str, Any] | None = None, steps: int = STEPS, classes: int = CLASSES, **values: Any
) -> Trainer:
    train = {"epochs": 4, **(train or {})}
    config = ModelConfig(
        **{
            "num_layers": 2,
            "base_filters": 4,
            "dropout_rate": 0.2,
            "normalization": "none",
            **values,
        }
    )
    precision = train.get("precision", "float32")
    model = build_flexunet(config, (SIDE, SIDE, 1), classes, seed=1, precision=precision)
    pixels = [90, 5, 5][: max(2, classes)]
    return Trainer(model, TrainConfig(**train), class_pixels=pixels, steps_per_epoch=steps)


def batches(skip: int = 0) -> Iterator[Any]:
    return iter(stream(*blobs(7, SIDE), BATCH, skip))


def state(trainer: Trainer) -> list[np.ndarray]:
    return [variable.numpy() for variable in trainer._variables()]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_blobs_are_learnt_within_seconds(precision: str) -> None:
    images, masks = blobs(48)
    config = TrainConfig(epochs=3, learning_rate=5e-3, precision=precision)
    model = build_flexunet(
        ModelConfig(num_layers=3, base_filters=8), (32, 32, 1), CLASSES, precision=precision
    )
    trainer = Trainer(model, config, class_pixels=class_pixels(masks), steps_per_epoch=25)
    training = iter(stream(images, masks, 8))
    validation = [blobs(16, seed=1)]

    before = trainer.evaluate(validation)
    for _ in range(3):
        trained = trainer.train_epoch(training)
    after = trainer.evaluate(validation)

    assert min(dice(before.statistics.counts)[1:]) < 0.3
    assert min(dice(after.statistics.counts)[1:]) > 0.7
    assert after.loss < 0.6 * before.loss
    assert trained.images == 200
    assert trainer.epoch == 3


@pytest.mark.parametrize("loss", sorted(LOSSES))
@pytest.mark.parametrize("classes", [1, 3])
def test_every_loss_trains(loss: str, classes: int) -> None:
    train = {"loss": loss, "learning_rate": 0.01, "schedule": "constant"}
    trainer = make_trainer(train, steps=12, classes=classes, num_layers=1)
    images, masks = blobs(BATCH, SIDE)
    masks[(masks == 2) & (classes == 1)] = 1
    data = iter(stream(images, masks, BATCH))

    losses = [trainer.train_epoch(data).loss for _ in range(2)]

    assert losses[1] < 0.97 * losses[0]


def test_a_step_is_the_gradient_step_of_the_documented_loss() -> None:
    train = {"optimizer": "adam", "clip_norm": None, "schedule": "constant"}
    trainer = make_trainer(train, steps=1, dropout_rate=0.0, normalization="none")
    twin = keras.models.clone_model(trainer.model)
    twin.set_weights(trainer.model.get_weights())
    images, masks = next(batches())
    loss = make_loss(trainer.config, list(class_weights_from(trainer.config, [90, 5, 5])))
    with tf.GradientTape() as tape:
        value = loss(masks, twin(tf.cast(images, tf.float32), training=True))
    optimizer = keras.optimizers.Adam(trainer.config.learning_rate)
    weights = twin.trainable_variables
    optimizer.apply(tape.gradient(value, [w.value for w in weights]), weights)

    result = trainer.train_epoch(batches())

    assert result.loss == pytest.approx(float(value), rel=1e-5)
    for found, expected in zip(trainer.model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_epoch_reads_as_many_batches_as_it_has_steps() -> None:
    trainer = make_trainer()
    images, masks = blobs(40, SIDE)
    images[:, 0, 0, 0] = np.arange(40)
    data = iter(stream(images, masks, BATCH))

    result = trainer.train_epoch(data)

    assert result.images == STEPS * BATCH
    assert int(next(data)[0][0, 0, 0, 0]) == STEPS * BATCH
    assert result.seconds > 0


def test_data_that_end_early_are_refused() -> None:
    data = iter(stream(*blobs(7, SIDE), BATCH).take(2))

    with pytest.raises(ValueError, match=r"expected 3 batches .* received 2"):
        make_trainer().train_epoch(data)


def test_evaluation_weighs_each_image_once_and_traces_once() -> None:
    trainer = make_trainer()
    images, masks = blobs(7, SIDE, seed=3)
    parts = [slice(0, 4), slice(4, 6), slice(6, 7)]

    found = trainer.evaluate((images[part], masks[part]) for part in parts)

    loss = make_loss(trainer.config, list(class_weights_from(trainer.config, [90, 5, 5])))
    total, expected = 0.0, Statistics.empty(CLASSES)
    for part in parts:
        probabilities = trainer.model(images[part], training=False)
        total += float(loss(masks[part], probabilities)) * (part.stop - part.start)
        expected += Statistics.from_batch(batch_statistics(masks[part], probabilities))
    assert found.loss == pytest.approx(total / 7, rel=1e-5)
    np.testing.assert_array_equal(found.statistics.counts, expected.counts)
    np.testing.assert_allclose(found.statistics.soft, expected.soft, rtol=1e-5)
    assert found.statistics.pixels == (masks != 255).sum()
    assert trainer._evaluation_step.experimental_get_tracing_count() == 1


def test_evaluation_changes_nothing() -> None:
    trainer = make_trainer(normalization="batch")
    before = state(trainer)

    first, second = (trainer.evaluate([blobs(2, SIDE)]).loss for _ in range(2))

    assert first == second
    for x, y in zip(before, state(trainer), strict=True):
        np.testing.assert_array_equal(x, y)


def test_nothing_to_evaluate_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one batch"):
        make_trainer().evaluate([])


def test_epochs_are_traced_once() -> None:
    trainer = make_trainer()
    data = batches()

    for _ in range(3):
        trainer.train_epoch(data)

    assert trainer._train_step.experimental_get_tracing_count() == 1


def image_mean(masks: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
    """A mean over images: that of a batch is the mean of its parts'."""
    truth = tf.one_hot(tf.cast(masks, tf.int32), CLASSES)
    return -tf.reduce_mean(tf.reduce_sum(truth * tf.math.log(probabilities + 1e-7), axis=-1))


def test_accumulated_batches_train_as_one_large_batch() -> None:
    train = {"schedule": "cosine", "warmup_steps": 2, "clip_norm": 0.1, "learning_rate": 0.01}
    results, ends = [], []
    for factor in (1, 2):
        trainer = make_trainer(
            {**train, "accumulation_steps": factor}, steps=2 * factor, dropout_rate=0.0
        )
        trainer._loss = image_mean
        data = iter(stream(*blobs(8, SIDE), 4 // factor))
        results.append([trainer.train_epoch(data) for _ in range(2)])
        ends.append(state(trainer))

    for large, small in zip(*results, strict=True):
        assert small.loss == pytest.approx(large.loss, rel=1e-5)
        assert small.learning_rate == large.learning_rate
        assert small.images == large.images
    for x, y in zip(*ends, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)


def test_an_epochs_last_update_takes_what_is_left() -> None:
    trainer = make_trainer({"accumulation_steps": 3, "epochs": 2}, steps=4, dropout_rate=0.0)
    trainer._loss = image_mean
    asked: list[float] = []
    real = trainer._update_step
    trainer._update_step = lambda count: asked.append(float(count)) or real(count)
    data = batches()

    rates = [trainer.train_epoch(data).learning_rate for _ in range(2)]

    assert asked == [3, 1, 3, 1]
    assert int(trainer._optimizer.iterations) == 4  # of 4: the cosine is done
    expected = [float(learning_rate_at(trainer.config, step, 4)) for step in (1, 3)]
    assert rates == pytest.approx(expected)
    assert trainer._add_step.experimental_get_tracing_count() == 1
    assert real.experimental_get_tracing_count() == 1
    assert not any(sums.numpy().any() for sums in trainer._sums)


def test_gradients_of_an_epoch_that_failed_are_forgotten() -> None:
    trainers = [make_trainer({"accumulation_steps": 3}, dropout_rate=0.0) for _ in range(2)]
    short = iter(stream(*blobs(7, SIDE, seed=9), BATCH).take(2))
    with pytest.raises(ValueError, match="received 2"):
        trainers[0].train_epoch(short)

    for trainer in trainers:
        trainer.train_epoch(batches())

    for x, y in zip(*map(state, trainers), strict=True):
        np.testing.assert_array_equal(x, y)


def break_model(trainer: Trainer) -> None:
    for weight in trainer.model.trainable_variables:
        weight.assign(tf.fill(weight.shape, np.float32(np.nan)))


def test_a_training_loss_that_is_no_number_is_named() -> None:
    trainer = make_trainer()
    data = batches()
    trainer.train_epoch(data)
    break_model(trainer)

    with pytest.raises(NonFiniteLoss, match="training loss, received nan at step 4") as caught:
        trainer.train_epoch(data)

    assert caught.value.step == 4
    assert np.isnan(caught.value.value)
    assert trainer.epoch == 1


def test_the_first_bad_step_is_the_one_named() -> None:
    trainer = make_trainer({"learning_rate": 1.0, "clip_norm": None}, steps=4)
    real, step = trainer._train_step, iter(range(4))

    def broken(images: Any, masks: Any) -> Any:
        if next(step) == 2:
            break_model(trainer)
        return real(images, masks)

    trainer._train_step = broken
    with pytest.raises(NonFiniteLoss, match="at step 3"):
        trainer.train_epoch(batches())


def test_a_validation_loss_that_is_no_number_is_named() -> None:
    trainer = make_trainer()
    break_model(trainer)

    with pytest.raises(NonFiniteLoss, match="validation loss, received nan at step 0"):
        trainer.evaluate([blobs(2, SIDE)])


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"schedule": "constant"}, [1.0] * 5),
        ({"schedule": "cosine"}, [1.0, 0.853553, 0.5, 0.146447, 0.0]),
        ({"schedule": "constant", "warmup_steps": 4}, [0.25, 0.75, 1.0, 1.0, 1.0]),
        ({"schedule": "cosine", "warmup_steps": 4}, [0.25, 0.75, 1.0, 0.5, 0.0]),
        ({"schedule": "reduce_on_plateau"}, [1.0] * 5),
    ],
)
def test_learning_rates(config: dict[str, Any], expected: list[float]) -> None:
    train = TrainConfig(learning_rate=1.0, **config)

    rates = [float(learning_rate_at(train, step, 8)) for step in (0, 2, 4, 6, 8)]

    assert rates == pytest.approx(expected, abs=1e-6)


def test_a_cosine_stays_at_zero_past_its_end() -> None:
    assert float(learning_rate_at(TrainConfig(schedule="cosine"), 30, 8)) == pytest.approx(0)


def test_epochs_report_the_rate_of_their_last_step() -> None:
    trainer = make_trainer({"learning_rate": 0.1, "schedule": "cosine"})
    data = batches()

    rates = [trainer.train_epoch(data).learning_rate for _ in range(2)]

    expected = [float(learning_rate_at(trainer.config, step, 12)) for step in (2, 5)]
    assert rates == pytest.approx(expected)


PLATEAU = {
    "schedule": "reduce_on_plateau",
    "plateau_patience": 2,
    "plateau_factor": 0.5,
    "learning_rate": 0.01,
}


def test_the_rate_falls_where_the_validation_loss_does_not() -> None:
    trainer = make_trainer(PLATEAU, steps=1)
    data = batches()
    rates = []

    for loss in (3.0, 2.0, 2.5, 2.0, 2.1, 1.9, 2.0, 2.0, 2.0):
        rates.append(trainer.train_epoch(data).learning_rate)
        trainer.end_epoch(loss)

    # Reduced after two epochs without a lower loss, counted anew from each reduction.
    assert rates == pytest.approx([0.01] * 4 + [0.005] * 4 + [0.0025])


@pytest.mark.parametrize(
    "train",
    [
        {"warmup_steps": 5, "clip_norm": None, "clip_value": 0.1},
        {"precision": "float16"},
        {"optimizer": "adam", **PLATEAU},
        {"accumulation_steps": 2},
        {"weight_averaging": 0.9},
    ],
    ids=str,
)
def test_a_restored_training_goes_on_bit_for_bit(train: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "last.npz"
    first = make_trainer(train, normalization="batch")
    data = batches()
    for loss in (1.0, 2.0):
        first.train_epoch(data)
        first.end_epoch(loss)
    first.save(path, {"best": 0.25, "names": ["é"], "none": None})

    second = make_trainer(train, normalization="batch")
    extra = second.restore(path)

    assert extra == {"best": 0.25, "names": ["é"], "none": None}
    assert second.epoch == 2
    results = []
    for trainer, rest in ((first, data), (second, batches(skip=2 * STEPS * BATCH))):
        trainer.end_epoch(2.0)
        trained = trainer.train_epoch(rest)
        evaluation = trainer.evaluate([blobs(3, SIDE, seed=5)])
        results.append((trained.loss, trained.learning_rate, evaluation.loss))
    assert results[0] == results[1]
    for x, y in zip(state(first), state(second), strict=True):
        np.testing.assert_array_equal(x, y)


def test_dropout_goes_on_where_it_was(tmp_path: Path) -> None:
    """Holds the test above to what it claims: a fresh dropout stream would be noticed."""
    trainer = make_trainer()
    fresh = [v.numpy() for v in trainer.model.variables if "seed" in v.path]
    trainer.train_epoch(batches())
    used = [v.numpy() for v in trainer.model.variables if "seed" in v.path]

    assert fresh
    assert not all(np.array_equal(x, y) for x, y in zip(fresh, used, strict=True))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"base_filters": 8}, "expected Conv2D encoder_0_conv_a .*received Conv2D"),
        ({"activation": "mish"}, "expected .*activation=mish.*, received .*activation=relu"),
        ({"normalization": "group"}, "received Dropout encoder_0_dropout"),
        ({"dropout_rate": 0.1}, "rate=0.1.*received .*rate=0.2"),
    ],
    ids=str,
)
def test_another_models_checkpoint_is_refused_and_changes_nothing(
    other: dict[str, Any], message: str, tmp_path: Path
) -> None:
    make_trainer().save(tmp_path / "last.npz", {})
    trainer = make_trainer(**other)
    before = state(trainer)

    with pytest.raises(CheckpointError, match=rf"last\.npz: of another model: .*{message}"):
        trainer.restore(tmp_path / "last.npz")

    for x, y in zip(before, state(trainer), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_torn_checkpoint_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "last.npz"
    trainer = make_trainer()
    trainer.save(path, {})
    trainer.train_epoch(batches())
    before = state(trainer)
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(CheckpointError, match=r"last\.npz: torn"):
        trainer.restore(path)

    assert trainer.epoch == 1
    for x, y in zip(before, state(trainer), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(
    ("classes", "pixels", "steps", "message"),
    [
        (3, [1, 2], 1, "the model's 3 classes, received 2"),
        (1, [1], 1, "the model's 2 classes, received 1"),
        (3, [1, 2, 0], 1, r"none of class \[2\]"),
        (3, [1, 2, 3], 0, "steps_per_epoch >= 1, received 0"),
    ],
)
def test_impossible_trainers_are_refused(
    classes: int, pixels: list[int], steps: int, message: str
) -> None:
    model = build_flexunet(ModelConfig(num_layers=1), (8, 8, 1), classes)

    with pytest.raises(ValueError, match=message):
        Trainer(model, TrainConfig(), class_pixels=pixels, steps_per_epoch=steps)
