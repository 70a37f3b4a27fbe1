"""A trial over folds: what is counted together, and that nothing is lost at any moment."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_pipeline.stores.prepare import prepare
from data_pipeline.stores.store import Store
from results.analysis import scores
from results.records.curves import curve_of
from results.records.epochs import Epoch, best_of, epochs_in, read_lines
from search.config.loading import config_from_tree
from search.config.schema import StudyConfig
from search.config.trial import TrialConfig
from search.errors import SupersededError
from search.storage.files import fold_folder
from search.training.folded_run import FoldedRun
from search.training.trial_run import TrialRun
from tests.search.tiny import tiny_tree

pytestmark = pytest.mark.processor

FOLDS, EPOCHS = 3, 2
POINT = {"model.num_layers": 1, "model.base_filters": 2, "train.learning_rate": 0.01}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, undivided_folder: Path) -> StudyConfig:
    tree = tiny_tree(tmp_path_factory.mktemp("studies"), undivided_folder, folds=FOLDS)
    tree["train"]["epochs"] = EPOCHS
    tree["data"]["image_size"] = 32  # of 16 pixels, the smallest defects would be gone
    return config_from_tree(tree)


@pytest.fixture(scope="module")
def trial(config: StudyConfig) -> TrialConfig:
    return config.at(POINT)


@pytest.fixture(scope="module")
def stores(config: StudyConfig) -> list[Store]:
    return [prepare(data) for data in config.fold_data()]


def finish(run: FoldedRun) -> list[Epoch]:
    while not run.done:
        run.step()
    return run.epochs


@pytest.fixture(scope="module")
def finished(
    trial: TrialConfig, stores: list[Store], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Epoch]]:
    folder = tmp_path_factory.mktemp("run") / "trial"
    return folder, finish(FoldedRun(trial, stores, folder))


def test_the_folds_are_of_other_images_and_the_studys_data_is_the_first(
    config: StudyConfig, stores: list[Store]
) -> None:
    groups = [set(store.splits["valid"].groups) for store in stores]
    for one, other in itertools.combinations(groups, 2):
        assert not one & other
    tests = [set(store.splits["test"].groups) for store in stores]
    assert tests[0] == tests[1] == tests[2]
    assert config.data == config.fold_data()[0]
    assert (config.data.split.folds, config.data.split.fold) == (FOLDS, 0)


def test_epochs_are_numbered_through_and_counted_with_the_folds_before(
    finished: tuple[Path, list[Epoch]], trial: TrialConfig, stores: list[Store]
) -> None:
    folder, epochs = finished
    assert [e.epoch for e in epochs] == list(range(1, FOLDS * EPOCHS + 1))
    assert [e.fold for e in epochs] == [0, 0, 1, 1, 2, 2]
    assert [e.fold_done for e in epochs] == [False, True] * FOLDS
    assert read_lines((folder / "metrics.jsonl").read_bytes()) == epochs
    own = [epochs_in(fold_folder(folder, fold)) for fold in range(FOLDS)]
    base = np.zeros((len(stores[0].classes), 3))
    for epoch, inner in zip(epochs, itertools.chain(*own), strict=True):
        counts = base + [inner.counts[name] for name in stores[0].classes]
        dice = scores.dice(counts)
        assert epoch.objective == pytest.approx(scores.mean_foreground(dice))
        assert epoch.fold_objective == inner.objective
        if epoch.fold_done:
            best = best_of(own[epoch.fold or 0])
            assert best is not None
            base = base + [best.counts[name] for name in stores[0].classes]
    pixels = sum(store.class_pixels("valid") for store in stores)
    told = np.array([epochs[-1].counts[name] for name in stores[0].classes])
    np.testing.assert_array_equal(told[:, [0, 2]].sum(axis=1), pixels)


def test_a_trial_is_worth_what_its_finished_folds_say(
    finished: tuple[Path, list[Epoch]], stores: list[Store]
) -> None:
    epochs = finished[1]
    for seen, fold in ((1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (6, 2)):
        best = best_of(epochs[:seen])
        assert best is not None
        assert best.fold == fold
        within = [e.objective for e in epochs[:seen] if e.fold == fold]
        assert best.objective == max(within)
    curve = curve_of(epochs, stores[0].classes)
    assert len(curve.fold_values()) == FOLDS
    assert curve.telling().tolist() == [False] * 4 + [True] * 2
    # Without folds, as it always was.
    plain = [Epoch(epoch=e.epoch, objective=e.objective, dice=e.dice) for e in epochs]
    best = best_of(plain)
    assert best is not None
    assert best.objective == max(e.objective for e in plain)
    assert "fold" not in plain[0].line()


def test_the_model_is_the_first_folds_and_only_the_models_stay(
    finished: tuple[Path, list[Epoch]],
) -> None:
    folder, _ = finished
    first = fold_folder(folder, 0) / "best.keras"
    assert (folder / "best.keras").read_bytes() == first.read_bytes()
    assert not list(folder.rglob("last.npz"))
    assert not list(folder.rglob("previous.npz"))
    assert len(list(folder.rglob("fold-*/best.keras"))) == FOLDS


def state(folder: Path) -> dict[str, Any]:
    counts = [(e.epoch, e.fold, e.counts) for e in epochs_in(folder)]
    return {"counts": counts, "done": sorted(p.parent.name for p in folder.rglob("done.json"))}


def test_a_process_killed_after_any_epoch_is_gone_on_with_to_the_same_end(
    trial: TrialConfig, stores: list[Store], finished: tuple[Path, list[Epoch]], tmp_path: Path
) -> None:
    for epochs in range(1, FOLDS * EPOCHS + 1):
        run = FoldedRun(trial, stores, tmp_path / "part")
        assert len(run.epochs) == epochs - 1
        run.step()
        if epochs == 3:  # killed before the trial's own lines were written
            (tmp_path / "part" / "metrics.jsonl").write_text("")
    again = FoldedRun(trial, stores, tmp_path / "part")
    assert again.done
    assert again.costs["parameters"] > 0
    assert state(tmp_path / "part") == state(finished[0])


def test_a_process_killed_as_it_ended_a_fold_loses_nothing(
    trial: TrialConfig, stores: list[Store], tmp_path: Path
) -> None:
    run = FoldedRun(trial, stores, tmp_path / "a")
    run.step()
    # The last epoch of the fold is trained, what follows is not written.
    inner = TrialRun(trial, stores[0], fold_folder(tmp_path / "a", 0))
    inner.step()
    again = FoldedRun(trial, stores, tmp_path / "a")
    assert [e.fold_done for e in again.epochs] == [False, True]
    assert again.step().fold == 1
    # A kill between the mark of a finished fold and the end of its checkpoints.
    shutil.copyfile(fold_folder(tmp_path / "a", 1) / "last.npz", tmp_path / "last.npz")
    fold = fold_folder(tmp_path / "a", 0)
    shutil.copyfile(tmp_path / "last.npz", fold / "last.npz")
    assert len(FoldedRun(trial, stores, tmp_path / "a").epochs) == 3


def test_an_epoch_that_could_not_be_written_is_written_by_the_next_step(
    trial: TrialConfig, stores: list[Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = FoldedRun(trial, stores, tmp_path / "full")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("search.training.folded_run.write_text", full)
        with pytest.raises(OSError, match="No space"):
            run.step()
    assert run.step().epoch == 1
    assert len(epochs_in(tmp_path / "full")) == 1


def test_a_fold_that_could_not_be_begun_is_begun_by_the_next_step(
    trial: TrialConfig, stores: list[Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = FoldedRun(trial, stores, tmp_path / "t")
    run.step()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("search.training.folded_run.TrialRun", full)
        for _ in range(2):
            with pytest.raises(OSError, match="No space"):
                run.step()
            assert not run.done
    epochs = finish(run)
    assert [e.fold for e in epochs] == [0, 0, 1, 1, 2, 2]


def test_where_early_stopping_ends_a_fold_the_next_one_begins_at_its_place(
    trial: TrialConfig, stores: list[Store], tmp_path: Path
) -> None:
    # A learning rate of nothing: no epoch after the first is better.
    still = trial.train.model_copy(
        update={"epochs": 5, "learning_rate": 1e-12, "early_stopping_patience": 1}
    )
    run = FoldedRun(trial.model_copy(update={"train": still}), stores, tmp_path / "t")
    epochs = finish(run)
    for fold in range(FOLDS):
        own = [e.epoch for e in epochs if e.fold == fold]
        assert own == list(range(5 * fold + 1, 5 * fold + 1 + len(own)))
    assert len(epochs) < 5 * FOLDS


def test_who_is_superseded_trains_no_more(
    trial: TrialConfig, stores: list[Store], tmp_path: Path
) -> None:
    cut_off = FoldedRun(trial, stores, tmp_path / "t", owner="first")
    cut_off.step()
    FoldedRun(trial, stores, tmp_path / "t", owner="second")
    with pytest.raises(SupersededError, match="it is second's"):
        cut_off.step()
