from __future__ import annotations

import errno
import json
import pickle
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from data_pipeline.stores.prepare import prepare
from data_pipeline.stores.store import Store
from data_pipeline.streams.sharing import Dispatcher, PipelineWorker
from model.cost import estimate_cost
from results.analysis import scores
from results.records.epochs import Epoch, read_lines
from search.config.trial import TrialConfig
from search.errors import SupersededError
from search.interfaces.messages import SharedInput
from search.process.hardware import this_worker
from search.training.trial_run import TrialRun, watched_epoch
from tests.epochs import epoch_of
from tests.search.tiny import tiny_study

pytestmark = pytest.mark.processor

POINT = {"model.num_layers": 2, "model.base_filters": 4, "train.learning_rate": 0.01}


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory, synthetic_folder: Path) -> TrialConfig:
    return tiny_study(tmp_path_factory.mktemp("studies"), synthetic_folder).at(POINT)


@pytest.fixture(scope="module")
def store(trial: TrialConfig) -> Store:
    return prepare(trial.data)


def with_train(trial: TrialConfig, **changes: Any) -> TrialConfig:
    return trial.model_copy(update={"train": trial.train.model_copy(update=changes)})


def finish(run: TrialRun) -> list[Epoch]:
    while not run.done:
        run.step()
    return run.epochs


def lines_of(folder: Path) -> list[Epoch]:
    return read_lines((folder / "metrics.jsonl").read_bytes())


@pytest.fixture(scope="module")
def finished(
    trial: TrialConfig, store: Store, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("run")
    return folder, finish(TrialRun(trial, store, folder))


def test_each_epoch_is_a_line_whose_dice_follow_from_its_counts(
    finished: tuple[Path, list[dict[str, Any]]], store: Store, trial: TrialConfig
) -> None:
    folder, records = finished
    cost = estimate_cost(trial.model, store.image_shape, len(store.classes))
    assert lines_of(folder) == records
    assert [record.epoch for record in records] == [1, 2, 3]
    for record in records:
        counts = np.array([record.counts[name] for name in store.classes])
        dice = scores.dice(counts)
        told = [record.dice[name] for name in store.classes]
        np.testing.assert_allclose(dice, np.array(told, float))
        # Every counted pixel of the split is a true positive or a false negative of one class.
        assert counts[:, [0, 2]].sum() == store.class_pixels("valid").sum()
        assert record.objective == pytest.approx(np.nanmean(dice[1:]))
        assert record.seconds.total >= record.seconds.train
        flops = cost.training_flops * record.images_per_second
        assert record.gflops_per_second == pytest.approx(flops / 1e9, rel=0.05)
        # What earlier tests left may be given back meanwhile; a fresh process: test_mixed_nodes.
        assert 0 < record.memory.before <= record.memory.peak
        assert record.worker == this_worker()


def test_a_trial_of_the_shared_pipeline_reads_its_training_images_there(
    trial: TrialConfig, store: Store, tmp_path: Path
) -> None:
    dispatcher = Dispatcher("127.0.0.1", 0, tmp_path)
    worker = PipelineWorker(dispatcher.address, "127.0.0.1", 2**26)
    stream = dispatcher.register(store, trial.augment, seed=0, threads=1)
    shared = pickle.loads(pickle.dumps(SharedInput(stream, "a", 2, 60.0)))  # as it travels
    try:
        run = TrialRun(trial, store, tmp_path / "run", shared=shared)
        records = finish(run)
        run.close()
    finally:
        worker.stop()
        dispatcher.stop()

    for record in records:
        read = record.input
        assert (read.source, read.images, read.shared) == ("service", 8, 8)
        assert record.seconds.input <= record.seconds.train
        # Validation is the whole split, whatever training reads.
        assert sum(tp + fn for tp, _, fn in record.counts.values()) == (
            store.class_pixels("valid").sum()
        )
    (made,) = {tuple(record.input.streams) for record in records}
    assert len(made) == 1


def test_an_own_pipeline_is_accounted_for_too(
    finished: tuple[Path, list[dict[str, Any]]],
) -> None:
    for record in finished[1]:
        read = record.input
        assert (read.source, read.images, read.shared) == ("local", 8, 0)
        assert (read.streams, read.trouble) == ({}, None)


def true_positives_of(folder: Path, store: Store) -> list[int]:
    """What the kept model finds of each class in the validation split, in pixels."""
    model = keras.models.load_model(folder / "best.keras", compile=False, safe_mode=True)
    split = store.splits["valid"]
    pairs = [store.read("valid", index) for index in range(split.count)]
    predicted = np.argmax(model.predict(np.stack([p[0] for p in pairs]), verbose=0), axis=-1)
    masks = np.stack([p[1] for p in pairs])
    return [int(((predicted == c) & (masks == c)).sum()) for c in range(len(store.classes))]


def test_the_best_model_scores_what_its_epoch_says(
    finished: tuple[Path, list[dict[str, Any]]], store: Store
) -> None:
    folder, records = finished
    best = max(records, key=lambda record: record.objective)

    assert true_positives_of(folder, store) == [best.counts[name][0] for name in store.classes]


def test_averaged_weights_are_validated_and_kept_over_an_interruption(
    trial: TrialConfig, store: Store, finished: tuple[Path, list[Epoch]], tmp_path: Path
) -> None:
    averaged = with_train(trial, weight_averaging=0.9)
    whole = finish(TrialRun(averaged, store, tmp_path / "whole"))
    TrialRun(averaged, store, tmp_path / "parts").step()
    run = TrialRun(averaged, store, tmp_path / "parts")
    parts = finish(run)

    # The training is the same, what is validated is not.
    assert [r.train_loss for r in parts] == pytest.approx([r.train_loss for r in finished[1]])
    assert [r.validation_loss for r in parts] != [r.validation_loss for r in finished[1]]
    assert [r.counts for r in parts] == [r.counts for r in whole]
    assert run.best is not None
    kept = [run.best.counts[name][0] for name in store.classes]
    assert true_positives_of(tmp_path / "parts", store) == kept


def with_patches(trial: TrialConfig, store: Store, **changes: Any) -> TrialConfig:
    augment = trial.augment.model_copy(update={"patch_size": 8, **changes})
    return with_train(trial.model_copy(update={"augment": augment}), steps_per_epoch=None)


def test_windows_train_a_model_of_whole_images(
    trial: TrialConfig, store: Store, tmp_path: Path
) -> None:
    patched = with_patches(trial, store)
    run = TrialRun(patched, store, tmp_path)
    records = finish(run)

    # As many pixels an epoch as the training images have, four windows each.
    steps = -(-4 * store.splits["train"].count // 4)
    cost = estimate_cost(trial.model, (8, 8, 1), len(store.classes))
    for record in records:
        assert record.input.images == 4 * steps
        assert sum(tp + fn for tp, _, fn in record.counts.values()) == (
            store.class_pixels("valid").sum()
        )
        assert record.gflops_per_second == pytest.approx(
            cost.training_flops * record.images_per_second / 1e9, rel=0.05
        )
    assert run.cost == estimate_cost(trial.model, store.image_shape, len(store.classes))
    best = run.best
    assert best is not None
    assert true_positives_of(tmp_path, store) == [best.counts[n][0] for n in store.classes]


def test_windows_grow_by_stages_over_an_interruption(
    trial: TrialConfig, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing = with_patches(trial, store, patch_size=16, patch_stages=3)
    sides = [growing.augment_at(epoch).patch_size for epoch in range(3)]
    assert sides == [6, 12, 16]  # thirds of 16, in steps of the 2 that its depth needs
    seen = []

    def watched(run: TrialRun) -> TrialRun:
        step = run._trainer._train_step

        def noted(images: Any, masks: Any) -> Any:
            seen.append((len(run.epochs), *images.shape[1:3]))
            return step(images, masks)

        monkeypatch.setattr(run._trainer, "_train_step", noted)
        return run

    whole = finish(watched(TrialRun(growing, store, tmp_path / "whole")))
    assert sorted(set(seen)) == [(0, 6, 6), (1, 12, 12), (2, 16, 16)]
    assert len({record.input.images for record in whole}) == 1
    TrialRun(growing, store, tmp_path / "parts").step()
    parts = finish(TrialRun(growing, store, tmp_path / "parts"))
    assert [r.counts for r in parts] == [r.counts for r in whole]
    assert [r.train_loss for r in parts] == pytest.approx([r.train_loss for r in whole], rel=1e-5)


def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    trial: TrialConfig, store: Store, finished: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    TrialRun(trial, store, tmp_path).step()
    # Killed between its checkpoint and its line, or while the line was written.
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1, "trai')
    records = finish(TrialRun(trial, store, tmp_path))

    assert [r.counts for r in records] == [r.counts for r in finished[1]]
    assert [r.train_loss for r in records] == pytest.approx(
        [r.train_loss for r in finished[1]], rel=1e-5
    )
    assert lines_of(tmp_path) == records


def test_the_best_model_is_the_checkpoints_whenever_the_process_dies(
    trial: TrialConfig, store: Store, tmp_path: Path
) -> None:
    run = TrialRun(trial, store, tmp_path)
    run.step()
    published = (tmp_path / "best.keras").read_bytes()
    # Killed after an epoch's model was saved and before its checkpoint was.
    (tmp_path / ".best.2.keras").write_bytes(b"of an epoch that never was")
    TrialRun(trial, store, tmp_path)
    assert (tmp_path / "best.keras").read_bytes() == published
    assert not (tmp_path / ".best.2.keras").exists()

    # Killed after the checkpoint and before the model took its place.
    (tmp_path / "best.keras").rename(tmp_path / ".best.1.keras")
    TrialRun(trial, store, tmp_path)
    assert (tmp_path / "best.keras").read_bytes() == published


def tear(checkpoint: Path) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])


def test_of_a_broken_checkpoint_the_one_before_is_used_and_the_epoch_comes_out_the_same(
    trial: TrialConfig, store: Store, tmp_path: Path
) -> None:
    run = TrialRun(trial, store, tmp_path)
    run.step()
    second = run.step()
    tear(tmp_path / "last.npz")
    again = TrialRun(trial, store, tmp_path)

    assert [record.epoch for record in again.epochs] == [1]
    assert (tmp_path / "last.broken.npz").exists()
    assert "kept as last.broken.npz" in (tmp_path / "checkpoint_error.txt").read_text()
    assert again.notes[-1].endswith("training goes on after epoch 1")
    repeated = again.step()
    assert repeated.train_loss == pytest.approx(second.train_loss, rel=1e-5)


def test_without_a_whole_checkpoint_training_starts_over(
    trial: TrialConfig, store: Store, tmp_path: Path
) -> None:
    run = TrialRun(trial, store, tmp_path)
    run.step()
    run.step()
    for name in ("last.npz", "previous.npz"):
        tear(tmp_path / name)

    again = TrialRun(trial, store, tmp_path)

    assert again.epochs == []
    assert again.notes[-1].endswith("training goes on from the start")
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_a_checkpoint_out_of_reach_is_not_taken_for_broken(
    trial: TrialConfig, store: Store, tmp_path: Path
) -> None:
    TrialRun(trial, store, tmp_path).step()
    checkpoint = tmp_path / "last.npz"
    checkpoint.rename(tmp_path / "away.npz")
    checkpoint.mkdir()  # opening it fails as on a share that is gone

    with pytest.raises(IsADirectoryError):
        TrialRun(trial, store, tmp_path)
    assert checkpoint.exists()


@pytest.mark.parametrize("failing", ["model", "checkpoint", "line"])
def test_an_epoch_that_cannot_be_written_is_kept_and_written_by_the_next_step(
    trial: TrialConfig,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failing: str,
) -> None:
    run = TrialRun(trial, store, tmp_path)
    run.step()
    trained = run._trainer.epoch

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if failing == "line":
            patch.setattr(Epoch, "line", full)
        else:
            patch.setattr(
                *{"model": (run._model, "save"), "checkpoint": (run._trainer, "save")}[failing],
                full,
            )
            patch.setattr("search.training.trial_run.best_of", lambda records: records[-1])
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                run.step()
    record = run.step()

    assert record.epoch == 2
    assert run._trainer.epoch == trained + 1  # not trained again
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    assert [e.epoch for e in TrialRun(trial, store, tmp_path).epochs] == [1, 2]


def test_who_is_superseded_writes_no_more(trial: TrialConfig, store: Store, tmp_path: Path) -> None:
    cut_off = TrialRun(trial, store, tmp_path, owner="first")
    cut_off.step()
    successor = TrialRun(trial, store, tmp_path, owner="second")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(SupersededError, match="it is second's"):
        cut_off.step()

    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert successor.step().epoch == 2


def test_early_stopping_ends_after_its_patience(
    trial: TrialConfig, store: Store, tmp_path: Path
) -> None:
    # A learning rate of nothing: no epoch after the first is better.
    still = with_train(trial, epochs=9, learning_rate=1e-12, early_stopping_patience=2)
    records = finish(TrialRun(still, store, tmp_path))

    best = max(records, key=lambda record: record.objective)
    assert len(records) == best.epoch + 2


@pytest.mark.parametrize(
    "metric", ["objective", "soft_foreground_dice", "negative_validation_loss"]
)
def test_the_pruner_is_shown_the_metric_of_the_config(
    trial: TrialConfig, store: Store, tmp_path: Path, metric: str
) -> None:
    config = trial.model_copy(update={"pruning_metric": metric})
    record = TrialRun(config, store, tmp_path).step()

    soft = np.array([record.soft_dice[name] for name in store.classes], float)
    expected = {
        "objective": record.objective,
        "soft_foreground_dice": scores.mean_foreground(soft),
        "negative_validation_loss": -record.validation_loss,
    }[metric]
    assert record.pruning_value == pytest.approx(expected)


@pytest.mark.parametrize("objective", ["mean_foreground_dice", "worst_class_dice"])
def test_the_value_is_the_objective_of_the_config(
    trial: TrialConfig, store: Store, tmp_path: Path, objective: str
) -> None:
    record = TrialRun(trial.model_copy(update={"objective": objective}), store, tmp_path).step()
    foreground = [record.dice[name] for name in store.classes[1:]]
    defined = [value for value in foreground if value is not None]

    expected = min(defined) if objective == "worst_class_dice" else sum(defined) / len(defined)
    assert record.objective == pytest.approx(expected)


def test_a_weighted_objective_follows_from_the_classes_dice(
    trial: TrialConfig, store: Store, tmp_path: Path
) -> None:
    weights = {store.classes[1]: 3.0, store.classes[2]: 0.0}
    changed = trial.model_copy(update={"objective": "weighted_dice", "class_weights": weights})
    record = TrialRun(with_train(changed, epochs=1), store, tmp_path).step()
    defined = {k: v for k, v in list(record.dice.items())[1:] if v is not None}
    heaviness = {name: weights.get(name, 1.0) for name in defined}

    total = sum(heaviness[name] * dice for name, dice in defined.items())
    assert record.objective == pytest.approx(total / sum(heaviness.values()))


def test_latency_is_measured_once_and_only_where_it_is_asked_for(
    trial: TrialConfig, store: Store, tmp_path: Path
) -> None:
    asked = trial.model_copy(update={"measure_latency": True})
    run = TrialRun(asked, store, tmp_path / "asked")
    first = run.costs["latency_ms"]

    assert 0 < first < 1000
    assert run.costs["latency_ms"] == first
    assert run.costs["parameters"] == run.cost.parameters
    assert "latency_ms" not in TrialRun(trial, store, tmp_path / "not").costs


def epochs_of(*pairs: tuple[float | None, float | None]) -> list[Epoch]:
    """Epochs of these objectives and validation losses."""
    return [
        epoch_of(number, objective=objective, validation_loss=loss)
        for number, (objective, loss) in enumerate(pairs, start=1)
    ]


def test_early_stopping_waits_for_its_own_metric(
    trial: TrialConfig, store: Store, tmp_path: Path
) -> None:
    patient = with_train(trial, epochs=9, early_stopping_patience=2)
    by_loss = with_train(patient, early_stopping_metric="validation_loss")
    records = epochs_of((0.1, 3.0), (0.2, 1.0), (0.4, 1.0), (0.3, None))
    assert [watched_epoch(records, config) for config in (patient, by_loss)] == [3, 2]
    assert watched_epoch(epochs_of((None, None)), by_loss) == 0

    run = TrialRun(by_loss, store, tmp_path)
    run.epochs = records[:3]
    assert not run.done
    run.epochs = records
    assert run.done
    best = run.best  # of the model that is kept: by the objective, whatever stops the training
    assert best is not None
    assert best.epoch == 3
    run.config = patient
    assert not run.done
