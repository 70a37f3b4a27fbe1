"""Finds pictures that are nearly the same, whatever the exposure, flipped and turned too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

# Measured on the magnetic tile photographs, bursts of one tile at up to six exposures: of 877
# pairs within a burst 48 % correlate by more than 0.97 (74 % of the pictures have such a partner),
# of 55,068 pairs of different tiles none does (the highest is 0.954). High-pass filters and
# logarithms did worse. Where pictures of different objects are more alike than those, as of
# parts held by a fixture, the threshold follows: an eighth of the way from 1 to their 90th
# percentile. For the tiles that is below 0.97 and changes nothing.
DUPLICATE = 0.97
_MARGIN = 1 / 8
_BLOCK = 1024  # thumbnails compared at once: 1024 x 8 views x 4 kB = 32 MB
_SAMPLE = 500


class Likeness:
    """Compares thumbnails of n pictures.

    Args:
        thumbnails: uint8 [n, 32, 32].
        groups: What each picture is known to show; those of different groups tell how alike
            different objects look.

    Attributes:
        threshold: Correlation above which pictures count as nearly the same; see ``DUPLICATE``.
    """

    def __init__(self, thumbnails: NDArray[np.uint8], groups: Sequence[str]) -> None:
        self._thumbnails = thumbnails
        self._vectors = _standardized(thumbnails)
        self.threshold = _threshold(self._vectors, np.asarray(groups))

    def pairs(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> Iterator[tuple[int, int, float]]:
        """Yield (row, column, correlation) above the threshold, in any of the 8 flips and turns."""
        for start in range(0, len(columns), _BLOCK):
            block = columns[start : start + _BLOCK]
            views = [_standardized(view) for view in _flips_and_turns(self._thumbnails[block])]
            for begin in range(0, len(rows), _BLOCK):
                part = rows[begin : begin + _BLOCK]
                best = self._vectors[part] @ views[0].T
                for view in views[1:]:
                    np.maximum(best, self._vectors[part] @ view.T, out=best)
                for a, b in zip(*np.nonzero(best > self.threshold), strict=True):
                    yield int(part[a]), int(block[b]), float(best[a, b])

    def merged(self, groups: Sequence[str]) -> tuple[str, ...]:
        """Join the groups of which any two pictures are nearly the same.

        Returns:
            A group for each picture: the first, by name, of those that were joined.
        """
        names, index = np.unique(np.asarray(groups), return_inverse=True)
        parent = list(range(len(names)))

        def root(group: int) -> int:
            while parent[group] != group:
                parent[group] = parent[parent[group]]
                group = parent[group]
            return group

        rows = np.arange(len(index))
        for start in range(0, len(rows), _BLOCK):  # likeness is mutual: half of the square will do
            for a, b, _ in self.pairs(rows[start:], rows[start : start + _BLOCK]):
                first, second = sorted((root(int(index[a])), root(int(index[b]))))
                parent[second] = first
        return tuple(str(names[root(int(group))]) for group in index)


def _standardized(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Vectors [n, 1024] whose products are correlations, whatever the exposure; flat ones are 0."""
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    vectors: NDArray[np.float32] = np.where(length > 1, flat / np.maximum(length, 1), 0)
    return vectors


def _threshold(vectors: NDArray[np.float32], groups: NDArray[np.str_]) -> float:
    rows = np.unique(np.linspace(0, len(vectors) - 1, min(_SAMPLE, len(vectors))).astype(int))
    different = groups[rows][:, np.newaxis] != groups[rows]
    if not different.any():
        return DUPLICATE
    usual = float(np.quantile((vectors[rows] @ vectors[rows].T)[different], 0.9))
    return max(DUPLICATE, 1 - (1 - usual) * _MARGIN)


def _flips_and_turns(pictures: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    turned = [np.rot90(pictures, quarter, axes=(1, 2)) for quarter in range(4)]
    return turned + [view[:, :, ::-1] for view in turned]
