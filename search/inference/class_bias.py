"""Fits a bias per class to a study's validation split, and makes it part of a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from data_pipeline.config import DataConfig
from data_pipeline.stores.prepare import find_prepared
from results.exports.choice import ExportError
from results.exports.class_bias import ClassBias
from results.records.study import StudyRecord

PARTS = 5
_BATCH = 8


def with_class_bias(
    study: StudyRecord, data: DataConfig | None, model_path: Path, folder: Path
) -> ClassBias:
    """Fit the bias and write the model that has it, where it helps objects it was not fitted to.

    Args:
        study: The study.
        data: Its data; None where its record does not tell.
        model_path: The ``.keras`` file.
        folder: Where the model with the bias goes.

    Raises:
        ExportError: where the prepared data, or their validation split, are out of reach.
        model.inference.ModelError: where the file is no model of the data's images and classes.
    """
    import numpy as np

    from model.class_bias import Predictions, add_bias, fit_bias, gain_of
    from model.inference import Predictor, load_model

    store = None if data is None else find_prepared(data, study.data_fingerprint)
    if store is None or "valid" not in store.splits:
        raise ExportError(
            "--class-bias: expected the study's prepared data, to whose validation split it is "
            "fitted; they are out of reach"
        )
    model = load_model(model_path, store.image_shape, store.num_classes)
    predictor, split = Predictor(model), store.splits["valid"]
    groups = list(dict.fromkeys(split.groups))
    parts = [Predictions(store.num_classes) for _ in range(min(PARTS, len(groups)))]
    part_of = {group: parts[place % len(parts)] for place, group in enumerate(groups)}
    for first in range(0, split.count, _BATCH):
        rows = range(first, min(first + _BATCH, split.count))
        records = [store.read("valid", row) for row in rows]
        answers = predictor.predict(np.stack([image for image, _ in records]))
        for row, (_, mask), answer in zip(rows, records, answers, strict=True):
            part_of[split.groups[row]].add(mask, answer)
    bias = fit_bias(parts)
    gain = gain_of(parts, bias)
    found = ClassBias(
        folder / "biased.keras",
        dict(zip(store.classes, map(float, bias), strict=True)),
        gain.without,
        gain.fitted,
        gain.held_out if len(parts) > 1 else None,
    )
    if not found.applied:
        return replace(found, model=model_path)
    add_bias(model, bias)
    model.save(found.model)
    return found
