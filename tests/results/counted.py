"""Evaluations written by hand: a row of counts an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from results.records.evaluation import Evaluation

CLASSES = ("background", "Crack", "Fray")


def counted(
    images: Mapping[str, Sequence[tuple[int, int, int]]],
    groups: Mapping[str, str] | None = None,
    classes: tuple[str, ...] = CLASSES,
    objects: Sequence[tuple[int, int, int, int]] = (),
    predicted_objects: Sequence[tuple[int, int, int, int]] = (),
    **facts: object,
) -> Evaluation:
    """Make an evaluation of images of 10 x 10.

    Args:
        images: By name, its cells (true class, predicted class, pixels).
        groups: The group of each image; without them an image's name is its group.
        classes: Names.
        objects: As of ``Evaluation``.
        predicted_objects: As of ``Evaluation``.
        facts: Other fields of ``Evaluation``.
    """
    cells = [(i, *cell) for i, rows in enumerate(images.values()) for cell in rows]
    given: dict[str, object] = {
        "name": "trial-00000",
        "split": "valid",
        "resolution": "native",
        "fingerprint": "abc",
        "trial": 0,
    }
    return Evaluation(
        classes=classes,
        images=tuple(images),
        groups=tuple((groups or {}).get(name, name) for name in images),
        sizes=np.full((len(images), 2), 10, np.int64),
        cells=np.array(cells, np.int64).reshape(-1, 4),
        true_probability=np.full(len(images), 50.0),
        objects=np.array(objects, np.int64).reshape(-1, 4),
        predicted_objects=np.array(predicted_objects, np.int64).reshape(-1, 4),
        **(given | facts),  # type: ignore[arg-type]
    )
