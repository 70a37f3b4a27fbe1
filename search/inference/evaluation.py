"""A saved model on images with masks, counted at the images' own size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_pipeline.datasets.labels import IGNORE, LabelMap
from data_pipeline.datasets.resize import resize_image, resize_mask
from data_pipeline.datasets.sources import Item
from data_pipeline.datasets.tiling import flipped
from data_pipeline.problems import DataError, Problem
from data_pipeline.stores.facts import Facts, decoding_threads, examine, in_order
from results.analysis.caution import Caution
from results.analysis.intervals import REPLICATES
from results.analysis.model_scores import ReferenceScores, scores_table, table_cautions
from results.records.evaluation import Evaluation
from results.records.schemas import Flips
from results.style.words import listed
from search.inference.evaluation_dataset import WHOLE, EvaluationDataset
from search.inference.model_metadata import ModelMetadata
from search.scoring.counting import ImageCounts, count_image, decide
from search.scoring.model import Shown, arrays_of, predicted

_LEAST = 1e-7  # Keras clips probabilities there before it takes a logarithm

Pixels = NDArray[np.uint8]
Probabilities = NDArray[np.float32]


class Predicts(Protocol):
    """A model that is asked, as ``model.runtimes.open_predictor`` returns it."""

    def predict(self, images: Pixels) -> Probabilities:
        """Predict uint8 [B, H, W, C]: float32 [B, H, W, classes]."""


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What a model scores on held-out images.

    Attributes:
        held: The images.
        facts: What is known of the model.
        evaluation: Its counts, image by image, at their own size.
        reference: What the reference's ``evaluate`` would say.
        items: The files of the evaluation's images, in its order.
        table: See ``results.analysis.model_scores.scores_table``.
        cautions: What to mind, what is serious first.
        replicates: Of the bootstrap.
    """

    held: EvaluationDataset
    facts: ModelMetadata
    evaluation: Evaluation
    reference: ReferenceScores
    items: tuple[Item, ...]
    table: pd.DataFrame
    cautions: tuple[Caution, ...]
    replicates: int


def evaluate(
    model: Predicts,
    facts: ModelMetadata,
    held: EvaluationDataset,
    *,
    batch_size: int = 8,
    threads: int = 1,
    replicates: int = REPLICATES,
    flips: Flips = "none",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluated:
    """Count what a model predicts on held-out images, at the images' own size.

    An image is decoded, resized and brought back exactly as in training and scoring.

    Args:
        model: Is asked in batches.
        facts: What is known of it.
        held: The images.
        batch_size: Images a step.
        threads: Threads that decode and count.
        replicates: Of the bootstrap.
        flips: Mirror images whose answers are averaged.
        progress: Called with images done and images in all.

    Raises:
        DataError: listing every bad file; with ``on_bad: skip`` of the model's record they are left
            out instead, and told in the cautions, as long as any is good.
    """
    reader = Reader(held, facts.image_shape)
    problems: list[Problem] = list(held.problems)
    rows: list[tuple[int, ImageCounts, tuple[float, float]]] = []
    with decoding_threads(threads) as pool:
        shown = good_images(reader, held.items, pool, 2 * batch_size, problems)
        found = predicted(shown, flipped(model.predict, flips), batch_size)
        for row in in_order(pool, reader.count, found, 2 * threads):
            rows.append(row)
            progress(len(rows), len(held.items))
    if problems and (reader.strict or not rows):
        raise DataError(problems)
    items = tuple(held.items[index] for index, _, _ in rows)
    evaluation = _evaluation(facts, held, items, [counts for _, counts, _ in rows], flips)
    table = scores_table(evaluation, replicates)
    means = np.array([pair for _, _, pair in rows])
    return Evaluated(
        held=held,
        facts=facts,
        evaluation=evaluation,
        reference=ReferenceScores(*(float(mean) for mean in np.nanmean(means, axis=0))),
        items=items,
        table=table,
        cautions=(*_seen(held, facts), *_left_out(problems), *table_cautions(table)),
        replicates=replicates,
    )


class Reader:
    """Decodes held-out images, and counts what is predicted of them.

    Attributes:
        strict: Whether one bad file spoils all.
    """

    def __init__(self, held: EvaluationDataset, image_shape: tuple[int, int, int]) -> None:
        self._size = image_shape[:2]
        self._channels = image_shape[2]
        self._mode = held.config.resize
        self._labels = LabelMap(held.classes, held.config.color_tolerance)
        self.strict = held.config.on_bad == "error"

    def read(self, item: Item, whole: bool = False) -> Shown | list[Problem]:
        """Decode an item; or tell all that is wrong with it.

        Args:
            item: Its files.
            whole: Whether to keep the image itself.
        """
        kept: list[Shown] = []

        def keep(image: Pixels, mask: Pixels) -> None:
            record = resize_image(image, self._size, self._mode)
            kept.append(Shown(record, mask, image if whole else None))

        found = examine(item, self._labels, self._channels, keep)
        return kept[0] if isinstance(found, Facts) else found

    def count(
        self, found: tuple[int, Shown, Probabilities]
    ) -> tuple[int, ImageCounts, tuple[float, float]]:
        """Count one image; and the means of :func:`pixel_means`."""
        index, shown, probabilities = found
        counts = count_image(probabilities, shown.mask, self._mode)
        truth = resize_mask(shown.mask, self._size, self._mode)
        return index, counts, pixel_means(probabilities, truth)

    def decide(self, shown: Shown, probabilities: Probabilities) -> Pixels:
        """Return the predicted classes at the image's own size, uint8 [h, w]."""
        return decide(probabilities, shown.mask, self._mode)[0]


def pixel_means(probabilities: Probabilities, truth: Pixels) -> tuple[float, float]:
    """Means over the counted pixels of an image, at the size that the model takes.

    Args:
        probabilities: float32 [H, W, C].
        truth: uint8 [H, W], class indices, 255 where not counted.

    Returns:
        The categorical cross-entropy, the probability clipped as Keras does; and the probability of
        the true class, which is the reference's Dice with all classes pooled: 2 sum(p y) / (sum p +
        sum y), of which both sums are the number of pixels. NaN without a counted pixel.
    """
    counted = truth != IGNORE
    if not counted.any():
        return float("nan"), float("nan")
    labels = truth[counted].astype(np.int64)
    true = probabilities[counted][np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.clip(true, _LEAST, 1 - _LEAST)).mean()), float(true.mean())


def good_images(
    reader: Reader,
    items: Sequence[Item],
    pool: ThreadPoolExecutor,
    ahead: int,
    problems: list[Problem],
    whole: bool = False,
) -> Iterator[tuple[int, Shown]]:
    """Yield (place, image) of the good items, in order; note what is wrong with the others.

    Args:
        reader: Decodes.
        items: The files.
        pool: Threads that decode.
        ahead: How many images may be decoded that nobody has taken.
        problems: Gets what is wrong with the bad ones. Where one spoils all, the rest is decoded to
            find the others, and not yielded.
        whole: Whether to keep the images themselves.
    """
    decoded = in_order(pool, lambda item: reader.read(item, whole), items, ahead)
    for place, found in enumerate(decoded):
        if isinstance(found, list):
            problems += found
        elif not (problems and reader.strict):
            yield place, found


def _evaluation(
    facts: ModelMetadata,
    held: EvaluationDataset,
    items: Sequence[Item],
    counts: Sequence[ImageCounts],
    flips: Flips,
) -> Evaluation:
    return Evaluation(
        # Many a model is called best.keras: its folder tells it from others.
        name=f"{facts.path.absolute().parent.name}/{facts.path.name}",
        split=held.split,
        resolution="native",
        classes=tuple(held.classes),
        images=tuple(f"{item.split or held.split}/{item.stem}" for item in items),
        groups=tuple(item.group for item in items),
        **arrays_of(counts),
        fingerprint=held.fingerprint,
        flips=flips,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


# What to mind


def _seen(held: EvaluationDataset, facts: ModelMetadata) -> Iterator[Caution]:
    """Yield how far the model may know these images from its training."""
    action = "Evaluate on images that it has never seen, such as the test split."
    if held.own and held.split in (*facts.trained_on, WHOLE):
        text = "The model was trained on these very images: its scores here are far too good."
        yield Caution("trained on", text, action, bad=True)
    elif held.split in ("train", "valid"):
        text = (
            f"Optimistic: images of a {held.split} split have trained a model or chosen its epoch "
            "and config" + (", as they did with this one." if held.own else ".")
        )
        yield Caution("optimistic", text, action, bad=True)
    elif held.copies:
        text = (
            f"{len(held.copies)} of these images are, byte by byte, files of the data that the "
            f"model was trained on, outside of its test split: {listed(held.copies)}."
        )
        yield Caution("trained on", text, "Take them out: the scores are too good.", bad=True)
    elif held.copies is None and not held.own:
        known = "not the data set that the model was trained on"
        if facts.fingerprint is None:
            known = "the data that the model was trained on are not recorded"
        text = f"{known[0].upper()}{known[1:]}: whether it has seen these images cannot be told."
        yield Caution("other data", text, "See that none of them was in its training.")
    if not facts.named:
        text = "The model's classes are recorded nowhere: taken are the data's, in their order."
        yield Caution("classes", text, "Name the file that says so with --config.")


def _left_out(problems: Sequence[Problem]) -> Iterator[Caution]:
    if problems:
        text = f"{len(problems)} problems with files, which were left out: {problems[0]}, ..."
        yield Caution("left out", text, "Mend them: the score is of the others.")
