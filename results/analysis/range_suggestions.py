"""Wider ranges to search next: how far an end moves, and what the fields themselves allow."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from results.records import config_fields
from results.records.searched import SearchedField

End = Literal["low", "high"]


@dataclass(frozen=True)
class Limit:
    """What a field takes.

    Attributes:
        low, high: Its bounds; None: none.
        low_open, high_open: Whether the bound itself is not taken.
    """

    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False


def _limit(bounds: Mapping[str, float]) -> Limit:
    low, high = bounds.get("exclusiveMinimum"), bounds.get("exclusiveMaximum")
    return Limit(
        low=bounds.get("minimum", low),
        high=bounds.get("maximum", high),
        low_open=low is not None,
        high_open=high is not None,
    )


@functools.cache
def limits() -> Mapping[str, Limit]:
    """Return what each numeric field takes, by its name, as the config's schema has it."""
    return {name: _limit(bounds) for name, bounds in config_fields.bounds().items()}


def limit_of(name: str, config: Mapping[str, Any]) -> Limit:
    """Return what a field takes, in a study of this config: its images bound the number of levels.

    A field that is not known, or a config that does not tell, bounds nothing more.
    """
    limit = limits().get(name, Limit())
    if name != "model.num_layers":
        return limit
    deepest = _deepest(config)
    return replace(limit, high=min(limit.high or deepest, deepest)) if deepest else limit


def _deepest(config: Mapping[str, Any]) -> int:
    """Most levels that the images' sides, halved at each but the last, allow; 0: not known."""
    data = config.get("data")
    size = data.get("image_size") if isinstance(data, Mapping) else None
    sides = [size] if isinstance(size, int) else size
    if not isinstance(sides, list | tuple) or not all(isinstance(s, int) and s > 0 for s in sides):
        return 0
    divisor = math.gcd(*sides)
    return (divisor & -divisor).bit_length() if sides else 0


def widened(field: SearchedField, end: End, limit: Limit) -> SearchedField:
    """Move one end of a range out by half its width (of its logarithm, where it is searched so).

    Steps are kept, so an odd kernel stays odd; integers move by at least one step. Numeric choices
    get one more: twice the largest where they double, else one more difference.

    Args:
        field: Numeric: a range, or choices that are all numbers.
        end: Which end.
        limit: What the field takes; the end goes no further.

    Returns:
        The wider field; the same one where the limit leaves no room.
    """
    if field.kind == "choice":
        return _with_choice(field, end, limit)
    low, high = float(field.low or 0), float(field.high or 0)
    outward = _moved(field, low, high, end)
    new = _limited(field, outward, low if end == "low" else high, end, limit)
    value = int(new) if field.kind == "int" else new
    return replace(field, low=value) if end == "low" else replace(field, high=value)


def _moved(field: SearchedField, low: float, high: float, end: End) -> float:
    sign, old = (-1, low) if end == "low" else (1, high)
    if field.log:
        moved = old * math.sqrt(high / low) ** sign
        if field.kind == "float":
            return float(f"{moved:.1e}")
        return min(math.floor(moved), old - 1) if end == "low" else max(math.ceil(moved), old + 1)
    half = (high - low) / 2
    step = field.step or (1 if field.kind == "int" else None)
    if step is not None:
        return float(f"{old + sign * step * max(1, math.floor(half / step)):.12g}")
    return float(f"{old + sign * half:.3g}")


def _limited(field: SearchedField, new: float, old: float, end: End, limit: Limit) -> float:
    bound, is_open = (limit.low, limit.low_open) if end == "low" else (limit.high, limit.high_open)
    if end == "low" and field.log and bound is None:
        bound, is_open = 0.0, True
    inside = bound is None or (new > bound if end == "low" else new < bound)
    if bound is None or inside or (new == bound and not is_open):
        return new
    room = abs(bound - old)
    step = field.step or (1 if field.kind == "int" else None)
    sign = -1 if end == "low" else 1
    if step is not None:
        steps = math.floor(room / step + 1e-9)
        steps -= is_open and math.isclose(steps * step, room)
        return float(f"{old + sign * step * max(steps, 0):.12g}")
    if end == "low" and field.log and bound <= 0:
        return old / 10  # a logarithm never gets there
    return float(f"{old + sign * room / 2:.3g}") if is_open else bound


def _with_choice(field: SearchedField, end: End, limit: Limit) -> SearchedField:
    values = sorted(field.choices)
    if len(values) < 2:
        return field
    near, next_to = (values[0], values[1]) if end == "low" else (values[-1], values[-2])
    ratio = next_to / near if next_to and near else 0
    doubling = len(values) > 2 and ratio in (0.5, 2.0)
    new = near / ratio if doubling else near + (near - next_to)
    if isinstance(near, int):
        if new != int(new):
            return field
        new = int(new)
    else:
        new = float(f"{new:.6g}")
    if not _takes(limit, new):
        return field
    choices = (new, *field.choices) if end == "low" else (*field.choices, new)
    return replace(field, choices=choices)


def _takes(limit: Limit, value: float) -> bool:
    above = limit.low is None or value > limit.low or (value == limit.low and not limit.low_open)
    below = (
        limit.high is None or value < limit.high or (value == limit.high and not limit.high_open)
    )
    return above and below


def as_config(field: SearchedField) -> dict[str, Any]:
    """Return the field as a config has it: ``{"int": [3, 7], "step": 2}``."""
    if field.kind == "choice":
        return {"choice": list(field.choices)}
    written: dict[str, Any] = {field.kind: [field.low, field.high]}
    if field.log:
        written["log"] = True
    if field.step is not None:
        written["step"] = field.step
    return written
