"""The searched fields: which trials to show, what the best have in common, the value between."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.analysis.baselines import ranked
from results.analysis.boundary_analysis import top_count
from results.records.searched import SearchedField
from results.records.study import StudyRecord
from results.tables.core import StudyTables, thin

MOST_TRIALS = 400
BANDWIDTH = 0.1
REACH = 0.15

Floats = NDArray[np.float64]


def scored_trials(data: StudyTables) -> pd.DataFrame:
    """Return the COMPLETE and PRUNED trials with a value: rows of ``trials_table``."""
    trials = data.trials
    return trials[trials["value"].notna() & trials["state"].isin(["COMPLETE", "PRUNED"])]


def shown_trials(data: StudyTables) -> pd.DataFrame:
    """Those of ``scored_trials`` that figures show: at most ``MOST_TRIALS``, see ``tables.thin``.

    Incumbent and baselines are among them. By value, the best last: they are drawn on top.
    """
    keep = {trial.number for trial in data.study.baselines}
    shown = thin(scored_trials(data), MOST_TRIALS, keep)
    return shown.sort_values(["value", "number"], ascending=[True, False])


def target_classes(study: StudyRecord) -> tuple[str, ...]:
    """Return the classes whose Dice is worth a look beside the value: none where there is but
    one.
    """
    foreground = study.classes[1:]
    return foreground if len(foreground) > 1 else ()


def best_trials(data: StudyTables) -> pd.DataFrame:
    """Return the best tenth of the COMPLETE trials with a value, at least 5 of them, the best
    first.

    All of them where there are no 5.
    """
    repeats = [t.number for t in data.study.trials if t.repeat_of is not None]
    trials = data.trials[~data.trials["number"].isin(repeats)]
    complete = trials[trials["value"].notna() & (trials["state"] == "COMPLETE")]
    return ranked(complete).head(top_count(len(complete)))


def common_table(best: pd.DataFrame, fields: Sequence[SearchedField]) -> pd.DataFrame:
    """Return what the best trials have of each field.

    Args:
        best: rows of ``trials_table``.
        fields: the searched fields.

    Returns:
        Columns parameter (dotted), trials (that have it), low, high (of a range; NaN of a choice),
        choices (of a choice: pairs of its text and how many trials have it, the most first; else
        empty), share (of the searched range that low to high covers, by its logarithm where it
        was searched so; of a choice: of the choices that none has, 1 minus; at most 1).
    """
    rows = [_common_row(field, best[field.name].dropna()) for field in fields]
    columns = ["parameter", "trials", "low", "high", "choices", "share"]
    return pd.DataFrame(rows, columns=columns)


def _common_row(field: SearchedField, values: pd.Series) -> dict[str, object]:
    row: dict[str, object] = {"parameter": field.name, "trials": len(values)}
    if field.kind == "choice":
        counted = values.astype(str).value_counts()
        pairs = sorted(counted.items(), key=lambda pair: (-pair[1], str(pair[0])))
        share = len(counted) / len(field.choices) if len(counted) else np.nan
        return row | {
            "low": np.nan,
            "high": np.nan,
            "choices": tuple((str(text), int(trials)) for text, trials in pairs),
            "share": min(share, 1.0),
        }
    numbers = pd.to_numeric(values, errors="coerce").dropna()
    low, high = float(numbers.min()), float(numbers.max())
    ends = np.array([low, high, field.low, field.high], dtype=np.float64)
    if field.log and ends.min() > 0:
        ends = np.log(ends)
    span = ends[3] - ends[2]
    share = min((ends[1] - ends[0]) / span, 1.0) if span > 0 else np.nan
    return row | {"low": low, "high": high, "choices": (), "share": share}


def narrowest(common: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``common_table`` that cover at most half of their range, the narrowest
    first.
    """
    narrow = common[common["share"] <= 0.5]
    return narrow.sort_values(["share", "parameter"])


def leading_pairs(parameters: Sequence[str], most: int = 3) -> list[tuple[str, str]]:
    """Pair of the first parameters, those of the most important ones first.

    Args:
        parameters: by importance, the largest first.
        most: how many pairs.
    """
    pairs = [(a, b) for b in range(len(parameters)) for a in range(b)]
    pairs.sort(key=lambda pair: (sum(pair), pair))
    return [(parameters[a], parameters[b]) for a, b in pairs[:most]]


def surface(
    points: Floats,
    values: Floats,
    grid: tuple[Floats, Floats],
    unordered: tuple[bool, bool] = (False, False),
) -> Floats:
    """Return the mean value around each cell of a grid, trials near it weighing more.

    Kernel regression (Nadaraya 1964, Watson 1964) with a Gaussian kernel of ``BANDWIDTH`` of each
    axis; no value where no trial is within ``REACH`` of the cell.

    Args:
        points: [N, 2] in 0..1; NaN leaves a trial out.
        values: [N].
        grid: places of the cells, [X] and [Y] in 0..1.
        unordered: whether an axis holds choices, of which none is near another.

    Returns:
        [Y, X], NaN where there is none.
    """
    known = np.isfinite(points).all(axis=1) & np.isfinite(values)
    points, values = points[known], values[known]
    if not len(values):
        return np.full((len(grid[1]), len(grid[0])), np.nan)
    squares = []
    for axis in (0, 1):
        apart = np.abs(grid[axis][:, None] - points[None, :, axis])
        squares.append(np.where(apart > 1e-9, np.inf, 0.0) if unordered[axis] else apart**2)
    # The kernel is a product of one of each axis: the sums over trials are matrix products.
    across, down = (np.exp(-square / (2 * BANDWIDTH**2)) for square in squares)
    weights = down @ across.T
    mean = (down * values) @ across.T
    rows = [np.min(square + squares[0], axis=1) for square in squares[1]]
    near = np.array(rows) <= REACH**2
    found: Floats = np.full(mean.shape, np.nan)
    np.divide(mean, weights, out=found, where=near & (weights > 0))
    return found
