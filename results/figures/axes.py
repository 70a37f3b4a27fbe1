"""Where the values of a searched field are on an axis, whatever their kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.figures.drawing import label
from results.records.searched import SearchedField

Floats = NDArray[np.float64]

GOLDEN = 0.6180339887
PLASTIC = 0.7548776662


@dataclass(frozen=True, eq=False)
class Axis:
    """A searched field as an axis.

    Attributes:
        field: the field.
        title: its name, safe for Plotly.
        low, high: the ends in places: a logarithm to base 10 where it is searched by it, the
            position of a choice.
        ticks: places of the ticks; None for Plotly's own.
        texts: the labels of the ticks, safe for Plotly.
        log: whether places are logarithms.
        choices: the texts of a choice, by place; else empty.
    """

    field: SearchedField
    title: str
    low: float
    high: float
    ticks: tuple[float, ...] | None
    texts: tuple[str, ...]
    log: bool
    choices: tuple[str, ...] = ()

    def places(self, values: pd.Series) -> Floats:
        """Return places of values of the field; NaN where a trial has none."""
        if self.field.kind == "choice":
            order = {text: float(place) for place, text in enumerate(self.choices)}
            found = [order.get(choice_text(value, self.choices), math.nan) for value in values]
            return np.array(found, np.float64)
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
        if not self.log:
            return numbers
        return np.log10(np.where(numbers > 0, numbers, np.nan))

    def scaled(self, places: Floats) -> Floats:
        """Return places as 0..1 from end to end."""
        span = self.high - self.low
        return (places - self.low) / span if span > 0 else np.zeros_like(places)

    def value_at(self, place: float) -> str:
        """Return the value at a place, for people; of a choice as the user named it; "" for NaN."""
        if not math.isfinite(place):
            return ""
        if self.choices:
            return self.choices[round(place)]
        if self.field.kind == "int" and not self.log:
            return f"{place:.0f}"
        return f"{10.0**place if self.log else place:.3g}"

    def cells(self, most: int) -> Floats:
        """Return places of a grid along it: its choices, its whole numbers or ``most`` even
        ones.
        """
        if self.choices or (
            self.field.kind == "int" and not self.log and self.high - self.low < most
        ):
            return np.arange(self.low, self.high + 1)
        return np.linspace(self.low, self.high, most)


def choice_text(value: object, known: Sequence[str]) -> str:
    """Return a choice's text: whole numbers are shown as such in a column that misses one (8.0 for
    8).
    """
    text = str(value)
    whole = text not in known and isinstance(value, float) and value.is_integer()
    return f"{value:.0f}" if whole else text


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def set_axis(axis: Axis, update: Any) -> None:
    """Give one axis of a small figure its range and its ticks.

    Args:
        axis: the field's.
        update: the figure's ``update_xaxes`` or ``update_yaxes``.
    """
    discrete = bool(axis.choices) or (axis.field.kind == "int" and not axis.log)
    margin = 0.5 if discrete else 0.03 * (axis.high - axis.low)
    update(range=[axis.low - margin, axis.high + margin], rangemode="normal")
    update(title_font_size=13, tickfont_size=11)
    if axis.ticks is None:
        return
    texts = list(axis.texts)
    # Long names of few choices stand in lines under each other instead of aslant.
    if axis.choices and len(texts) <= 6:
        texts = [text.replace("_", "_<br>") if len(text) > 8 else text for text in texts]
        update(tickangle=0)
    update(tickvals=list(axis.ticks), ticktext=texts)


def spread(axis: Axis, numbers: pd.Series, part: float = GOLDEN) -> Any:
    """Return a shift along the axis where trials share places: the same of a trial in every figure.

    Args:
        axis: of choices or whole numbers; 0 for others.
        numbers: of the trials.
        part: an irrational number, another one for another axis.
    """
    shared = bool(axis.choices) or (axis.field.kind == "int" and not axis.log)
    if not shared or axis.high - axis.low > 20:
        return 0.0
    return 0.5 * ((numbers.to_numpy() * part) % 1.0 - 0.5)


def axis_of(field: SearchedField, name: str, values: pd.Series) -> Axis:
    """Return the axis of a field.

    Args:
        field: the field.
        name: what it is called.
        values: of the trials; a baseline's may be outside what was searched.
    """
    title = label(name, 20)
    if field.kind == "choice":
        known = [str(choice) for choice in field.choices]
        own = {choice_text(value, known) for value in values if not _missing(value)}
        known += sorted(own - set(known))
        places = tuple(float(place) for place in range(len(known)))
        texts = tuple(label(text, 20) for text in known)
        return Axis(field, title, 0.0, places[-1], places, texts, False, tuple(known))
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
    ends = [*numbers[np.isfinite(numbers)], field.low or 0.0, field.high or 0.0]
    low, high = float(min(ends)), float(max(ends))
    if field.log and low > 0:
        return _log_axis(field, title, low, high)
    ticks = None
    if field.kind == "int" and high - low <= 12:
        ticks = tuple(float(place) for place in range(int(low), int(high) + 1))
    texts = tuple(f"{tick:g}" for tick in ticks or ())
    if not high > low:
        low, high = low - 0.5, high + 0.5
    return Axis(field, title, low, high, ticks, texts, False)


def _log_axis(field: SearchedField, title: str, low: float, high: float) -> Axis:
    ends = math.log10(low), math.log10(high)
    powers = range(math.ceil(ends[0] - 1e-9), math.floor(ends[1] + 1e-9) + 1)
    ticks = [10.0**power for power in powers]
    if len(ticks) < 2:
        around = range(math.floor(ends[0]), math.ceil(ends[1]) + 1)
        steps = [step * 10.0**power for power in around for step in (1, 2, 5)]
        ticks = [tick for tick in steps if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
    ticks = ticks if len(ticks) > 1 else sorted({low, high})
    if not ends[1] > ends[0]:
        ends = ends[0] - 0.1, ends[1] + 0.1
    places = tuple(math.log10(tick) for tick in ticks)
    return Axis(field, title, *ends, places, tuple(f"{tick:g}" for tick in ticks), True)
