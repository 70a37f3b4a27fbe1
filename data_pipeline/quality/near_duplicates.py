"""Finds pictures that are nearly the same, whatever the exposure, flipped and turned too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from data_pipeline.quality.perceptual_hash import flips_and_turns, perceptual_hash

# Measured on the magnetic tile photographs, bursts of one tile at up to six exposures: of 877
# pairs within a burst 48 % correlate by more than 0.97 (74 % of the pictures have such a partner),
# of 55,068 pairs of different tiles none does (the highest is 0.954). High-pass filters and
# logarithms did worse. Where pictures of different objects are more alike than those, as of
# parts held by a fixture, the threshold follows: an eighth of the way from 1 to their 90th
# percentile. For the tiles that is below 0.97 and changes nothing.
DUPLICATE = 0.97
_MARGIN = 1 / 8
_SAMPLE = 500
_BLOCK = 1024  # hashes compared at once, in eight views: products of 4 MB
# Rows of a block that are correlated at once with every column that one of them may be like: few,
# or nearly all columns are; but where all pictures are alike anyway, many, which is quicker.
_FEW, _MANY = 4, 128
_DENSE = 1 / 8
_ROUNDING = 1e-4  # of float32, in a thousand products

_Found = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]


class Likeness:
    """Compares thumbnails of n pictures.

    Args:
        thumbnails: uint8 [n, 32, 32]. Held are 4 kB of each; compared are blocks of 1,024.
        groups: What each picture is known to show; those of different groups tell how alike
            different objects look.

    Attributes:
        threshold: Correlation above which pictures count as nearly the same; see ``DUPLICATE``.
    """

    def __init__(self, thumbnails: NDArray[np.uint8], groups: Sequence[str]) -> None:
        self._side = thumbnails.shape[1]
        self._vectors = _standardized(thumbnails)
        self._hashes = perceptual_hash(self._vectors)
        self.threshold = _threshold(self._vectors, np.asarray(groups))

    def pairs(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> Iterator[tuple[int, int, float]]:
        """Yield (row, column, correlation) above the threshold, in any of the 8 flips and turns."""
        for found in self._search(rows, columns):
            yield from zip(*(array.tolist() for array in found), strict=True)

    def merged(self, groups: Sequence[str]) -> tuple[str, ...]:
        """Join the groups of which any two pictures are nearly the same.

        Returns:
            A group for each picture: the first, by name, of those that were joined.
        """
        names, label = np.unique(np.asarray(groups), return_inverse=True)
        rows = np.arange(len(label))
        for start in range(0, len(rows), _BLOCK):  # likeness is mutual: half of the square will do
            for a, b, _ in self._search(rows[start : start + _BLOCK], rows[start:], label):
                for one, other in zip(a, b, strict=True):
                    first, second = sorted((label[one], label[other]))
                    if first != second:
                        label[label == second] = first
        return tuple(names[label].tolist())

    def _search(
        self,
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        label: NDArray[np.int64] | None = None,
    ) -> Iterator[_Found]:
        """Yield what `pairs` does, as arrays; with labels only what differs in them by then."""
        for begin in range(0, len(rows), _BLOCK):
            part = rows[begin : begin + _BLOCK]
            hashes = flips_and_turns(self._hashes[part])
            for start in range(0, len(columns), _BLOCK):
                block = columns[start : start + _BLOCK]
                likely = self._likely(hashes, block)
                if label is not None:
                    likely &= label[part][:, np.newaxis] != label[block]
                yield from self._correlated(part, block, likely)

    def _likely(self, hashes: NDArray[np.float32], block: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of the block's pictures may be like those whose hashes [8, rows, 65] are
        given.
        """
        best = hashes[0] @ self._hashes[block].T
        for view in hashes[1:]:
            np.maximum(best, view @ self._hashes[block].T, out=best)
        return np.asarray(best > self.threshold - _ROUNDING)

    def _correlated(
        self, part: NDArray[np.int64], block: NDArray[np.int64], likely: NDArray[np.bool_]
    ) -> Iterator[_Found]:
        possible = np.flatnonzero(likely.any(axis=1))
        together = _MANY if likely.mean() > _DENSE else _FEW
        for begin in range(0, len(possible), together):
            few = possible[begin : begin + together]
            chosen = block[likely[few].any(axis=0)]
            views = _flips_and_turns(self._vectors[part[few]].reshape(-1, self._side, self._side))
            flat = np.concatenate(views).reshape(-1, self._vectors.shape[1])
            alike = (flat @ self._vectors[chosen].T).reshape(len(views), len(few), len(chosen))
            best = alike.max(axis=0)
            a, b = np.nonzero(best > self.threshold)
            yield part[few[a]], chosen[b], best[a, b]


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


def _flips_and_turns(pictures: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    turned = [np.rot90(pictures, quarter, axes=(1, 2)) for quarter in range(4)]
    return turned + [view[:, :, ::-1] for view in turned]
