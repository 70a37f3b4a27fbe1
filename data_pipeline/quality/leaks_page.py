"""A page of the pictures that are on both sides of a split, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from data_pipeline.datasets.reading import read_image
from data_pipeline.datasets.sources import Item
from data_pipeline.quality.audit import Pair
from data_pipeline.quality.picture_page import SHOWN_SIDE, figure, page, picture_tag
from data_pipeline.stores.survey import Survey

MOST_PAIRS = 100


def write_leaks(survey: Survey, items: Sequence[Item], pairs: Sequence[Pair], path: Path) -> Path:
    """Write the first hundred pairs as one HTML file that needs no network.

    Args:
        survey: The facts.
        items: The files of its rows.
        pairs: An audit's.
        path: File to write.

    Returns:
        The path.
    """
    shown = pairs[:MOST_PAIRS]
    said = (
        f"{len(pairs)} pairs of pictures show one object in two splits, so scores are of what was "
        f"seen in training{'' if len(shown) == len(pairs) else f'. Shown: the first {len(shown)}'}."
        if pairs
        else "No picture of one object stands in two splits."
    )
    title = "Leaks between splits"
    path.write_text(page(title, f"<p>{said}</p>", _figures(survey, items, shown)), encoding="utf-8")
    return path


def _figures(survey: Survey, items: Sequence[Item], pairs: Sequence[Pair]) -> Iterator[str]:
    for a, b, value in pairs:
        why = f"one group, {survey.groups[a]}" if value is None else f"correlation {value:.3f}"
        names = f"{survey.names[a]} = {survey.names[b]} ({why})"
        yield figure(names, (_tag(items[row], survey.names[row]) for row in (a, b)))


def _tag(item: Item, name: str) -> str:
    image = read_image(item.image, 3)
    factor = SHOWN_SIDE / max(image.shape[:2])
    shape = [max(1, round(side * factor)) for side in (image.shape[1], image.shape[0])]
    small = cv2.resize(image, shape, interpolation=cv2.INTER_AREA)
    return picture_tag(np.asarray(small, np.uint8), name)
