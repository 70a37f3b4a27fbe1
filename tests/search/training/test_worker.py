from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from data_pipeline.stores.prepare import prepare
from model.training import NonFiniteLoss
from search.config.errors import ConfigError
from search.data.store_transfer import StoreTransferError
from search.errors import RunError
from search.training.plan import Training, TrainOptions
from search.training.trial_run import TrialRun
from search.training.worker import TrainingJob, checkpoint_digest, outcome_of
from tests.search.tiny import tiny_study


def test_a_peer_out_of_reach_is_told_from_a_failure_of_ones_own() -> None:
    lost = outcome_of(tf.errors.UnavailableError(None, None, "Connection reset\nmore"))

    assert lost is not None
    assert lost.lost
    assert lost.exit_code == 75
    assert lost.failed.endswith("UnavailableError: Connection reset")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NonFiniteLoss(3, float("nan"), "training"), 2),
        (ConfigError("out", ["expected this"]), 2),
        (OSError(28, "No space left on device"), 2),
        (RunError("expected room", 75), 75),
        (StoreTransferError("no room"), 2),
    ],
)
def test_what_the_user_is_to_know_travels_as_its_message(error: Exception, code: int) -> None:
    outcome = outcome_of(error)

    assert outcome is not None
    assert str(error) in outcome.failed
    assert (outcome.best, outcome.lost, outcome.exit_code) == (None, False, code)


def test_a_defect_keeps_its_traceback() -> None:
    assert outcome_of(AttributeError("x")) is None


def test_a_job_is_a_training_by_its_places(synthetic_folder: Path, tmp_path: Path) -> None:
    config = tiny_study(tmp_path, synthetic_folder)
    store = prepare(config.data)
    constants = config.at({name: config.values(name)[0] for name in config.space})
    training = Training(constants, store, tmp_path / "out", TrainOptions(final=True))

    opened = TrainingJob.of(training).open()

    counts = {name: split.count for name, split in store.splits.items()}
    assert opened.store.splits["train"].count == counts["train"] + counts["valid"]
    assert (opened.config, opened.out_dir) == (constants, tmp_path / "out")
    assert opened.options == training.options


def test_a_worker_that_follows_goes_on_where_the_writer_does_and_writes_nothing(
    synthetic_folder: Path, tmp_path: Path
) -> None:
    config = tiny_study(tmp_path, synthetic_folder)
    constants = config.at({name: config.values(name)[0] for name in config.space})
    store, folder = prepare(config.data), tmp_path / "run"
    writer = TrialRun(constants, store, folder)
    for _ in range(2):
        writer.step()
    writer.close()
    (folder / "last.npz").write_bytes(b"torn")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    follower = TrialRun(constants, store, folder, writes=False)
    assert [each.epoch for each in follower.epochs] == [1]  # of previous.npz
    follower.step()
    follower.close()

    assert [each.epoch for each in follower.epochs] == [1, 2]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_checkpoint_is_known_by_its_content(tmp_path: Path) -> None:
    assert checkpoint_digest(tmp_path) is None
    (tmp_path / "last.npz").write_bytes(b"x")

    digest = checkpoint_digest(tmp_path)

    assert digest is not None
    assert len(digest) == 64
