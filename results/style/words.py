"""Numbers, times and amounts as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence

NONE = "–"


def number(value: float | None, digits: int = 3) -> str:
    """Return a score for people; a dash where there is none."""
    return NONE if value is None or math.isnan(value) else f"{value:.{digits}f}"


def value_text(value: object) -> str:
    """Return a parameter's value for people: 0.001238, 1.2e-05, mish; a dash for none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NONE
    if isinstance(value, float) and not isinstance(value, bool):
        return f"{value:.4g}"
    return str(value)


def duration(seconds: float) -> str:
    """Return seconds for people: "42 s", "12 min", "3.4 h", "2.1 days"."""
    for size, unit in ((86400.0 * 2, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            amount = seconds / (86400.0 if unit == "days" else size)
            return f"{amount:.1f} {unit}" if unit != "min" else f"{amount:.0f} {unit}"
    return f"{seconds:.0f} s"


def magnitude(value: float) -> str:
    """Return a large number for people: "1.9 M", "12.4 G"; a dash for NaN."""
    if math.isnan(value):
        return NONE
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def time_text(iso: str | None) -> str:
    """Return an ISO time cut to minutes."""
    return iso[:16].replace("T", " ") if iso else NONE


def count(number: int, noun: str) -> str:
    """ "1 trial", "12 trials"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def signed(value: float | None, digits: int = 3) -> str:
    """Return a difference for people: "+0.051", "−0.020"; a dash where there is none."""
    if value is None or math.isnan(value):
        return NONE
    text = f"{value:+.{digits}f}"
    return f"{0.0:.{digits}f}" if float(text) == 0 else text.replace("-", "−")


def listed(names: Sequence[str], most: int = 5) -> str:
    """ "Crack", "Crack and Fray", "Crack, Fray and 12 more"."""
    shown = list(names) if len(names) <= most else [*names[: most - 1]]
    if len(names) > most:
        shown.append(f"{len(names) - most + 1:,} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if shown[1:] else "".join(shown)
