"""One model on the images of a split: its counts, image by image, at the images' own size."""

from __future__ import annotations

from pathlib import Path

from data_pipeline.config import DataConfig
from data_pipeline.store import Store
from results.evaluation import Evaluation


def score_model(
    model_path: Path,
    store: Store,
    config: DataConfig,
    split: str,
    *,
    name: str,
    trial: int | None,
    epoch: int | None,
    seed: int | None = None,
    fold: int | None = None,
    batch_size: int = 8,
    threads: int = 1,
) -> Evaluation:
    """Count what a saved model predicts on every image of a split.

    The model sees the prepared records. Where the source images' masks can be read, its
    probabilities are brought back to each image's own size before the argmax; else everything is
    counted at the size of the records, and the evaluation says so (``resolution``).

    Args:
        model_path: A ``.keras`` file, such as a trial's best.keras.
        store: The prepared data. Of a fold's store, a record's stem is either the source's or
            ``<split of the source>/<stem of the source>``.
        config: Where the source is, and how it was resized.
        split: train, valid or test.
        name, trial, epoch, seed, fold: As :class:`results.evaluation.Evaluation` keeps them.
        batch_size: Images a step; a float32 [B, H, W, classes] of probabilities is held.
        threads: Threads that read masks and count.

    Raises:
        model.inference.ModelError: where the file is no model, or one of other images or classes.
        data_pipeline.problems.DataError: where the store has no such split.
    """
    raise NotImplementedError
